"""What is known of one series over time: a ring of slots, and the distributions of the last ten minutes.

Memory is bounded, and nothing is invented between arrivals. Not thread-safe.

Theory of operation.

*Ring*: one slot a second (and, behind it, coarser slots that book the same and reach further back) says in how many snapshots the value was known,
in how many it was lost, and what came. Memory is taken page by page as time passes, so a series that was seen once costs two pages.
*Recent*: what a histogram gained in each ten seconds; the slot in use as buckets, the others packed: a bucket in a dictionary takes
about 95 bytes, packed 4 to 12.
*Series*: one series of one life. Its values are merged by the greatest, so that order and repetition change nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from typing import Final, NamedTuple

from atmost.metrics import wire
from atmost.metrics.buckets import Buckets, joined

PAGE: Final = 120
"""Slots of one page: 10 bytes each, 2 more where something was lost, and 4 of a gauge; an array's head is 80 bytes."""
_MOST: Final = 0xFFFF_FFFF
"""What a slot can count; a forged number beyond it is as good as this one."""

Row = tuple[float, int, int, float, float]
"""A slot: its start, in how many snapshots the value was known and lost, the sum of what came, and when a gauge was set."""


class MetricSlot(NamedTuple):
    """One slot of a series."""

    start: float
    """Seconds on the reader's clock."""
    value: float | None
    """A gauge's value, a counter's increase, a histogram's observations; None when nothing is known, which is not 0."""
    received: int
    """Snapshots in which the value was known."""
    lost: int
    """Snapshots in which it is not known, because something was lost."""

    @property
    def completeness(self) -> float | None:
        """received / (received + lost); None when nothing was expected."""
        due = self.received + self.lost
        return self.received / due if due else None


class _Page:
    """Some neighbouring slots."""

    __slots__ = ("ages", "lost", "received", "sum")

    def __init__(self) -> None:
        self.received = array("H", bytes(2 * PAGE))
        """Wider from the first number on that needs it; so is `lost`."""
        self.lost: array[int] | None = None
        """Made when something is: foreign protocols never know."""
        self.sum = array("d", bytes(8 * PAGE))
        self.ages: array[float] | None = None
        """Of a gauge: seconds from when it was set to the slot's start."""

    def set_age(self, at: int, age: float) -> None:
        """Notes how long before the slot's start a gauge was set."""
        if self.ages is None:
            self.ages = array("f", bytes(4 * PAGE))
        self.ages[at] = age

    def clear(self, at: int) -> None:
        """Nothing is known of this slot."""
        self.received[at] = 0
        self.sum[at] = 0.0
        if self.lost is not None:
            self.lost[at] = 0


def _raise(counts: array[int], at: int, by: int) -> array[int]:
    """Counts beyond what an array can hold: in a wider one, and at the most that counts."""
    wider = array("I", counts)
    wider[at] = min(counts[at] + by, _MOST)
    return wider


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

    def receive(self, when: float, amount: float, set_at: float | None = None) -> None:
        """Books a snapshot in which the value was known.

        Args:
            when: seconds.
            amount: what it adds to the slot.
            set_at: when a gauge was set, seconds.
        """
        found = self._find(when)
        if found is not None:
            page, at = found
            try:
                page.received[at] += 1
            except OverflowError:
                page.received = _raise(page.received, at, 1)
            page.sum[at] += amount
            if set_at is not None:
                page.set_age(at, when // self.width * self.width - set_at)
        if self.coarse is not None:
            self.coarse.receive(when, amount, set_at)

    def receive_all(self, when: float, amounts: Sequence[float], set_at: float | None = None) -> None:
        """Books several snapshots at once: the same as `receive` with each amount, in this order."""
        found = self._find(when)
        if found is not None:
            page, at = found
            try:
                page.received[at] += len(amounts)
            except OverflowError:
                page.received = _raise(page.received, at, len(amounts))
            page.sum[at] = reduce(add, amounts, page.sum[at])
            if set_at is not None:
                page.set_age(at, when // self.width * self.width - set_at)
        if self.coarse is not None:
            self.coarse.receive_all(when, amounts, set_at)

    def increase(self, when: float, amount: float) -> None:
        """Adds to a slot without booking a snapshot."""
        found = self._find(when)
        if found is not None:
            page, at = found
            page.sum[at] += amount
        if self.coarse is not None:
            self.coarse.increase(when, amount)

    def lose(self, when: float, count: int = 1) -> None:
        """Books snapshots in which the value was not known."""
        found = self._find(when)
        if found is not None:
            page, at = found
            if page.lost is None:
                page.lost = array("H", bytes(2 * PAGE))
            try:
                page.lost[at] += count
            except OverflowError:
                page.lost = _raise(page.lost, at, count)
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
        for _, came, gone, amount, _ in self.rows(start, end):
            received += came
            lost += gone
            total += amount
        return received, lost, total

    def rows(self, start: float, end: float) -> list[Row]:
        """The slots that begin in [start, end), without those of which nothing was ever known."""
        rows = []
        for number in self._slots(start, end):
            position = number % self.size
            page = self._pages[position // PAGE]
            if page is not None:
                at, begin = position % PAGE, number * self.width
                set_at = begin if page.ages is None else begin - page.ages[at]
                lost = 0 if page.lost is None else page.lost[at]
                rows.append((begin, page.received[at], lost, page.sum[at], set_at))
        return rows

    def _slots(self, start: float, end: float) -> range:
        first = max(-int(-start // self.width), self.newest - self.size + 1, 0)
        return range(first, min(-int(-end // self.width), self.newest + 1))

    def _find(self, when: float) -> tuple[_Page, int] | None:
        """Where a slot stands, clearing those that came into being; None when it is too long ago."""
        number = int(when // self.width)
        if number <= self.newest - self.size or number < 0:
            return None
        if number > self.newest:
            # Of a ring that nothing was booked in there is nothing to clear.
            first = number if self.newest < 0 else max(self.newest + 1, number - self.size + 1)
            for fresh in range(first, number + 1):
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


# The distributions of the last ten minutes.

RECENT: Final = 10.0
"""Of one slot, seconds."""
KEPT: Final = 60
"""Slots."""
_MAX_PACKED: Final = 1024
"""Buckets of a slot that is kept: at scale 5 a factor of 10^9 between the least and the greatest. Beyond it the slot's scale is lowered."""


class _Side(NamedTuple):
    """The buckets of one sign."""

    buckets: array[int]
    counts: array[int]


class Packed(NamedTuple):
    """The observations of one slot; never changed."""

    scale: int
    positive: _Side
    negative: _Side
    zero: int
    sum: float

    @property
    def size(self) -> int:
        """Buckets: what it costs to merge it."""
        return len(self.positive.buckets) + len(self.negative.buckets)

    def unpack(self) -> Buckets:
        """The same observations as buckets."""
        buckets = Buckets(self.scale)
        buckets.positive = dict(zip(*self.positive, strict=True))
        buckets.negative = dict(zip(*self.negative, strict=True))
        buckets.zero, buckets.sum = self.zero, self.sum
        return buckets


class Recent:
    """The last `KEPT` slots of one histogram."""

    __slots__ = ("_live", "_packed", "_slot")

    def __init__(self) -> None:
        self._slot = -1
        self._live = Buckets()
        self._packed: dict[int, Packed] = {}

    def at(self, when: float) -> Buckets:
        """The buckets of the slot in use, to count observations of this moment in; older moments count in it too.

        Args:
            when: seconds; how far it moved on decides what is forgotten.
        """
        slot = int(when // RECENT)
        if slot > self._slot:
            if self._live.count:
                self._live.bound(_MAX_PACKED)
                self._packed[self._slot] = _pack(self._live)
            self._live, self._slot = Buckets(), slot
            for old in [old for old in self._packed if old <= slot - KEPT]:
                del self._packed[old]
        return self._live

    def pieces(self, start: float, end: float) -> list[tuple[float, Packed | Buckets]]:
        """What it gained in the slots that begin in [start, end), seconds, and when they began: to be merged later, in any thread."""
        found: list[tuple[float, Packed | Buckets]] = [
            (slot * RECENT, each) for slot, each in self._packed.items() if start <= slot * RECENT < end
        ]
        if self._slot >= 0 and start <= self._slot * RECENT < end:
            found.append((self._slot * RECENT, self._live.copy()))
        return found

    def between(self, start: float, end: float) -> Buckets:
        """What it gained in the slots that begin in [start, end), seconds."""
        total = Buckets()
        for _, piece in self.pieces(start, end):
            total.merge(piece.unpack() if isinstance(piece, Packed) else piece)
        return total


def _pack(buckets: Buckets) -> Packed:
    """The same observations in as little memory as there is."""
    sides = (_pack_side(buckets.positive), _pack_side(buckets.negative))
    return Packed(buckets.scale, *sides, buckets.zero, buckets.sum)


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


class Series:
    """One series of one life; its values only ever come from readings."""

    __slots__ = (
        "_seen", "as_of", "born", "buckets", "gauge", "known", "recent", "ring", "set_at", "touched", "updated", "value",
    )  # fmt: skip

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
        """Whether its values are not totals."""
        self.set_at = 0.0
        """When a gauge was set, on the reader's clock."""
        self.as_of = -1 - wire.HOLD  # never, and not just before the first either
        """The last snapshot in which the value is known."""
        self.touched = -1
        """The last snapshot with a piece of it."""
        self.known = 0
        """Bit n: the value is known in snapshot n of those not settled yet, counted from the life's first unsettled."""
        self.updated = 0.0
        """When it was last known to be so, on the reader's clock."""
        self._seen = False

    @property
    def last(self) -> float | None:
        """The last value; of a histogram the observations."""
        return self.value if self.buckets is None else self.buckets.count

    def receive_total(self, value: float, *, counts: bool) -> float:
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

    def receive_value(self, value: float, number: int, set_at: float) -> None:
        """Takes a gauge's value, from this snapshot."""
        self.gauge = True
        if number >= self.touched:
            self.value, self.set_at = value, set_at

    def receive_buckets(self, entry: wire.HistogramEntry, number: int, when: float, *, counts: bool) -> int | None:
        """Takes a reading of a histogram, or a piece of it, from this snapshot; returns the new observations, None when malformed.

        A sender lowers its scale when it has too many buckets, and this end follows. A piece that is late and finer is joined first;
        a part of a bucket can only be less than what is known of it, so the greatest stays right.
        """
        own, positive, negative = self.buckets, wire.unflatten(entry.positive), wire.unflatten(entry.negative)
        if own is None or positive is None or negative is None:
            return None
        own.downscale(entry.scale)
        gained = Buckets(own.scale)
        gained.zero = max(0, entry.zero - own.zero)
        own.zero = max(own.zero, entry.zero)
        for mine, new, side in ((own.positive, gained.positive, positive), (own.negative, gained.negative, negative)):
            told = joined(side, entry.scale - own.scale) if entry.scale > own.scale else side
            for bucket, count in told.items():
                more = count - mine.get(bucket, 0)
                if more > 0:
                    mine[bucket] = count
                    new[bucket] = more
        own.bound()
        more = gained.count
        if number >= self.touched:  # a sum may fall, because values may be below 0: the latest is right
            gained.sum = entry.sum - own.sum
            own.sum = entry.sum
        first, self._seen = not self._seen, True
        if first and not counts:
            return 0
        if self.recent is not None and (more or gained.sum):
            self.recent.at(when).merge(gained)
        return more

    def between(self, start: float, end: float) -> Buckets:
        """What a histogram gained in the slots that begin in [start, end)."""
        return Buckets() if self.recent is None else self.recent.between(start, end)
