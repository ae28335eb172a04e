"""One life of one registry at the reader: which snapshots and parts came, which did not, and what is known through them.

A snapshot is known to a series when a reading of it came, or when the snapshot is complete without one: then the series
did not change during the last `HOLD` snapshots, and what was known before holds for them. All else that was numbered is
lost, and is called so when `grace` has passed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from atmost.core.events import Session
from atmost.metrics import wire
from atmost.metrics.retired import Counted
from atmost.metrics.ring import Ring
from atmost.metrics.series import Series

MAX_JUMP: Final = 2048
"""Snapshots between two that came which are looked at one by one; of more only the number is counted."""
_MAX_MISSING: Final = 256

SeriesKey = tuple[str, tuple[str, ...]]
"""A metric's name and the values of its labels."""


class Missing(NamedTuple):
    """What did not come."""

    snapshot: int
    part: int | None
    """None when no part of the snapshot came, so that nobody knows how many there were."""


class _Snapshot:
    """One that is not settled yet."""

    __slots__ = ("at", "came", "parts", "since")

    def __init__(self, at: float, since: float) -> None:
        self.at = at
        """When it was, or would have been, received."""
        self.since = since
        """When it was first known to exist."""
        self.parts = 0
        self.came: set[int] = set()


class Life:
    """A registry's life; time is the reader's clock."""

    def __init__(self, part: wire.Part, session: Session, now: float, *, watched: float, grace: float) -> None:
        """Begins with the first part that came.

        Args:
            part: whatever came first.
            session: that carried it.
            now: seconds.
            watched: how long the reader has been there, seconds.
            grace: seconds until missing is lost.
        """
        self.id = part.life
        self.sender = part.sender
        self.session = session
        self.interval = part.interval
        self._grace = grace
        from_the_start = part.elapsed <= watched and part.number <= MAX_JUMP
        self.first = 0 if from_the_start else part.number
        """The first snapshot this reader could have had."""
        self.latest = self.settled = self.first - 1
        self.latest_at = now - (part.number - self.latest) * part.interval
        self.closed = False
        self.dropped: dict[str, int] = {}
        self.series: dict[SeriesKey, Series] = {}
        self.returning: dict[SeriesKey, Counted] = {}
        """Of a life that was folded: what the totals have of series that are not here again yet."""
        self._waiting: dict[int, _Snapshot] = {}
        self._complete = 0
        self.lost_snapshots = 0
        """Snapshots of which no part came."""
        self.parts_lost = 0
        """Of snapshots of which some part came."""
        self.parts_late = 0
        """Came after they had been called lost."""
        self.missing: deque[Missing] = deque(maxlen=_MAX_MISSING)
        """The last that were called lost."""

    @property
    def complete(self) -> int:
        """Snapshots of which every part came."""
        return self._complete + sum(map(_whole, self._waiting.values()))

    @property
    def pending(self) -> int:
        """Snapshots missing in whole or part, and still within the grace."""
        return sum(not _whole(snapshot) for snapshot in self._waiting.values())

    def receive(self, part: wire.Part, now: float) -> bool:
        """Books a part; returns whether its readings are news.

        Call `complete_snapshot` after taking them in.
        """
        number = part.number
        self.dropped = part.dropped
        self.interval = part.interval
        self.closed = self.closed or part.final
        if number <= self.settled:
            self.parts_late += 1
            return True
        if number > self.latest:
            self._reach(number, now)
        snapshot = self._waiting[number]
        if part.part in snapshot.came or snapshot.parts not in (0, part.parts):
            return False
        snapshot.parts = part.parts
        snapshot.came.add(part.part)
        return True

    def know(self, series: Series, number: int, amount: float, now: float) -> None:
        """The value of a series is known in a snapshot; `amount` is what that adds to its slot."""
        series.as_of = max(series.as_of, number)
        series.updated = max(series.updated, now)
        bit = number - self.settled - 1
        if bit < 0 or series.known >> bit & 1:
            if amount and bit >= 0:  # a further piece of the same snapshot
                series.ring.add(self._waiting[number].at, amount)
            return
        series.known |= 1 << bit
        series.ring.receive(self._waiting[number].at, amount)

    def complete_snapshot(self, number: int, now: float) -> None:
        """Draws the conclusion from a snapshot of which every part came, once it has."""
        snapshot = self._waiting.get(number)
        if snapshot is None or not _whole(snapshot):
            return
        for series in self.series.values():
            if series.touched == number:
                self.know(series, number, 0.0, now)
            elif number - wire.HOLD <= series.as_of < number:
                again = series.value or 0.0 if series.gauge else 0.0
                for unchanged in range(max(series.as_of, self.settled) + 1, number + 1):
                    self.know(series, unchanged, again, now)

    def settle(self, now: float) -> None:
        """Calls lost what is missing for longer than the grace."""
        while self.settled < self.latest:
            snapshot = self._waiting[self.settled + 1]
            if now - snapshot.since < self._grace:
                return
            self._settle_one(snapshot)

    def overdue(self, now: float) -> int:
        """Snapshots that should have come since the latest: unknown, not lost."""
        silent = now - self.latest_at
        return 0 if self.closed or silent < self.interval + self._grace else int(silent / self.interval)

    def find(self, key: SeriesKey, born: int, make_ring: Callable[[], Ring], *, histogram: bool) -> Series:
        """The series, made when it is new here."""
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series(make_ring(), max(born, self.first), histogram=histogram)
        return series

    def _reach(self, number: int, now: float) -> None:
        """Everything up to this snapshot is known to exist."""
        if number - self.latest > MAX_JUMP:
            self._skip_to(number - MAX_JUMP)
        before, step = self.latest, (now - self.latest_at) / (number - self.latest)
        for each in range(before + 1, number + 1):
            self._waiting[each] = _Snapshot(self.latest_at + (each - before) * step, now)
        self.latest, self.latest_at = number, now
        while self.latest - self.settled > 2 * MAX_JUMP:
            self._settle_one(self._waiting[self.settled + 1])

    def _skip_to(self, number: int) -> None:
        """Counts all up to this snapshot as lost at once: too many to look at."""
        while self.settled < self.latest:
            self._settle_one(self._waiting[self.settled + 1])
        self.lost_snapshots += number - self.latest
        self.latest_at += (number - self.latest) * self.interval
        self.latest = self.settled = number

    def _settle_one(self, snapshot: _Snapshot) -> None:
        number = self.settled + 1
        del self._waiting[number]
        self.settled = number
        if not snapshot.parts:
            self.lost_snapshots += 1
            self.missing.append(Missing(number, None))
        elif _whole(snapshot):
            self._complete += 1
        else:
            absent = set(range(min(snapshot.parts, _MAX_MISSING))) - snapshot.came
            self.parts_lost += snapshot.parts - len(snapshot.came)
            self.missing.extend(Missing(number, part) for part in sorted(absent))
        for series in self.series.values():
            if not series.known & 1 and series.born <= number:
                series.ring.lose(snapshot.at)
            series.known >>= 1


def _whole(snapshot: _Snapshot) -> bool:
    return bool(snapshot.parts) and len(snapshot.came) == snapshot.parts
