"""One series of one life, as its readings tell: merged by the greatest, so that order and repetition change nothing."""

from __future__ import annotations

from atmost.metrics import wire
from atmost.metrics.buckets import Buckets
from atmost.metrics.recent import Recent
from atmost.metrics.ring import Ring


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
