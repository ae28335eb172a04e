"""StatsD and DogStatsD: lines of text, many to a datagram, each a measurement, an event or a service check.

Sources: StatsD's own description (docs/metric_types.md of its repository), and DogStatsD's datagram format up to 1.3.
Where both read the same line differently, docs/ingest.md says which reading is taken, and why.
The protocols have no sequence numbers: what is lost on the way is unknown, and nothing here claims to know it.
"""

from atmost.ingest.statsd.datagram import parse
from atmost.ingest.statsd.mapping import StatsdMapping, read_mapping
from atmost.ingest.statsd.values import (
    StatsdAlert,
    StatsdCheck,
    StatsdDatagram,
    StatsdEvent,
    StatsdGauges,
    StatsdKind,
    StatsdMetric,
    StatsdNote,
    StatsdOrigin,
    StatsdPriority,
    StatsdReason,
    StatsdStatus,
)

__all__ = [
    "StatsdAlert",
    "StatsdCheck",
    "StatsdDatagram",
    "StatsdEvent",
    "StatsdGauges",
    "StatsdKind",
    "StatsdMapping",
    "StatsdMetric",
    "StatsdNote",
    "StatsdOrigin",
    "StatsdPriority",
    "StatsdReason",
    "StatsdStatus",
    "parse",
    "read_mapping",
]
