"""For messages that must not be lost: at least once and exactly once, on NATS JetStream, an engine people already run.

Subjects, payloads and messages are those of `Sender` and `Receiver`, so moving a subject between guarantees is one line.
docs/durable.md lists which failures each guarantee survives, and in which window "exactly" is true, row by row as the tests run it.
Needs the extra `nats`, which is loaded by the first guarantee that is constructed.
"""

from atmost.durable.blocking import Blocking as Blocking
from atmost.durable.counts import DurableStats as DurableStats
from atmost.durable.errors import AlreadyProcessed as AlreadyProcessed
from atmost.durable.errors import NotAcknowledged as NotAcknowledged
from atmost.durable.errors import NotConnected as NotConnected
from atmost.durable.errors import StreamMismatch as StreamMismatch
from atmost.durable.guarantees import AtLeastOnce as AtLeastOnce
from atmost.durable.guarantees import ExactlyOnce as ExactlyOnce
from atmost.durable.message import DurableMessage as DurableMessage
from atmost.durable.options import Stream as Stream
from atmost.durable.publishing import Receipt as Receipt
from atmost.durable.records import IdempotencyStore as IdempotencyStore
from atmost.durable.records import SQLiteStore as SQLiteStore

__all__ = [
    "AlreadyProcessed",
    "AtLeastOnce",
    "Blocking",
    "DurableMessage",
    "DurableStats",
    "ExactlyOnce",
    "IdempotencyStore",
    "NotAcknowledged",
    "NotConnected",
    "Receipt",
    "SQLiteStore",
    "Stream",
    "StreamMismatch",
]
