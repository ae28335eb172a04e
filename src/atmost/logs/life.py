"""`LogLife`: the records of one life of one handler, put together and in order, each once, with the gaps between them.

Pure; time is an argument.

Theory of operation
-------------------

Every record and every mark carries `prior`: how many records of each level its life numbered before it. The sum is its
number. What the reader knows of a life is one such account, `_known`, up to the number `next`: everything below `next` was
reported, as a record or within a gap. Input is in one of these places:

* `number == next`, nothing missing: reported at once.
* `number > next`: something is missing before it. It is *held* until what is missing comes, or its grace is over. Then the
  gap is reported, which is the difference between its `prior` and `_known`, level by level, and after it the record.
* a record whose parts have not all come is held likewise, and reported with a hole when its grace is over.
* `number < next`: it is late. When it lies in a gap that was reported, that gap is lowered, and reported again. When it is
  below the number at which this reader took the life up, it was called `before_join`. Otherwise it is a copy.
* a mark moves `next` as a record does, and is not reported. It stands before the record of the same number.

An account that contradicts `_known` (a level with less than before) is refused and counted: nothing a stranger sends can
make a count fall. Gaps are reported at most once a pause; those in between are joined, and a lowered one waits for its turn.

The end of a life is known by its final mark. When all of its copies are lost, the session's own account still counts the
messages that are missing after the last one heard, but not whether they were records: they become one unattributed gap
(`tail_lost`) when the session ends, which the next record or mark of the life would replace.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from operator import attrgetter
from sys import getsizeof
from typing import Any, Final

from atmost.core.events import Arrival, Message, Session
from atmost.logs.records import LogGapReason
from atmost.logs.wire import MAX_NUMBER, MAX_PARTS, STANDARD, Body, LevelKey, LevelTotals, level_key, read_next

MAX_INTERVALS = 1024
"""Runs of missing numbers remembered for one life; older ones are forgotten, and what comes of them lowers nothing."""
MAX_INTERVALS_IN_ALL = 65_536
"""The same for all lives of a reader together; beyond it one that needs another forgets its own oldest."""


Position = tuple[int, int]
"""A number, and 1 for a record or 0 for a mark, which stands before the record of its number."""

_LOST = "[... part {} of {} lost ...]"
_ENVELOPE = 512
_COUNT = 128
"""Bytes of a level's count besides its name."""


class Held:
    """What is held back until it is its turn: a mark, or a record with those of its parts that came."""

    __slots__ = ("at", "body", "message", "number", "parts", "size")

    def __init__(self, body: Body, message: Message, number: int, at: float) -> None:
        """Args: body: the first of it that came. message: that carried it. number: its own. at: seconds."""
        self.body = body
        self.message = message
        self.number = number
        self.at = at
        self.parts: dict[int, Body] | None = None if body.parts == 1 else {body.part: body}
        self.size = size_of(body)

    @property
    def position(self) -> Position:
        """Its place in the order."""
        return self.number, int(not self.body.mark)

    @property
    def complete(self) -> bool:
        """Whether all of it came."""
        return self.parts is None or len(self.parts) == self.body.parts

    @property
    def level(self) -> LevelKey:
        """The level as counts have it."""
        return level_key(self.body.level)

    def add_part(self, body: Body) -> bool:
        """Takes a further part; False when it is known or contradicts."""
        if self.parts is None or body.parts != self.body.parts or body.part in self.parts:
            return False
        self.parts[body.part] = body
        self.size += size_of(body)
        return True

    def join(self) -> tuple[str, str, dict[str, Any], tuple[int, ...]]:
        """Returns message, exception, fields and the parts that are missing; where one is missing the text says so."""
        if self.parts is None:
            return self.body.message, self.body.exception, named(self.body.fields), ()
        message: list[str] = []
        exception: list[str] = []
        fields: dict[str, list[Any]] = {}
        missing: list[int] = []
        latest: list[Any] = []
        place = _Places(self.parts)
        for number in range(self.body.parts):
            part = self.parts.get(number)
            if part is None:
                missing.append(number)
                where = {"message": message, "exception": exception, "fields": latest}[place.of(number)]
                where.append(_LOST.format(number + 1, self.body.parts))
                continue
            message.append(part.message)
            exception.append(part.exception)
            for name, value in named(part.fields).items():
                latest = fields.setdefault(name, [])
                latest.append(value)
        together = {name: _together(pieces) for name, pieces in fields.items()}
        return "".join(message), "".join(exception), together, tuple(missing)


class _Places:
    """Which text a missing part belongs to, as its neighbours show: message, exception and fields follow each other."""

    def __init__(self, parts: dict[int, Body]) -> None:
        self._last_message = max((number for number, part in parts.items() if part.message), default=-1)
        exceptions = [number for number, part in parts.items() if part.exception]
        self._first_exception = min(exceptions, default=MAX_PARTS)
        self._last_exception = max(exceptions, default=-1)
        self._first_field = min((number for number, part in parts.items() if part.fields), default=MAX_PARTS)

    def of(self, missing: int) -> str:
        """Returns the text that a missing part belongs to."""
        if missing < self._last_message:
            return "message"
        if missing < self._last_exception:
            return "exception" if self._first_exception < missing else "message"
        if self._first_field < missing:
            return "fields"
        return "exception" if self._first_exception < missing else "message"


def _together(pieces: list[Any]) -> Any:
    """A field: a text may have come in pieces, and anything else comes whole."""
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    return pieces[0]


def size_of(body: Body) -> int:
    """Returns about what it takes to keep it, bytes."""
    texts = (body.message, body.exception, body.logger, body.thread, body.level, body.error)
    size = _ENVELOPE + sum(map(getsizeof, texts)) + sum(_COUNT + getsizeof(level) for level in body.prior)
    return size + sum(64 + _weight(name) + _weight(value) for name, value in (body.fields or {}).items())


def _weight(value: Any) -> int:
    if isinstance(value, str | bytes):
        return getsizeof(value)  # a character takes up to four bytes
    return 64 * (1 + _leaves(value))


def _leaves(value: Any) -> int:
    """How many values there are in a structure, and how much text."""
    waiting, count = [value], 0
    while waiting:
        one = waiting.pop()
        count += 1 + (len(one) // 32 if isinstance(one, str | bytes) else 0)
        if isinstance(one, dict):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
    return count


def named(fields: Any) -> dict[str, Any]:
    """Returns a record's fields under names that are text."""
    if not fields:
        return {}
    return {name if isinstance(name, str) else str(name): value for name, value in fields.items()}


class LifeGap:
    """Missing records of one life, or of one session's plain log messages, in one run or several."""

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
        by_level: Mapping[LevelKey, int] | None,
        *,
        dropped: int = 0,
        reason: LogGapReason = LogGapReason.LOST,
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

    def why(self) -> LogGapReason:
        """Returns the reason, with what is known of dropped ones."""
        if self.reason is not LogGapReason.LOST or not self.dropped:
            return self.reason
        return LogGapReason.DROPPED if self.dropped >= self.lost else LogGapReason.PARTLY_DROPPED

    def join(self, other: LifeGap) -> None:
        """Takes in what is missing after it."""
        self.last, self.to_t = other.last, other.to_t
        self.lost += other.lost
        self.dropped += other.dropped
        if self.by_level is not None and other.by_level is not None:
            self.by_level.update(other.by_level)  # `+=` would leave out the zeros

    def lower(self, level: LevelKey | None, count: int = 1) -> None:
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

    def __init__(self, first: int, last: int, gap: LifeGap) -> None:
        self.first, self.last, self.gap = first, last, gap


_FIRST = attrgetter("first")


class IntervalRoom:
    """How many runs of missing numbers a reader remembers, of all its lives together."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = 0


class LifeGaps:
    """The gaps of one life, or of one session's plain log messages: what is missing, which of it came late, and when to
    report it, which is at most once a pause.
    """  # noqa: D205

    __slots__ = ("_changed", "_intervals", "_pause", "_room", "_said_at", "_waiting", "forgotten", "recent")

    def __init__(self, pause: float, room: IntervalRoom) -> None:
        """Args: pause: seconds between two that are reported. room: of the reader."""
        self._pause = pause
        self._room = room
        self._said_at = -math.inf
        self._waiting: LifeGap | None = None
        self._changed: list[LifeGap] = []
        self._intervals: list[_Interval] = []
        self.forgotten = 0
        """Below this number it is no longer known what is missing."""
        self.recent: LifeGap | None = None

    def open(self, gap: LifeGap, now: float) -> LifeGap | None:
        """Takes in a gap above all others; returns it when it may be reported now, and in its place."""
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
        """Notes which numbers the gap opened last is about."""
        assert self.recent is not None
        self._intervals.append(_Interval(first, last, self.recent))
        self._room.used += 1
        self._forget_oldest()

    def forget(self) -> None:
        """Gives the room free, because the life is forgotten."""
        self._room.used -= len(self._intervals)
        self._intervals = []

    def _forget_oldest(self) -> None:
        """Keeps to the bounds; also where a late arrival has split a run in two."""
        while len(self._intervals) > (MAX_INTERVALS if self._room.used <= MAX_INTERVALS_IN_ALL else 1):
            self.forgotten = self._intervals.pop(0).last + 1
            self._room.used -= 1

    def is_missing(self, number: int) -> bool:
        """Whether a number is known to be missing."""
        position = bisect_right(self._intervals, number, key=_FIRST) - 1
        return position >= 0 and number <= self._intervals[position].last

    def fill(self, number: int, level: LevelKey) -> bool:
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
        self._room.used += len(rest) - 1
        self._forget_oldest()
        self.lower(interval.gap, level)
        return True

    def lower(self, gap: LifeGap, level: LevelKey | None, count: int = 1) -> None:
        """Lowers a gap, and sees that this is reported."""
        if not gap.changed and gap is not self._waiting:
            self._changed.append(gap)
        gap.lower(level, count)

    def due(self) -> float:
        """Returns when `take_due` has something, seconds; infinite when there is nothing."""
        return self._said_at + self._pause if self._waiting is not None or self._changed else math.inf

    def raise_by(self, gap: LifeGap, count: int) -> None:
        """More is missing at the place of a gap that was opened before; sees that this is reported."""
        if not gap.changed and gap is not self._waiting:
            self._changed.append(gap)
        gap.lost += count
        gap.changed = True

    def take_due(self, now: float, *, everything: bool = False) -> list[LifeGap]:
        """Returns what is to be reported now: those joined since the last time, and those that were lowered."""
        if not everything and self.due() > now:
            return []
        told, self._changed = self._changed, []
        for gap in told:
            gap.changed = False
        if self._waiting is not None:
            if self._waiting.lost:  # else all of it came before it was reported
                told.append(self._waiting)
            self._waiting.changed = False
            self._waiting = None
        self._said_at = now
        return told


Emit = Callable[["LogLife", "Held | LifeGap", bool], None]
"""What to do with a record or a gap; True for a record that is late."""

MAX_STRAGGLERS: Final = 64
"""Late records of one life whose parts are waited for; beyond it the oldest is reported as it is."""

PARTS_GRACE: Final = 0.25
"""Seconds in which the parts of one record come, at the least: also where nothing else is waited for."""


class LogLife:
    """One life. See the theory of operation above."""

    __slots__ = (
        "_arrivals",
        "_counts",
        "_emit",
        "_grace",
        "_heap",
        "_known",
        "_known_dropped",
        "_lost",
        "_origin",
        "_stragglers",
        "_tail_gap",
        "before_join",
        "by_level",
        "closed",
        "dropped",
        "gaps",
        "heard_at",
        "held",
        "holes",
        "id",
        "key",
        "last_t",
        "late",
        "lost",
        "next",
        "queued",
        "received",
        "sequence",
        "session",
        "size",
        "tail_lost",
        "top",
    )

    def __init__(
        self,
        key: tuple[int, bytes],
        body: Body,
        session: Session,
        *,
        from_start: bool,
        grace: float,
        pause: float,
        room: IntervalRoom,
        counts: Counter[str],
        lost: LevelTotals,
        emit: Emit,
    ) -> None:
        """Begins with whatever came first of it.

        Args:
            key: its sender's key number, and its identity.
            body: what came.
            session: that carried it.
            from_start: whether all of it could have come; else it is taken up here.
            grace: seconds until missing is lost.
            pause: seconds between two gaps that are reported.
            room: of the reader, for what it remembers of gaps.
            counts: what became of the input, over all lives.
            lost: records lost, by level, over all lives.
            emit: takes records and gaps.
        """
        self.key, self.id, self.session = key, key[1].hex(), session
        self._grace, self._counts, self._lost, self._emit = grace, counts, lost, emit
        self._known: dict[LevelKey, int] = {} if from_start else dict(body.prior)
        self._known_dropped = 0 if from_start else body.dropped
        self.next = self.before_join = self._origin = sum(self._known.values())
        self.last_t = body.began_us / 1e6 if from_start else body.time
        self.gaps = LifeGaps(pause, room)
        self.held: dict[Position, Held] = {}
        self._heap: list[Position] = []
        self._arrivals: deque[Held] = deque()
        self._stragglers: dict[int, Held] = {}
        self.size = 0
        self.top = self.next
        self.received = self.lost = self.late = self.holes = self.dropped = 0
        self.by_level: Counter[LevelKey] = Counter()
        self.closed = False
        self.sequence = -1
        """The highest datagram number of its session that brought something of it."""
        self.tail_lost = 0
        """Messages of its session that are missing after that one."""
        self._tail_gap: LifeGap | None = None
        self.heard_at = -math.inf
        self.queued = math.inf

    @property
    def pending(self) -> int:
        """Records missing, and still within the grace."""
        return self.top - self.next - sum(not held.body.mark for held in self.held.values())

    def receive(self, body: Body, message: Message, now: float) -> None:
        """Takes what came."""
        if message.session.key != self.session.key:
            self.sequence, self.tail_lost = -1, 0
        self.session, self.heard_at = message.session, now
        if message.arrival.sequence > self.sequence:
            self.sequence = message.arrival.sequence
            if self.tail_lost or self._tail_gap is not None:
                self._know_the_tail()
        self.closed = self.closed or body.final
        self.dropped = max(self.dropped, body.dropped)
        number = body.number
        self.top = max(self.top, number + (not body.mark))
        if body.mark:
            self._counts["marks"] += 1
            if number > self.next and (number, 0) not in self.held:
                self._hold(Held(body, message, number, now))
                self._drain(now)
            return
        if number < self.next:
            self._late(body, message, number, now)
            return
        known = self.held.get((number, 1))
        if known is None:
            held = Held(body, message, number, now)
            if number == self.next and held.complete and not self.held:
                self._report(held, now)  # the usual case
                return
            self._hold(held)
        else:
            self.size -= known.size
            self._counts["repeated"] += not known.add_part(body)
            self.size += known.size
        self._drain(now)

    def take_next(self, payload: dict[Any, Any], arrival: Arrival, now: float) -> Body | None:
        """Takes the usual record: a whole one, the next of its life, while nothing is missing or held back.

        It does what `receive` does with such a record, except that the caller reports it.

        Returns:
            What the payload carries. None for anything else, which is left to `receive`: nothing has changed.
        """
        known = self._known
        if self.held or self.tail_lost or self._tail_gap is not None or self.next >= MAX_NUMBER:
            return None
        body = read_next(payload, known)
        if body is None:
            return None
        level = STANDARD.get(body.level, body.level)
        count = known.get(level)
        if count is None:  # its first record
            return None
        known[level] = count + 1
        self.next += 1
        self.received += 1
        self.heard_at = now
        self.top = max(self.top, self.next)
        self.last_t = max(self.last_t, body.time)
        self.dropped = max(self.dropped, body.dropped)
        self.sequence = max(self.sequence, arrival.sequence)
        return body

    def due(self) -> float:
        """Returns when `settle` has something to do, seconds."""
        while self._arrivals and self.held.get(self._arrivals[0].position) is not self._arrivals[0]:
            self._arrivals.popleft()
        first = self._until(self._arrivals[0]) if self._arrivals else math.inf
        straggler = next(iter(self._stragglers.values()), None)
        return min(first, math.inf if straggler is None else self._until(straggler), self.gaps.due())

    def miss_at_the_tail(self, count: int, last_sequence: int) -> None:
        """Messages of its session were lost.

        Args:
            count: messages; less than 0 when they came after all.
            last_sequence: the greatest datagram number among them.
        """
        if last_sequence > self.sequence and not self.closed:
            self.tail_lost = max(0, self.tail_lost + count)

    def session_ended(self) -> None:
        """Reports what is missing after the last of it that was heard, because nothing more will tell."""
        if not self.tail_lost or self.closed:
            return
        gap = self._tail_gap
        if gap is None:
            gap = LifeGap(self.top, self.top, 0, None, reason=LogGapReason.UNATTRIBUTED, from_t=self.last_t)
            self._tail_gap = gap
        if gap.lost != self.tail_lost:
            self._counts["unattributed"] += self.tail_lost - gap.lost
            gap.lost = self.tail_lost
            self._emit(self, gap, False)

    def _know_the_tail(self) -> None:
        """Something came after what was missing at the tail: its account takes the place of the guess."""
        self.tail_lost = 0
        gap, self._tail_gap = self._tail_gap, None
        if gap is not None and gap.lost:
            self._counts["unattributed"] -= gap.lost
            gap.late, gap.lost = gap.lost, 0
            self._emit(self, gap, False)

    def settle(self, now: float) -> None:
        """Calls lost what is missing for longer than the grace, and reports gaps whose time has come."""
        while self._stragglers:
            straggler = next(iter(self._stragglers.values()))
            if self._until(straggler) > now:
                break
            self._report_late(straggler)
        for gap in self.gaps.take_due(now):
            self._emit(self, gap, False)
        while self._arrivals and self._until(self._arrivals[0]) <= now:
            held = self._arrivals.popleft()
            if self.held.get(held.position) is held:
                self._advance(held.position, now)

    def end(self, now: float) -> None:
        """Reports everything that is held back, because nothing more will come."""
        if self._heap:
            self._advance(max(self._heap), now)
        self._arrivals.clear()
        for straggler in tuple(self._stragglers.values()):
            self._report_late(straggler)
        for gap in self.gaps.take_due(now, everything=True):
            self._emit(self, gap, False)

    def _until(self, held: Held) -> float:
        """Returns when the patience with what is missing before it, or of it, is over."""
        return held.at + (self._grace if held.complete else max(self._grace, PARTS_GRACE))

    def _hold(self, held: Held) -> None:
        self.held[held.position] = held
        if (
            len(self._arrivals) > 2 * len(self.held) + MAX_STRAGGLERS
        ):  # what had its turn is not to be kept behind one that waits
            self._arrivals = deque(one for one in self._arrivals if self.held.get(one.position) is one)
        heappush(self._heap, held.position)
        self._arrivals.append(held)
        self.size += held.size

    def _pop(self) -> Held:
        held = self.held.pop(heappop(self._heap))
        self.size -= held.size
        return held

    def _drain(self, now: float) -> None:
        """Reports what has its turn without anything missing."""
        while self._heap:
            number, _ = self._heap[0]
            held = self.held[self._heap[0]]
            if number > self.next or not held.complete:
                return
            self._pop()
            self._report(held, now)

    def _advance(self, upto: Position, now: float) -> None:
        """Reports everything up to a position, whatever is missing before it."""
        while self._heap and self._heap[0] <= upto:
            held = self._pop()
            self._report(held, now)
        self._drain(now)

    def _report(self, held: Held, now: float) -> None:
        """Reports a record, or takes a mark, and reports the gap before it."""
        body, number = held.body, held.number
        if number < self.next:
            return
        if body.prior != self._known:
            missing = Counter(body.prior)
            missing.subtract(self._known)
            if any(count < 0 for count in missing.values()):
                self._counts["conflict"] += 1
                return
            if number > self.next:
                self._miss(missing, held, now)
        self._known = dict(body.prior)
        self.next = number
        self.last_t = max(self.last_t, body.time)
        if not body.mark:
            self._known[held.level] = self._known.get(held.level, 0) + 1
            self.next = number + 1
            self.received += 1
            self._emit(self, held, False)

    def _miss(self, missing: Counter[LevelKey], held: Held, now: float) -> None:
        first, last = self.next, held.number - 1
        lost = last - first + 1
        dropped = min(lost, max(0, held.body.dropped - self._known_dropped))
        self._known_dropped += dropped
        self.lost += lost
        self.by_level.update(missing)
        for level, count in missing.items():
            self._lost.count(level, count)
        self._counts["lost"] += lost
        gap = LifeGap(first, last, lost, missing, dropped=dropped, from_t=self.last_t, to_t=held.body.time)
        told = self.gaps.open(gap, now)
        self.gaps.remember(first, last)
        if told is not None:
            self._emit(self, told, False)

    def _late(self, body: Body, message: Message, number: int, now: float) -> None:
        straggler = self._stragglers.get(number)
        if straggler is None:
            if body.parts == 1:
                self._report_late(Held(body, message, number, now))
                return
            if not self.gaps.is_missing(number) and number >= max(self._origin, self.gaps.forgotten):
                self._counts["late_parts"] += 1  # its record was reported with a hole
                return
            straggler = self._stragglers[number] = Held(body, message, number, now)
            self.size += straggler.size
            if len(self._stragglers) > MAX_STRAGGLERS:
                self._report_late(next(iter(self._stragglers.values())))
        else:
            self.size -= straggler.size
            self._counts["repeated"] += not straggler.add_part(body)
            self.size += straggler.size
        if straggler.complete:
            self._report_late(straggler)

    def _report_late(self, held: Held) -> None:
        """Reports a record that had been called lost."""
        if self._stragglers.pop(held.number, None) is not None:
            self.size -= held.size
        if self.gaps.fill(held.number, held.level):
            self.lost -= 1
            self.by_level[held.level] -= 1
            self._lost.count(held.level, -1)
            self._counts["lost"] -= 1
        elif self.gaps.is_missing(held.number):  # of a level of which none is missing
            self._counts["conflict"] += 1
            return
        elif held.number < self._origin:  # sent before what came first
            self.before_join -= 1
        elif held.number < self.gaps.forgotten:
            self._counts["late_unplaced"] += 1
        else:
            self._counts["repeated"] += 1
            return
        self.late += 1
        self.received += 1
        self._emit(self, held, True)
