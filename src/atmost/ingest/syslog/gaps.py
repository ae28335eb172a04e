"""Finds holes in `[meta sequenceId]`, which are suspicions, not proof.

A relay that filters, or spreads its messages over several collectors, leaves out numbers of messages that were never to
come here; so no gap found here is verified, and none is ever called lost for certain.

Pure; one thread at a time. Bounded: the counter unheard of for longest makes room, and is counted.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

import msgspec

from atmost.errors import OptionError
from atmost.ingest.syslog.values import MAX_SEQUENCE, SyslogRecord

WINDOW: Final = 1024
"""Numbers behind the newest that are told apart as late or repeated; further back is another beginning."""
MAX_GAP: Final = 1_000_000
"""A larger jump ahead is another beginning."""


class SyslogGap(msgspec.Struct, frozen=True, gc=False):
    """Numbers that did not come."""

    source: str
    host: str
    first: int
    last: int
    """Smaller than `first` where the numbers wrapped."""
    lost: int
    """How many numbers that is."""
    verified: bool = False
    """Never: a relay may have left them out."""


class SyslogLate(msgspec.Struct, frozen=True, gc=False):
    """A number came that had been in a gap, or before the first that was seen."""

    source: str
    host: str
    number: int


@dataclass(frozen=True, slots=True)
class SyslogGapStats:
    """What the numbers of all counters said."""

    numbers: int = 0
    """Seen."""
    gaps: int = 0
    lost: int = 0
    """Numbers in the gaps, those that came late among them."""
    late: int = 0
    repeated: int = 0
    restarted: int = 0
    """New beginnings of counters."""
    forgotten: int = 0
    """Counters that made room for others."""


class _Counter:
    """One counter: its newest number, and which of the `WINDOW` up to it were seen (bit 0 is the newest)."""

    __slots__ = ("newest", "seen")

    def __init__(self, number: int) -> None:
        self.newest = number
        self.seen = 1


class SyslogGaps:
    """Follows the numbers of many counters.

    A counter belongs to a source and a host: a relay passes on several hosts', and several programs of one host each have
    their own. They can be told apart by the port they send from, so the source is best an address with its port.

    Args:
        max_counters: counters followed at once.

    Raises:
        OptionError: there is no room for one.
    """

    def __init__(self, max_counters: int = 1024) -> None:
        if max_counters < 1:
            raise OptionError("max_counters", max_counters, "at least 1 counter")
        self._max = max_counters
        self._counters: OrderedDict[tuple[str, str], _Counter] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def stats(self) -> SyslogGapStats:
        """What was found so far."""
        return SyslogGapStats(**self._counts)

    def feed(self, record: SyslogRecord, source: str | None = None) -> SyslogGap | SyslogLate | None:
        """Follows a record, with or without a number.

        Args:
            record: as parsed.
            source: who sent it, with the port where it is known; the record's peer by default.
        """
        number = record.sequence
        if number is None:
            return None
        key = (record.peer if source is None else source, record.host)
        self._counts["numbers"] += 1
        counter = self._counters.get(key)
        if counter is None:
            if len(self._counters) >= self._max:
                self._counters.popitem(last=False)
                self._counts["forgotten"] += 1
            self._counters[key] = _Counter(number)
            return None
        self._counters.move_to_end(key)
        return self._advance(key, counter, number)

    def _advance(self, key: tuple[str, str], counter: _Counter, number: int) -> SyslogGap | SyslogLate | None:
        ahead = (number - counter.newest) % MAX_SEQUENCE
        if number == 1 and ahead != 1:  # where every counter begins
            self._restart(counter, number)
            return None
        if 0 < ahead <= MAX_GAP + 1:
            first = counter.newest % MAX_SEQUENCE + 1
            counter.seen = (counter.seen << ahead | 1) & ((1 << WINDOW) - 1) if ahead < WINDOW else 1
            counter.newest = number
            if ahead == 1:
                return None
            self._counts["gaps"] += 1
            self._counts["lost"] += ahead - 1
            return SyslogGap(*key, first, number - 1, ahead - 1)
        behind = -ahead % MAX_SEQUENCE
        if behind >= WINDOW:
            self._restart(counter, number)
            return None
        if counter.seen >> behind & 1:
            self._counts["repeated"] += 1
            return None
        counter.seen |= 1 << behind
        self._counts["late"] += 1
        return SyslogLate(*key, number)

    def _restart(self, counter: _Counter, number: int) -> None:
        counter.newest = number
        counter.seen = 1
        self._counts["restarted"] += 1
