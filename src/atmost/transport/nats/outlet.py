"""The sending end of a channel: every datagram is written to the subject of its session's shard, from the sender's own thread, without waiting.

Datagrams that the system does not take wait in the sender, bounded, as with a Unix socket.
While there is no connection every datagram is refused and counted, so that the sender's account is exact and nothing is replayed later (R6).
The connection is made at the first datagram. Until the first attempt has failed, the answer is "not now".
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence
from typing import Final

from atmost.core.limits import EPISODE, MAX_DATAGRAM
from atmost.core.names import legible
from atmost.core.sending import NOT_NOW
from atmost.core.shards import SHARD_OFFSET
from atmost.lifecycle import HERE, Floor, may_start_threads, notice_fork, register, unregister
from atmost.transport.base import ANY_PROCESS, FORKED, LOCAL_DATAGRAM, NETWORK, Address, wall_clock
from atmost.transport.nats.dial import check_credentials
from atmost.transport.nats.link import DENIED, NOT_CONNECTED, Link
from atmost.transport.nats.presence import sends
from atmost.transport.nats.url import NatsAddress, parse_nats
from atmost.transport.nats.wire import Delivery, publish

logger = logging.getLogger("atmost")

_PATIENCE: Final = 1.0
"""How long a first connection may take before datagrams are refused (seconds)."""


class NatsOutlet:
    """Sends to one channel."""

    clock = staticmethod(wall_clock)
    preset = NETWORK
    max_datagram = LOCAL_DATAGRAM

    def __init__(self, address: Address) -> None:
        """Prepares; connects to nothing yet.

        Raises:
            AddressError: the URL or a file it names cannot be used.
            MissingExtra: signing needs the extra `nats`.
        """
        self._address = parse_nats(address.url)
        check_credentials(self._address)
        self.url = self._address.url
        self._heads = [f"PUB {self._address.subject(shard)} ".encode() for shard in range(self._address.shards)]
        self._first_at: float | None = None
        self._waiting: bytes | None = None
        self._waiting_since = 0
        self._begin()
        register(self, Floor.TRANSPORT)

    @property
    def patience(self) -> float:
        """What is left of the time for a first connection (seconds)."""
        if self._first_at is None or self._link.refusal != NOT_NOW:
            return 0.0
        return max(0.0, self._first_at + _PATIENCE - time.monotonic())

    def send(self, datagram: bytes, process: int = ANY_PROCESS) -> str | None:
        """Hands one datagram over, or says why not; ENOTCONN without a connection, EACCES where the server forbids it."""
        if not HERE[0]:
            notice_fork()
        link = self._link
        first_at = self._first_at
        if first_at is None:
            first_at = time.monotonic()
            if not (may_start_threads() and link.start()):  # tried again with the next datagram
                return NOT_CONNECTED
            self._first_at = first_at
        losses = link.losses  # read first: a connection that is lost meanwhile takes the waiting message with it
        if datagram is self._waiting:
            self._waiting = None
            if losses != self._waiting_since:  # it was pending when a connection was lost, and is lost with it
                return NOT_CONNECTED
        limit = link.max_payload
        if limit is not None and len(datagram) > limit:
            return "EMSGSIZE"
        shard = int.from_bytes(datagram[SHARD_OFFSET : SHARD_OFFSET + 4]) % len(self._heads)
        if self._ends.denied and self._ends.denies(shard):
            return DENIED
        # The parent's link writes nothing in a child.
        error = link.offer(self._heads[shard], datagram) if process in (HERE[0], ANY_PROCESS) else FORKED
        if error is NOT_NOW:
            if link.max_payload is None and first_at + _PATIENCE < time.monotonic():
                return NOT_CONNECTED
            self._waiting, self._waiting_since = datagram, losses
        return error

    def path_datagram(self) -> int | None:
        """The server's limit."""
        limit = self._link.max_payload
        return None if limit is None else min(limit, MAX_DATAGRAM)

    def close(self) -> None:
        """Finishes a partly written message, and closes the connection."""
        if not HERE[0]:
            notice_fork()
        unregister(self)
        self._link.close()
        self._link.wait_for_end()

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002  the same whenever it is noticed
        """Begins anew in a forked child, which must not write a byte to its parent's connection (R8)."""
        self._link.abandon()
        self._begin()

    def _begin(self) -> None:
        self._ends = _Sending(self._address)
        self._link = Link(self._address, self._ends, self._ends.who)
        self._first_at = None
        self._waiting = None


class _Sending:
    """The end behind a sending link: it only notes on which subjects the server forbids publishing."""

    def __init__(self, address: NatsAddress) -> None:
        self._address = address
        self.who = legible(f"{socket.gethostname()}:{os.getpid()}")
        self.denied: dict[int, float] = {}
        """Until when a shard is not tried again (monotonic, seconds)."""
        self._said = False

    def denies(self, shard: int) -> bool:
        """Whether the server has recently forbidden publishing on this shard."""
        until = self.denied.get(shard)
        if until is None:
            return False
        if time.monotonic() >= until:
            self.denied.pop(shard, None)  # a new connection may have forgotten it already
            return False
        return True

    def connected(self) -> Sequence[bytes]:
        self.denied = {}
        return [publish(self._address.presence, sends(self.who, self._address.shards, wall_clock()))]

    def disconnected(self) -> None:
        """Does nothing: everything this end knows belongs to its connection, and the next one begins with `connected`."""

    def delivered(self, _delivery: Delivery) -> Sequence[bytes]:
        return ()

    def complained(self, text: str) -> bool:
        """Notes a forbidden shard; announcing the number of shards is optional, and may be forbidden without harm."""
        if "permissions violation" not in text.lower():
            return False
        subject = text.rpartition(" to ")[2].strip("'\" ")
        shard = next((n for n in range(self._address.shards) if self._address.subject(n) == subject), None)
        if shard is not None:
            self.denied = {**self.denied, shard: time.monotonic() + EPISODE}
            if not self._said:
                self._said = True
                logger.warning(
                    "%s: the server forbids publishing on %s: datagrams for it are refused and counted as EACCES",
                    self._address.url,
                    subject,
                )
        return True

    def deadline(self) -> float | None:
        return None

    def due(self) -> Sequence[bytes]:
        return ()
