"""`Gaps`: what is missing of one life, who of it came late, and when to say so: at most once a second.

Pure; time is an argument.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from operator import attrgetter

from atmost.logs.levels import Key
from atmost.logs.reasons import GapReason

MAX_INTERVALS = 1024
"""Runs of missing numbers remembered for one life; older ones are forgotten, and what comes of them lowers nothing."""


class Gap:
    """Missing records, in one run or several."""

    __slots__ = (
        "by_level",
        "changed",
        "dropped",
        "first",
        "from_t",
        "last",
        "late",
        "lost",
        "reason",
        "to_t",
    )

    def __init__(
        self,
        first: int,
        last: int,
        lost: int,
        by_level: Mapping[Key, int] | None,
        *,
        dropped: int = 0,
        reason: GapReason = GapReason.LOST,
        from_t: float | None = None,
        to_t: float | None = None,
    ) -> None:
        """Args: as `LogGap` has them."""
        self.first, self.last, self.lost = first, last, lost
        self.by_level = None if by_level is None else Counter(by_level)
        self.dropped = dropped
        self.reason = reason
        self.from_t, self.to_t = from_t, to_t
        self.late = 0
        self.changed = False

    def why(self) -> GapReason:
        """The reason, with what is known of dropped ones."""
        if self.reason is not GapReason.LOST or not self.dropped:
            return self.reason
        return GapReason.DROPPED if self.dropped >= self.lost else GapReason.PARTLY_DROPPED

    def join(self, other: Gap) -> None:
        """Takes in what is missing after it."""
        self.last, self.to_t = other.last, other.to_t
        self.lost += other.lost
        self.dropped += other.dropped
        if self.by_level is not None and other.by_level is not None:
            self.by_level.update(other.by_level)  # `+=` would leave out the zeros

    def lower(self, level: Key | None, count: int = 1) -> None:
        """Some of it came after all."""
        self.lost -= count
        self.late += count
        self.changed = True
        self.dropped = min(self.dropped, self.lost)
        if self.by_level is not None and level is not None:
            self.by_level[level] -= count


class _Interval:
    """Numbers that are missing without a break."""

    __slots__ = ("first", "gap", "last")

    def __init__(self, first: int, last: int, gap: Gap) -> None:
        self.first, self.last, self.gap = first, last, gap


_FIRST = attrgetter("first")


class Gaps:
    """The gaps of one life, or of one session's plain log messages."""

    __slots__ = ("_changed", "_intervals", "_pause", "_said_at", "_waiting", "forgotten", "recent")

    def __init__(self, pause: float) -> None:
        """Args: pause: seconds between two that are told of."""
        self._pause = pause
        self._said_at = -math.inf
        self._waiting: Gap | None = None
        self._changed: list[Gap] = []
        self._intervals: list[_Interval] = []
        self.forgotten = 0
        """Below this number nobody knows any more what is missing."""
        self.recent: Gap | None = None

    def add(self, gap: Gap, now: float) -> Gap | None:
        """Takes in a gap above all others; returns it when it may be told of now, and in its place."""
        told = None
        if self._waiting is not None:
            self._waiting.join(gap)
            gap = self._waiting
        elif now - self._said_at >= self._pause:
            self._said_at = now
            told = gap
        else:
            self._waiting = gap
        self.recent = gap
        return told

    def remember(self, first: int, last: int) -> None:
        """Notes which numbers the gap added last is about."""
        assert self.recent is not None
        self._intervals.append(_Interval(first, last, self.recent))
        if len(self._intervals) > MAX_INTERVALS:
            self.forgotten = self._intervals.pop(0).last + 1

    def is_missing(self, number: int) -> bool:
        """Whether a number is known to be missing."""
        position = bisect_right(self._intervals, number, key=_FIRST) - 1
        return position >= 0 and number <= self._intervals[position].last

    def fill(self, number: int, level: Key) -> bool:
        """A late arrival lowers its gap; False when it is not missing, or its gap holds none of its level."""
        if not self.is_missing(number):
            return False
        position = bisect_right(self._intervals, number, key=_FIRST) - 1
        interval = self._intervals[position]
        by_level = interval.gap.by_level
        if by_level is not None and by_level[level] <= 0:
            return False
        rest = []
        if interval.first < number:
            rest.append(_Interval(interval.first, number - 1, interval.gap))
        if number < interval.last:
            rest.append(_Interval(number + 1, interval.last, interval.gap))
        self._intervals[position : position + 1] = rest
        self.lower(interval.gap, level)
        return True

    def lower(self, gap: Gap, level: Key | None, count: int = 1) -> None:
        """Lowers a gap, and sees that this is told of."""
        if not gap.changed and gap is not self._waiting:
            self._changed.append(gap)
        gap.lower(level, count)

    def due(self) -> float:
        """When `take` has something, seconds; infinite when there is nothing."""
        return self._said_at + self._pause if self._waiting is not None or self._changed else math.inf

    def raise_by(self, gap: Gap, count: int) -> None:
        """More is missing at the place of a gap that was added before; sees that this is told of."""
        if not gap.changed and gap is not self._waiting:
            self._changed.append(gap)
        gap.lost += count
        gap.changed = True

    def take(self, now: float, *, everything: bool = False) -> list[Gap]:
        """What is to be told now: those joined since the last time, and those that were lowered."""
        if not everything and self.due() > now:
            return []
        told, self._changed = self._changed, []
        for gap in told:
            gap.changed = False
        if self._waiting is not None:
            if self._waiting.lost:  # else all of it came, before anybody heard of it
                told.append(self._waiting)
            self._waiting.changed = False
            self._waiting = None
        self._said_at = now
        return told
