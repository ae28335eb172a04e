"""What is known of one series, slot by slot, for a while: bounded memory, and nothing invented between arrivals.

A ring may have a coarser one behind it, which books the same and reaches further back. Memory is taken page by page, as
time passes: a series that was seen once costs two pages, not its whole history.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple

from atmost.metrics import wire
from atmost.metrics.buckets import Buckets

PAGE: Final = 120
"""Slots of one page, 16 bytes each."""
_MOST: Final = 0xFFFF_FFFF
"""What a slot can count; a forged number beyond it is as good as this one."""


class Slot(NamedTuple):
    """One slot of a series."""

    start: float
    """Seconds on the reader's clock."""
    value: float | None
    """A gauge's mean, a counter's increase, a histogram's observations; None when nothing is known, which is not 0."""
    received: int
    """Snapshots in which the value was known."""
    lost: int
    """Snapshots in which it is not known, for something was lost."""

    @property
    def completeness(self) -> float | None:
        """received / (received + lost); None when nothing was to come."""
        due = self.received + self.lost
        return self.received / due if due else None


class _Page:
    """Some neighbouring slots."""

    __slots__ = ("lost", "received", "sum")

    def __init__(self) -> None:
        self.received = array("I", bytes(4 * PAGE))
        self.lost = array("I", bytes(4 * PAGE))
        self.sum = array("d", bytes(8 * PAGE))

    def clear(self, at: int) -> None:
        """Nothing is known of this slot."""
        self.received[at] = self.lost[at] = 0
        self.sum[at] = 0.0


class Ring:
    """The last `size` slots of `width` seconds."""

    __slots__ = ("_pages", "coarse", "newest", "size", "width")

    def __init__(self, width: float, size: int, coarse: Ring | None = None) -> None:
        """Args: width: seconds. size: slots. coarse: books the same in longer slots."""
        self.width = width
        self.size = size
        self.coarse = coarse
        self.newest = -1
        """The last slot anything is known of."""
        self._pages: list[_Page | None] = [None] * -(-size // PAGE)

    def receive(self, when: float, amount: float) -> None:
        """Books a snapshot in which the value was known, and what it adds to the slot."""
        found = self._at(when)
        if found is not None:
            page, at = found
            if page.received[at] < _MOST:
                page.received[at] += 1
            page.sum[at] += amount
        if self.coarse is not None:
            self.coarse.receive(when, amount)

    def add(self, when: float, amount: float) -> None:
        """Adds to a slot without booking a snapshot."""
        found = self._at(when)
        if found is not None:
            page, at = found
            page.sum[at] += amount
        if self.coarse is not None:
            self.coarse.add(when, amount)

    def lose(self, when: float, count: int = 1) -> None:
        """Books snapshots in which it was not."""
        found = self._at(when)
        if found is not None:
            page, at = found
            page.lost[at] = min(page.lost[at] + count, _MOST)
        if self.coarse is not None:
            self.coarse.lose(when, count)

    def for_width(self, width: float) -> Ring:
        """The ring with slots of this length, seconds: this one, or one behind it; this one where there is none."""
        ring: Ring | None = self
        while ring is not None and ring.width != width:
            ring = ring.coarse
        return ring or self

    def window(self, start: float, end: float) -> tuple[int, int, float]:
        """Received, lost and the sum, of the slots that begin in [start, end)."""
        received, lost, total = 0, 0, 0.0
        for _, came, gone, amount in self.rows(start, end):
            received += came
            lost += gone
            total += amount
        return received, lost, total

    def rows(self, start: float, end: float) -> list[tuple[float, int, int, float]]:
        """The slots that begin in [start, end): start, received, lost, sum; without those of which nothing was ever known."""
        rows = []
        for number in self._slots(start, end):
            position = number % self.size
            page = self._pages[position // PAGE]
            if page is not None:
                at = position % PAGE
                rows.append((number * self.width, page.received[at], page.lost[at], page.sum[at]))
        return rows

    def _slots(self, start: float, end: float) -> range:
        first = max(-int(-start // self.width), self.newest - self.size + 1, 0)
        return range(first, min(-int(-end // self.width), self.newest + 1))

    def _at(self, when: float) -> tuple[_Page, int] | None:
        """Where a slot stands, clearing those that came into being; None when it is too long ago."""
        number = int(when // self.width)
        if number <= self.newest - self.size or number < 0:
            return None
        if number > self.newest:
            for fresh in range(max(self.newest + 1, number - self.size + 1), number + 1):
                position = fresh % self.size
                stale = self._pages[position // PAGE]
                if stale is not None:
                    stale.clear(position % PAGE)
            self.newest = number
        position = number % self.size
        page = self._pages[position // PAGE]
        if page is None:
            page = self._pages[position // PAGE] = _Page()
        return page, position % PAGE


# What a histogram gained of late, by slots of ten seconds: the slot in use as buckets, the others packed.
#
# A bucket in a dictionary costs about 95 bytes, packed 4 to 12; ten minutes of a histogram with 300 buckets are 70 KB then.
# Not thread-safe.

RECENT: Final = 10.0
"""Of one slot, seconds."""
KEPT: Final = 60
"""Slots."""


class _Side(NamedTuple):
    """The buckets of one sign."""

    buckets: array[int]
    counts: array[int]


class _Packed(NamedTuple):
    """The observations of one slot."""

    positive: _Side
    negative: _Side
    zero: int
    threshold: int | None
    sum: float


class Recent:
    """The last `KEPT` slots of one histogram."""

    __slots__ = ("_live", "_packed", "_slot")

    def __init__(self) -> None:
        self._slot = -1
        self._live = Buckets()
        self._packed: dict[int, _Packed] = {}

    def at(self, when: float) -> Buckets:
        """The buckets of the slot in use, to count observations of this moment in; older moments count in it too.

        Args:
            when: seconds; how far it moved on decides what is forgotten.
        """
        slot = int(when // RECENT)
        if slot > self._slot:
            if self._live.count:
                self._packed[self._slot] = _pack(self._live)
            self._live, self._slot = Buckets(), slot
            for old in [old for old in self._packed if old <= slot - KEPT]:
                del self._packed[old]
        return self._live

    def between(self, start: float, end: float) -> Buckets:
        """What it gained in the slots that begin in [start, end), seconds."""
        total = Buckets()
        for slot, packed in self._packed.items():
            if start <= slot * RECENT < end:
                total.merge(_unpack(packed))
        if self._slot >= 0 and start <= self._slot * RECENT < end:
            total.merge(self._live)
        return total


def _pack(buckets: Buckets) -> _Packed:
    sides = (_pack_side(buckets.positive), _pack_side(buckets.negative))
    return _Packed(*sides, buckets.zero, buckets.threshold, buckets.sum)


def _pack_side(side: dict[int, int]) -> _Side:
    return _Side(_smallest("hi", side), _smallest("HIQ", side.values()))


def _smallest(codes: str, values: Iterable[int]) -> array[int]:
    """The values in the smallest type of array that holds them."""
    for code in codes[:-1]:
        try:
            return array(code, values)
        except OverflowError:
            continue
    return array(codes[-1], values)


def _unpack(packed: _Packed) -> Buckets:
    buckets = Buckets()
    buckets.positive = dict(zip(*packed.positive, strict=True))
    buckets.negative = dict(zip(*packed.negative, strict=True))
    buckets.zero, buckets.threshold, buckets.sum = packed.zero, packed.threshold, packed.sum
    return buckets


# One series of one life, as its readings tell: merged by the greatest, so that order and repetition change nothing.


class Series:
    """What is known of it; the values only ever come from readings."""

    __slots__ = ("_seen", "as_of", "born", "buckets", "gauge", "known", "recent", "ring", "touched", "updated", "value")

    def __init__(self, ring: Ring, born: int, *, histogram: bool) -> None:
        self.ring = ring
        self.born = born
        """The first snapshot that could hold it."""
        self.value: float | None = None
        """A counter's total since its life began, a gauge's last value."""
        self.buckets = Buckets() if histogram else None
        self.recent = Recent() if histogram else None
        """What a histogram gained of late."""
        self.gauge = False
        """Whether its values are no totals."""
        self.as_of = -1 - wire.HOLD  # never, and not just before the first either
        """The last snapshot in which the value is known."""
        self.touched = -1
        """The last snapshot with a piece of it."""
        self.known = 0
        """Bit n: the value is known in snapshot n of those not settled yet, counted from the life's first unsettled."""
        self.updated = 0.0
        """When it was last known to be so, on the reader's clock."""
        self._seen = False

    def grow(self, value: float, *, counts: bool) -> float:
        """Takes a counter's total; returns its increase.

        Args:
            value: the total.
            counts: whether the first total is an increase, or what was there before this reader.
        """
        before = self.value
        if before is None:
            self.value = value
            return value if counts else 0.0
        if value <= before:  # overtaken by a later one
            return 0.0
        self.value = value
        return value - before

    def fill(self, entry: wire.HistogramEntry, number: int, when: float, *, counts: bool) -> int | None:
        """Takes a reading of a histogram, or a piece of it, from this snapshot; returns the new observations, None when malformed."""
        own = self.buckets
        sides = wire.unflatten(entry.positive), wire.unflatten(entry.negative)
        if own is None or sides[0] is None or sides[1] is None:
            return None
        gained = Buckets()
        own.raise_threshold(entry.threshold)
        gained.raise_threshold(entry.threshold)
        gained.zero = max(0, entry.zero - own.zero)
        own.zero = max(own.zero, entry.zero)
        for mine, new, side in ((own.positive, gained.positive, sides[0]), (own.negative, gained.negative, sides[1])):
            for bucket, count in side.items():
                more = count - mine.get(bucket, 0)
                if more > 0 and (own.threshold is None or bucket > own.threshold):
                    mine[bucket] = count
                    new[bucket] = more
        own.bound()
        more = gained.count
        if number >= self.touched:  # a sum may fall, for values may be below 0: the latest is right
            gained.sum = entry.sum - own.sum
            own.sum = entry.sum
        first, self._seen = not self._seen, True
        if first and not counts:
            return 0
        if more or gained.sum:
            self._remember(gained, when)
        return more

    def between(self, start: float, end: float) -> Buckets:
        """What a histogram gained in the slots that begin in [start, end)."""
        return Buckets() if self.recent is None else self.recent.between(start, end)

    def _remember(self, gained: Buckets, when: float) -> None:
        if self.recent is not None:
            self.recent.at(when).merge(gained)
