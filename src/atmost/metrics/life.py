"""One life of one registry at the reader, and one session with plain readings: what came, what did not, and what is known through it.

Theory of operation.

*Snapshots.* A snapshot is known to a series when a reading of it came, or when the snapshot is complete without one: then the series
did not change during the last `HOLD` snapshots, and what was known before holds for them. All else that was numbered is
lost, and is called so when `grace` has passed.

A snapshot takes memory only once a part of it came: the numbers in between are kept as spans, one for each step forward. Missing ones in a
row become one *run* of the life when there are more than a few, and are subtracted when somebody asks. So a number far ahead, which a
stranger may send for nothing, costs neither memory nor time in proportion to the leap, nor to the series of the life.

*The end.* A life that sent its last snapshot ended completely once every part of that came, and its totals are exact.
One whose session said goodbye without it, or that is silent, has an unknown tail: what it counted since its latest snapshot may be missing.
Either can be taken back: a further snapshot shows that the life went on, in another session or after a last snapshot that was not the last.

*Plain readings* have no numbers of their own. What a session lost is spread over them.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Final, NamedTuple

from atmost.core.events import Loss, Message, Session
from atmost.metrics import wire
from atmost.metrics.buckets import Buckets
from atmost.metrics.history import Ring, Series

MAX_JUMP: Final = 2048
"""Snapshots between two that came of which it is known when they were due; of more only the number is counted."""
_MAX_MISSING: Final = 256
_SHORT: Final = 8
"""Missing snapshots in a row that are booked in the slots of every series; longer runs are kept by the life. At least `HOLD`, because within
these a series may be known although nothing came."""
_FEW: Final = 64
_MAX_RUNS: Final = 32
"""Runs kept by one life; beyond it the oldest two are joined."""
_MARKS: Final = 512
_BURST: Final = 0.05
"""Seconds within which plain readings of one name say nothing about a rhythm: they waited together somewhere."""
_MARK_EVERY: Final = 0.25
"""Seconds between two remembered datagram numbers, which tell when a lost one was sent."""
_FIRST: Final = attrgetter("first")
_HARMLESS: Final = frozenset({"bad_value"})
"""What a registry may refuse while its series stay complete."""

SeriesKey = tuple[str, tuple[str, ...]]
"""A metric's name and the values of its labels."""
RetiredKey = tuple[str, str, tuple[str, ...]]
"""Sender, metric and values of the labels."""


class MetricTail(StrEnum):
    """What is known of the end of a registry's life."""

    ALIVE = "alive"
    """Snapshots come as they should."""
    COMPLETE = "complete"
    """Its last snapshot came: totals are exact."""
    UNKNOWN = "unknown"
    """It ended, or fell silent, and its last snapshot did not come: totals may be too small."""


class Counted(NamedTuple):
    """What one series of a folded life added to the totals."""

    key: RetiredKey
    amount: float
    buckets: Buckets | None
    """Of a histogram."""
    uncertain: bool
    """Whether the life may have counted more."""

    @property
    def weight(self) -> int:
        """How much it counts for the bound on them."""
        return 1 if self.buckets is None else 1 + self.buckets.size


class MissingSnapshot(NamedTuple):
    """What did not come."""

    snapshot: int
    part: int | None
    """None when no part of the snapshot came, so that nobody knows how many there were."""


class _Snapshot:
    """One that is not settled yet, of which a part came."""

    __slots__ = ("at", "came", "parts")

    def __init__(self, at: float) -> None:
        self.at = at
        """When it was, or would have been, received."""
        self.parts = 0
        self.came: set[int] = set()

    @property
    def is_whole(self) -> bool:
        """Whether every part came."""
        return bool(self.parts) and len(self.came) == self.parts


class _Span:
    """The snapshots of one step forward: the last of them came, and those before it may yet."""

    __slots__ = ("at", "first", "last", "since", "step")

    def __init__(self, first: int, last: int, at: float, step: float, since: float) -> None:
        self.first, self.last = first, last
        self.at, self.step = at, step
        """When the one before the first was received, and seconds from each to the next."""
        self.since = since
        """When these were first known to exist."""

    def when(self, number: int) -> float:
        """When a snapshot was, or would have been, received."""
        return self.at + (number - self.first + 1) * self.step


class _Run:
    """Many snapshots in a row of which nothing came, spread evenly over their time."""

    __slots__ = ("count", "ended", "first", "last", "start")

    def __init__(self, first: int, last: int, start: float, ended: float) -> None:
        self.first, self.last = first, last
        self.count = last - first + 1
        self.start, self.ended = start, ended
        """When the first and the last would have been received."""

    def join(self, later: _Run) -> None:
        """Takes in the next one."""
        self.last, self.ended = later.last, later.ended
        self.count += later.count

    def before(self, when: float, born: int) -> int:
        """How many of them were due before this moment, without those that a series born later could not be in."""
        if self.last < born or when <= self.start:
            return 0
        steps = self.last - self.first
        step = (self.ended - self.start) / steps
        passed = steps + 1 if when > self.ended else math.ceil((when - self.start) / step)
        unborn = max(0, born - self.first)
        return max(0, min(passed, steps + 1) - unborn) * self.count // (steps + 1)


class _Missing:
    """The last snapshots and parts that were lost, as numbers, because a life may be a stranger's."""

    __slots__ = ("_parts", "_snapshots")

    def __init__(self) -> None:
        self._snapshots = array("Q")
        self._parts = array("i")

    def record(self, snapshots: Sequence[int], parts: Sequence[int | None]) -> None:
        """Records lost ones; beyond the bound the oldest are dropped."""
        self._snapshots.extend(snapshots)
        self._parts.extend(-1 if part is None else part for part in parts)
        if len(self._parts) > _MAX_MISSING:
            self._snapshots, self._parts = self._snapshots[-_MAX_MISSING:], self._parts[-_MAX_MISSING:]

    def __iter__(self) -> Iterator[MissingSnapshot]:
        for number, part in zip(self._snapshots, self._parts, strict=True):
            yield MissingSnapshot(number, None if part < 0 else part)


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
        self.said_goodbye = False
        """Whether its session ended."""
        self._final = -1
        """The snapshot that was said to be the last."""
        self._final_parts = 0
        self._final_came: set[int] = set()
        self.dropped: dict[str, int] = {}
        self.series: dict[SeriesKey, Series] = {}
        self.returning: dict[SeriesKey, Counted] = {}
        """Of a life that was folded: what the totals have of series that are not here again yet."""
        self._waiting: dict[int, _Snapshot] = {}
        self._spans: list[_Span] = []
        """All that is not settled yet, whether it came or not."""
        self._runs: list[_Run] = []
        self._complete = 0
        self.lost_snapshots = 0
        """Snapshots of which no part came."""
        self.parts_lost = 0
        """Of snapshots of which some part came."""
        self.parts_late = 0
        """Came after they had been called lost."""
        self.missing = _Missing()
        """The last that were called lost."""

    @property
    def complete(self) -> int:
        """Snapshots of which every part came."""
        return self._complete + sum(snapshot.is_whole for snapshot in self._waiting.values())

    @property
    def pending(self) -> int:
        """Snapshots missing in whole or part, and still within the grace."""
        return self.latest - self.settled - sum(snapshot.is_whole for snapshot in self._waiting.values())

    @property
    def closed(self) -> bool:
        """Whether no other snapshot is expected."""
        return self.said_goodbye or self._final == self.latest

    @property
    def refuses(self) -> bool:
        """Whether the process says that it did not count or send something that belongs into a series."""
        return not _HARMLESS.issuperset(self.dropped)

    def tail(self, now: float) -> MetricTail:
        """What is known of its end."""
        if not self.closed:
            return MetricTail.UNKNOWN if self.overdue(now) else MetricTail.ALIVE
        whole = self._final == self.latest and len(self._final_came) == self._final_parts
        return MetricTail.COMPLETE if whole else MetricTail.UNKNOWN

    def is_exact(self, series: Series, now: float) -> bool:
        """Whether nothing that this life counted in a series is missing, as of its latest snapshot."""
        if self.closed and self._final == self.latest and series.as_of == self._final:
            return True  # the last snapshot holds every series, and this one's reading of it came
        return self.tail(now) is not MetricTail.UNKNOWN and (self.closed or series.as_of == self.latest)

    def receive(self, part: wire.Part, session: Session, now: float) -> bool:
        """Books a part; returns whether its readings are news.

        Call `conclude` after taking them in.
        """
        number = part.number
        if number >= self.latest:
            self.dropped, self.interval = part.dropped, part.interval
        if part.final and number >= self._final:
            if number > self._final:
                self._final, self._final_parts, self._final_came = number, part.parts, set()
            self._final_came.add(part.part)
        if number <= self.settled:
            self.parts_late += 1
            return True
        if number > self.latest:
            self.session, self.said_goodbye = session, False
            self._reach(number, now)
        snapshot = self._waiting.get(number)
        if snapshot is None:
            snapshot = self._waiting[number] = _Snapshot(self._when(number))
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
                series.ring.increase(self._when(number), amount)
            return
        series.known |= 1 << bit
        series.ring.receive(self._when(number), amount, series.set_at if series.gauge else None)

    def conclude(self, number: int, now: float) -> None:
        """Draws the conclusion from a snapshot of which every part came, once it has."""
        snapshot = self._waiting.get(number)
        if snapshot is None or not snapshot.is_whole:
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
        while self._spans and now - self._spans[0].since >= self._grace:
            self._settle_next()

    def next_deadline(self) -> float | None:
        """When something missing will be lost; None while nothing is."""
        return self._spans[0].since + self._grace if self._spans else None

    def lost_in_runs(self, series: Series, start: float, end: float, width: float) -> int:
        """Of a series, the snapshots in long runs that are missing in [start, end), seconds, as far back as its slots of this width reach."""
        if not self._runs:
            return 0
        ring = series.ring.for_width(width)
        start = max(start, (ring.newest - ring.size + 1) * ring.width)
        born = series.born
        return sum(run.before(end, born) - run.before(start, born) for run in self._runs) if start < end else 0

    def rows_of_runs(self, series: Series, first: int, last: int, width: float) -> Iterator[tuple[int, int]]:
        """The same by slots of this width, without those in which nothing is missing: number of the slot, and snapshots."""
        spans = [(int(run.start // width), int(run.ended // width)) for run in self._runs]
        for slot in sorted({n for low, high in spans for n in range(max(low, first), min(high, last) + 1)}):
            lost = self.lost_in_runs(series, slot * width, (slot + 1) * width, width)
            if lost:
                yield slot, lost

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
        step = (now - self.latest_at) / (number - self.latest)
        self._spans.append(_Span(self.latest + 1, number, self.latest_at, step, now))
        self.latest, self.latest_at = number, now
        while self.latest - self.settled > 2 * MAX_JUMP:
            self._settle_next()

    def _skip_to(self, number: int) -> None:
        """Counts all up to this snapshot as lost at once: too many to look at."""
        while self._spans:
            self._settle_next()
        self.lost_snapshots += number - self.latest
        self.latest_at += (number - self.latest) * self.interval
        self.latest = self.settled = number

    def _when(self, number: int) -> float:
        """When an unsettled snapshot was, or would have been, received."""
        known = self._waiting.get(number)
        return (
            self._spans[bisect_right(self._spans, number, key=_FIRST) - 1].when(number) if known is None else known.at
        )

    def _settle_next(self) -> None:
        """Settles the next snapshot that came, or all that are missing before it."""
        span, number = self._spans[0], self.settled + 1
        snapshot = self._waiting.pop(number, None)
        if snapshot is None:
            last = number
            if len(self._waiting) < _FEW:
                last = min(came for came in self._waiting if came > number) - 1
            else:
                while last + 1 not in self._waiting:
                    last += 1
            self._lose(span, number, last)
        else:
            self._settle_one(number, snapshot)
        if self.settled == span.last:
            self._spans.pop(0)

    def _settle_one(self, number: int, snapshot: _Snapshot) -> None:
        self.settled = number
        if snapshot.is_whole:
            self._complete += 1
        else:
            absent = sorted(set(range(min(snapshot.parts, _MAX_MISSING))) - snapshot.came)
            self.parts_lost += snapshot.parts - len(snapshot.came)
            self.missing.record([number] * len(absent), absent)
        self._lose_slots(number, snapshot.at)

    def _lose(self, span: _Span, first: int, last: int) -> None:
        """Snapshots of which no part came."""
        self.lost_snapshots += last - first + 1
        told = range(max(first, last - _MAX_MISSING + 1), last + 1)
        self.missing.record(told, [None] * len(told))
        if last - first < _SHORT:
            for number in range(first, last + 1):
                self._lose_slots(number, span.when(number))
        else:
            self._runs.append(_Run(first, last, span.when(first), span.when(last)))
            if len(self._runs) > _MAX_RUNS:
                self._runs[0].join(self._runs.pop(1))
            for series in self.series.values():
                series.known >>= last - first + 1
        self.settled = last

    def _lose_slots(self, number: int, at: float) -> None:
        """Books a settled snapshot as lost in the series that are not known in it."""
        for series in self.series.values():
            if not series.known & 1 and series.born <= number:
                series.ring.lose(at)
            series.known >>= 1


class _Marks:
    """The numbers of some datagrams, and when they came, oldest first: 16 bytes each, because a session may be a stranger's."""

    __slots__ = ("_numbers", "_times")

    def __init__(self) -> None:
        self._numbers = array("Q")
        self._times = array("d")

    def note(self, number: int, now: float) -> None:
        """Adds one, unless the last is hardly older; beyond the bound the oldest half goes."""
        if self._times and now - self._times[-1] < _MARK_EVERY:
            return
        if len(self._times) >= _MARKS:
            del self._times[: _MARKS // 2], self._numbers[: _MARKS // 2]
        self._numbers.append(number)
        self._times.append(now)

    def before(self, number: int) -> tuple[int, float] | None:
        """The last one with a smaller number."""
        return next(
            ((n, t) for n, t in zip(reversed(self._numbers), reversed(self._times), strict=True) if n < number), None
        )

    def after(self, number: int) -> tuple[int, float] | None:
        """The first one with a greater number."""
        return next(((n, t) for n, t in zip(self._numbers, self._times, strict=True) if n > number), None)


class PlainSession:
    """What one session sent without numbering it itself; completeness is that of all its messages."""

    def __init__(self, session: Session, ring: Ring, now: float) -> None:
        self.session = session
        self.all = ring
        """All messages of the session, received and lost."""
        self.series: dict[str, Series] = {}
        self.latest_at = now
        self.interval = 0.0
        """Between readings, seconds, as they came: the shortest of the usual ones; 0 while unknown."""
        self.closed = False
        self._paced: dict[str, float] = {}
        """When each reading last told something about the rhythm."""
        self._marks = _Marks()

    @property
    def sender(self) -> str:
        """The sender's name, or the session's identity while no name has come."""
        return self.session.name or self.session.id

    def hear(self, message: Message, now: float) -> None:
        """Books any message of the session."""
        self.all.receive(now, 1)
        self._marks.note(message.arrival.sequence, now)

    def receive(self, name: str, value: float, now: float, make_ring: Callable[[], Ring]) -> Series:
        """Takes a reading."""
        series = self.series.get(name)
        if series is None:
            series = self.series[name] = Series(make_ring(), 0, histogram=False)
            self._paced[name] = now
        elif (gap := now - self._paced[name]) > _BURST:
            self._paced[name] = now
            self.interval = min(gap, self.interval * 1.05) if self.interval else gap
        series.receive_value(value, 0, now)
        series.updated = now
        series.ring.receive(now, value, now)
        self.latest_at = now
        return series

    def hear_all(self, messages: Sequence[Message], now: float) -> None:
        """Books messages that came together: the same as `hear` with each."""
        self.all.receive_all(now, [1] * len(messages))
        self._marks.note(messages[0].arrival.sequence, now)

    def receive_all(self, name: str, values: Sequence[float], now: float) -> None:
        """Takes readings of a series that there is, in order: the same as `receive` with each."""
        series = self.series[name]
        if (gap := now - self._paced[name]) > _BURST:
            self._paced[name] = now
            self.interval = min(gap, self.interval * 1.05) if self.interval else gap
        series.receive_value(values[-1], 0, now)
        series.updated = now
        series.ring.receive_all(now, values, now)
        self.latest_at = now

    def lose(self, loss: Loss, now: float) -> None:
        """Books a gap at the time it was sent, as far as the datagrams around it tell."""
        before, after = self._marks.before(loss.first_sequence), self._marks.after(loss.last_sequence)
        left = before or after or (loss.first_sequence - 1, now)
        right = after or (loss.last_sequence + 1, now)
        pace = (right[1] - left[1]) / (right[0] - left[0]) if right[0] > left[0] else 0.0
        datagrams = loss.last_sequence - loss.first_sequence + 1
        steps = min(loss.count, 64)
        for step in range(steps):
            share = loss.count * (step + 1) // steps - loss.count * step // steps
            sequence = loss.first_sequence - 0.5 + datagrams * (step + 0.5) / steps
            self.all.lose(left[1] + (sequence - left[0]) * pace, share)
