"""What one incarnation of a receiver ought to accept, stated from docs/guarantee.md in sets and plain numbers.

A core that refuses everything never delivers twice, but the witness finds it at fault. It shares no code with the core:
windows are sets of numbers, and the floor is the maximum over forgotten sessions. It judges undamaged datagrams of senders
only; forged ones just have to do no harm.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from atmost.core.datagram import Kind
from atmost.core.events import (
    RefusalReason,
)
from atmost.core.receiving import ReceiverOptions
from atmost.core.shards import shard_of
from atmost.lab.guarantee.tape import Facts

_MAX_MESSAGES: Final = 2**53
_MOST_IN_ONE: Final = (65_507 - 67) // 4
"""C of R11.7: the most messages that one datagram can hold."""
FAR: Final = 1_000_000
"""A sequence number that the adversary claims and no simulated sender reaches."""


class Resident:
    """A session that the receiver remembers."""

    __slots__ = (
        "accepted",
        "efloor",
        "end",
        "greatest_us",
        "highest",
        "late",
        "origin",
        "received",
        "said_goodbye",
        "tainted",
    )

    def __init__(self, facts: Facts, efloor: int) -> None:
        """Args: facts: of the first accepted datagram. efloor: the floor (µs)."""
        self.efloor = efloor
        self.accepted: set[int] = set()
        """Sequence numbers."""
        self.highest = facts.sequence
        self.late: list[int] = []
        """Numbers accepted after a higher one, in that order."""
        self.greatest_us = facts.sent_us
        self.origin = 0 if facts.start_us > efloor else facts.prior
        self.end = 0
        self.received = 0
        self.said_goodbye = False
        self.tainted = False
        """Whether a forged datagram was accepted in this session's name."""

    def add(self, facts: Facts) -> None:
        """Records an accepted datagram."""
        self.accepted.add(facts.sequence)
        if facts.sequence < self.highest:
            self.late.append(facts.sequence)
        self.highest = max(self.highest, facts.sequence)
        self.greatest_us = max(self.greatest_us, facts.sent_us)
        self.origin = min(self.origin, facts.prior)
        self.end = max(self.end, facts.prior + facts.messages)
        self.received += facts.messages
        self.said_goodbye |= facts.kind == Kind.GOODBYE

    def figures(self) -> Counter[str]:
        """This session's part of the totals, in messages."""
        missing = self.end - self.origin - self.received
        return Counter({"sent": self.end, "before_join": self.origin, "received": self.received, "missing": missing})


class Witness:
    """The truth about one incarnation."""

    def __init__(self, options: ReceiverOptions, wall_us: int, shard: tuple[int, int] | None) -> None:
        """Args: options: the receiver's. wall_us: its clock at the start. shard: its number and the number of shards."""
        self._shard = shard
        self.future_us = round(options.future_bound * 1e6)
        self._max_age_us = None if options.max_age is None else round(options.max_age * 1e6)
        self.window = options.window
        self.boot_floor = wall_us + self.future_us + round(options.clock_guard * 1e6)
        self.floor = self.boot_floor
        self.sessions: dict[bytes, Resident] = {}
        self.forgotten: set[bytes] = set()
        """Sessions that were evicted at least once."""
        self.forgotten_figures: Counter[str] = Counter()
        """The totals of evicted sessions."""

    def expects(self, facts: Facts, wall_us: int) -> RefusalReason | None:
        """The reason for which R11 refuses this datagram; None if it accepts it."""
        if self._shard is not None and shard_of(facts.key, self._shard[1]) != self._shard[0]:
            return RefusalReason.WRONG_SHARD
        if facts.sent_us > wall_us + self.future_us:
            return RefusalReason.FUTURE
        resident = self.sessions.get(facts.key)
        if resident is None:
            if facts.sent_us <= self.boot_floor:
                return RefusalReason.BOOT_QUARANTINE
            if facts.sent_us <= self.floor:
                return RefusalReason.BELOW_FLOOR
        else:
            if facts.sent_us <= resident.efloor:
                return RefusalReason.BELOW_FLOOR
            if facts.sequence + self.window <= resident.highest:
                return RefusalReason.TOO_OLD
            if facts.sequence in resident.accepted:
                return RefusalReason.DUPLICATE
        if self._max_age_us is not None and facts.sent_us + self._max_age_us < wall_us:
            return RefusalReason.EXPIRED
        return None

    def far(self, facts: Facts) -> bool:
        """Whether R16 may ask for a second datagram, because this number is far ahead; which one is accepted depends on forgers' claims."""
        jump, resident = max(1, self.window // 2), self.sessions.get(facts.key)
        if resident is not None:
            return facts.sequence - resident.highest > jump
        return facts.start_us > self.floor and facts.sequence > jump

    def forbids(self, facts: Facts) -> str | None:
        """What speaks against accepting a datagram, whoever made it (R11.2, R11.7, R12a); None if nothing does.

        Only numbers at or beyond the end of a session are judged: what fits a gap is seen in the figures.
        """
        if any(facts.key[:2]):
            return "its key is unknown"
        if facts.sent_us < facts.start_us or facts.prior + facts.messages > _MAX_MESSAGES:
            return "it was sent before its session began, or counts beyond all bounds"
        resident = self.sessions.get(facts.key)
        if resident is None:
            between, room = facts.prior, facts.sequence
        elif facts.sequence > resident.highest:
            between, room = facts.prior - resident.end, facts.sequence - resident.highest - 1
        else:
            return None
        fits = 0 <= between <= room * _MOST_IN_ONE
        return None if fits else f"{between} messages are said to be in the {room} datagrams before it"

    def accept(self, facts: Facts, *, honest: bool) -> None:
        """Records a datagram that the receiver accepted; evictions that made room for it are reported afterwards."""
        resident = self.sessions.get(facts.key)
        if resident is None:
            resident = self.sessions[facts.key] = Resident(facts, self.floor)
        resident.add(facts)
        resident.tainted |= not honest

    def figures(self) -> Counter[str]:
        """The totals, forgotten sessions included."""
        return sum((resident.figures() for resident in self.sessions.values()), self.forgotten_figures)

    def evict(self, key: bytes) -> None:
        """Forgets a session that the receiver reported as evicted."""
        resident = self.sessions.pop(key)
        self.forgotten_figures += resident.figures()
        self.floor = max(self.floor, resident.greatest_us)
        self.forgotten.add(key)
