"""Who owns which shard: every ownership is an incarnation of its own, with its own floor and table (H2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import Message
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.transport.base import NETWORK

_OPTIONS: Final = ReceiverOptions(future_bound=NETWORK.future_bound, clock_guard=NETWORK.clock_guard)
"""On a network: a new owner accepts what is sent a second after it began, and later."""

Process = Callable[[int, int], None]
"""Given the sender and the number of every message that is processed."""


class Holding:
    """One collector's ownership of one shard."""

    def __init__(self, collector: int, shard: int, shards: int, wall_us: int) -> None:
        """Args: collector: the owner. shard, shards: which, of how many. wall_us: when it began, µs since 1970."""
        self.collector = collector
        self._core = ReceiverCore(_OPTIONS, wall_us, shard=(shard, shards))
        self.processed: Counter[int] = Counter()
        """Messages of each sender."""

    def receive(self, data: bytes, now: float, wall_us: int, process: Process) -> None:
        """Takes a datagram, and hands its messages on."""
        for event in self._core.receive(data, now, wall_us):
            if event.__class__ is Message:
                number, message = event.payload
                self.processed[number] += 1
                process(number, message)

    def settle(self, now: float) -> None:
        """Handles what is due."""
        self._core.handle_deadline(now)

    def ledger(self, now: float) -> Ledger:
        """The account of this ownership."""
        return self._core.ledger(now)


class Claim:
    """What an ownership knew when it ended: for each sender the messages it answered for, and how many of them came."""

    def __init__(self, holding: Holding, now: float, number_of: dict[str, int]) -> None:
        """Args: holding: that ended. now: when, seconds. number_of: senders by session."""
        self.ledger = holding.ledger(now)
        self.spans: dict[int, tuple[int, int]] = {}
        self.miscounted = 0
        for row in self.ledger.sessions:
            number = number_of[row.id]
            self.spans[number] = (row.before_join, row.sent)
            self.miscounted += abs(_missing(row) - (row.sent - row.before_join - holding.processed[number]))

    @property
    def missing(self) -> int:
        """Messages it knows it missed."""
        return self.ledger.lost + self.ledger.pending


def _missing(row: SessionLedger) -> int:
    return row.lost + row.pending
