"""`Life`: the records of one life of one handler, put in order, each once, with the gaps between them.

A record behind a gap is held back until the gap is filled or a grace has passed; then the gap is told of in its place.
A record whose parts have not all come is held back likewise. Pure; time is an argument.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from atmost.core.events import Message, Session
from atmost.logs.gaps import Gap, Gaps
from atmost.logs.held import Held, Position
from atmost.logs.levels import Key, LevelTotals
from atmost.logs.wire import Body

Emit = Callable[["Life", "Held | Gap", bool], None]
"""What to do with a record or a gap; True for a record that is late."""

MAX_STRAGGLERS: Final = 64
"""Late records of one life whose parts are waited for; beyond it the oldest is told of as it is."""

PARTS_GRACE: Final = 0.25
"""Seconds in which the parts of one record come, at the least: also where nothing else is waited for."""


class Life:
    """One life."""

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
        "session",
        "size",
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
            pause: seconds between two gaps that are told of.
            counts: what became of the input, over all lives.
            lost: records lost, by level, over all lives.
            emit: takes records and gaps.
        """
        self.key, self.id, self.session = key, key[1].hex(), session
        self._grace, self._counts, self._lost, self._emit = grace, counts, lost, emit
        self._known: dict[Key, int] = {} if from_start else dict(body.prior)
        self._known_dropped = 0 if from_start else body.dropped
        self.next = self.before_join = self._origin = sum(self._known.values())
        self.last_t = body.began_us / 1e6 if from_start else body.time
        self.gaps = Gaps(pause)
        self.held: dict[Position, Held] = {}
        self._heap: list[Position] = []
        self._arrivals: deque[Held] = deque()
        self._stragglers: dict[int, Held] = {}
        self.size = 0
        self.top = self.next
        self.received = self.lost = self.late = self.holes = self.dropped = 0
        self.by_level: Counter[Key] = Counter()
        self.closed = False
        self.heard_at = -math.inf
        self.queued = math.inf

    @property
    def pending(self) -> int:
        """Records missing, and still within the grace."""
        return self.top - self.next - sum(not held.body.mark for held in self.held.values())

    def take(self, body: Body, message: Message, now: float) -> None:
        """Takes what came."""
        self.session, self.heard_at = message.session, now
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
                self._tell(held, now)  # the usual case
                return
            self._hold(held)
        else:
            self.size -= known.size
            self._counts["repeated"] += not known.add(body)
            self.size += known.size
        self._drain(now)

    def due(self) -> float:
        """When `settle` has something to do, seconds."""
        while self._arrivals and self.held.get(self._arrivals[0].position) is not self._arrivals[0]:
            self._arrivals.popleft()
        first = self._until(self._arrivals[0]) if self._arrivals else math.inf
        straggler = next(iter(self._stragglers.values()), None)
        return min(first, math.inf if straggler is None else self._until(straggler), self.gaps.due())

    def settle(self, now: float) -> None:
        """Calls lost what is missing for longer than the grace, and tells of gaps whose time has come."""
        while self._stragglers:
            straggler = next(iter(self._stragglers.values()))
            if self._until(straggler) > now:
                break
            self._tell_late(straggler)
        for gap in self.gaps.take(now):
            self._emit(self, gap, False)
        while self._arrivals and self._until(self._arrivals[0]) <= now:
            held = self._arrivals.popleft()
            if self.held.get(held.position) is held:
                self._advance(held.position, now)

    def end(self, now: float) -> None:
        """Tells everything that is held back, for nothing more will come."""
        if self._heap:
            self._advance(max(self._heap), now)
        for straggler in tuple(self._stragglers.values()):
            self._tell_late(straggler)
        for gap in self.gaps.take(now, everything=True):
            self._emit(self, gap, False)

    def _until(self, held: Held) -> float:
        """When the patience with what is missing before it, or of it, is over."""
        return held.at + (self._grace if held.complete else max(self._grace, PARTS_GRACE))

    def _hold(self, held: Held) -> None:
        self.held[held.position] = held
        heappush(self._heap, held.position)
        self._arrivals.append(held)
        self.size += held.size

    def _pop(self) -> Held:
        held = self.held.pop(heappop(self._heap))
        self.size -= held.size
        return held

    def _drain(self, now: float) -> None:
        """Tells what has its turn without anything missing."""
        while self._heap:
            number, _ = self._heap[0]
            held = self.held[self._heap[0]]
            if number > self.next or not held.complete:
                return
            self._pop()
            self._tell(held, now)

    def _advance(self, upto: Position, now: float) -> None:
        """Tells everything up to a position, whatever is missing before it."""
        while self._heap and self._heap[0] <= upto:
            held = self._pop()
            self._tell(held, now)
        self._drain(now)

    def _tell(self, held: Held, now: float) -> None:
        """Tells of a record, or a mark, and of the gap before it."""
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

    def _miss(self, missing: Counter[Key], held: Held, now: float) -> None:
        first, last = self.next, held.number - 1
        lost = last - first + 1
        dropped = min(lost, max(0, held.body.dropped - self._known_dropped))
        self._known_dropped += dropped
        self.lost += lost
        self.by_level.update(missing)
        for level, count in missing.items():
            self._lost.add(level, count)
        self._counts["lost"] += lost
        gap = Gap(first, last, lost, missing, dropped=dropped, from_t=self.last_t, to_t=held.body.time)
        told = self.gaps.add(gap, now)
        self.gaps.remember(first, last)
        if told is not None:
            self._emit(self, told, False)

    def _late(self, body: Body, message: Message, number: int, now: float) -> None:
        straggler = self._stragglers.get(number)
        if straggler is None:
            if body.parts == 1:
                self._tell_late(Held(body, message, number, now))
                return
            if not self.gaps.is_missing(number) and number >= max(self._origin, self.gaps.forgotten):
                self._counts["late_parts"] += 1  # its record was told of with a hole
                return
            straggler = self._stragglers[number] = Held(body, message, number, now)
            self.size += straggler.size
            if len(self._stragglers) > MAX_STRAGGLERS:
                self._tell_late(next(iter(self._stragglers.values())))
        else:
            self.size -= straggler.size
            self._counts["repeated"] += not straggler.add(body)
            self.size += straggler.size
        if straggler.complete:
            self._tell_late(straggler)

    def _tell_late(self, held: Held) -> None:
        """Tells of a record that had been called lost."""
        if self._stragglers.pop(held.number, None) is not None:
            self.size -= held.size
        if self.gaps.fill(held.number, held.level):
            self.lost -= 1
            self.by_level[held.level] -= 1
            self._lost.add(held.level, -1)
            self._counts["lost"] -= 1
        elif self.gaps.is_missing(held.number):  # of a level of which none is
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
