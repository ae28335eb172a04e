"""`LogReader`: turns what receivers yield into records in order, each once, with every gap in its place.

Pure state: events and `now` in, records and gaps out; no clock, socket or thread. `now` is seconds on any clock that
does not step back, the same one everywhere. Memory is bounded by lives, by what is held back, and by the runs of missing
numbers remembered for each life; each limit is counted when it is hit. Not thread-safe: one thread at a time.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, Final

from atmost.core.events import (
    Event,
    LateArrival,
    Loss,
    Message,
    QueueOverflow,
    Session,
    SessionClosed,
    SessionEvicted,
    SessionOpened,
)
from atmost.core.names import check_subject
from atmost.errors import OptionError
from atmost.logs.life import Held, IntervalRoom, LifeGap, LifeGaps, LogLife
from atmost.logs.records import LogGap, LogGapReason, LogRecord, LogSource
from atmost.logs.wire import MAX_LEVEL, Body, LevelTotals, is_ours, level_name, read_body, time_or

_PLACES: Final = 256
"""Arrivals remembered, to know between which of them a gap lies."""
_ROUNDING: Final = 1e-5
"""Seconds by which two differences of the same times may differ."""
_FIRST_SESSION_US: Final = 1_000_000
"""A session begins when its first datagram leaves: so much later than what is in it was logged, at most, µs."""
_OWN: Final = {"message", "level", "exception", "logger", "time", "truncated", "original_bytes"}


class PlainSession:
    """A session that sends log messages without counts, and what is known of losses between them.

    The lines of the agent are such messages, and so is any text that is sent on the subject.
    """

    __slots__ = ("_overflow", "_overflow_at", "_places", "gaps", "heard_at", "queued", "session")

    def __init__(self, session: Session, pause: float, room: IntervalRoom) -> None:
        """Args: session: whose. pause: seconds between two gaps that are reported. room: of the reader."""
        self.session = session
        self.gaps = LifeGaps(pause, room)
        self._overflow: LifeGap | None = None
        self._overflow_at = -1
        self._places: deque[tuple[int, float]] = deque(maxlen=_PLACES)
        self.heard_at = -math.inf
        self.queued = math.inf

    def heard(self, message: Message, now: float) -> None:
        """Notes that a message came."""
        self._places.append((message.arrival.sequence, message.sent_at))
        self.heard_at = now

    def lost(self, loss: Loss, now: float) -> LifeGap | None:
        """Takes in a loss; returns the gap when it may be reported now."""
        before = [t for sequence, t in self._places if sequence < loss.first_sequence]
        after = [t for sequence, t in self._places if sequence > loss.last_sequence]
        gap = LifeGap(
            loss.first_sequence,
            loss.last_sequence,
            loss.count,
            None,
            reason=LogGapReason.UNATTRIBUTED,
            from_t=max(before, default=None),
            to_t=min(after, default=None),
        )
        return self.gaps.open(gap, now)

    def overflowed(self, count: int, now: float) -> LifeGap | None:
        """Messages came and found the receiver's queue full."""
        last, t = self._places[-1] if self._places else (0, None)
        if self._overflow is not None and self._overflow_at == last:  # nothing came in between: the same gap
            self.gaps.raise_by(self._overflow, count)
            return None
        gap = LifeGap(last, last, count, None, reason=LogGapReason.OVERFLOW, from_t=t)
        told = self.gaps.open(gap, now)
        if self.gaps.recent is gap:  # else it was joined with another one
            self._overflow, self._overflow_at = gap, last
        return told

    def came_late(self, count: int) -> int:
        """Lowers the latest gap; returns by how many messages."""
        recent = self.gaps.recent
        lowered = 0 if recent is None else min(count, recent.lost)
        if recent is not None and lowered:
            self.gaps.lower(recent, None, lowered)
        return lowered


def plain_record(message: Message, prefix: str) -> LogRecord:
    """Returns the record of a message that has no counts, whatever its payload is."""
    payload, session = message.payload, message.session
    facts: dict[Any, Any] = payload if isinstance(payload, dict) else {"message": payload}
    text, level = facts.get("message", ""), facts.get("level")
    t, note = time_or(message.sent_at, facts.get("time"))
    original = facts.get("original_bytes")
    known = isinstance(level, str) and 0 < len(level) <= MAX_LEVEL
    return LogRecord(
        t=t,
        sender=session.name or session.id,
        host=session.host,
        session=session,
        subject=message.subject,
        logger=_text(facts.get("logger")) or message.subject[len(prefix) :],
        level=level if known else None,
        message=_text(text),
        exception=_text(facts.get("exception")),
        fields={str(name): value for name, value in facts.items() if name not in _OWN},
        error=note,
        truncated=facts.get("truncated") is True,
        original_bytes=original if isinstance(original, int) and original > 0 else 0,
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else repr(value)


def record_of(life: LogLife, held: Held, prefix: str, *, late: bool) -> LogRecord:
    """Returns a record of a handler; the prefix is that of its subject, with the dot."""
    body, message = held.body, held.message
    text, exception, fields, hole = held.join()
    return LogRecord(
        t=body.time,
        sender=who(message.session),
        host=message.session.host,
        session=message.session,
        subject=message.subject,
        logger=body.logger or message.subject[len(prefix) :],
        level=body.level,
        message=text,
        exception=exception,
        fields=fields,
        thread=body.thread,
        process=body.process,
        error=body.error,
        late=late,
        truncated=body.truncated,
        original_bytes=body.original_bytes,
        hole=hole,
        parts=body.parts,
        life=life.id,
        number=held.number,
    )


def gap_of(one: LogLife | PlainSession, gap: LifeGap) -> LogGap:
    """Returns a gap as it is now."""
    return LogGap(
        sender=who(one.session),
        host=one.session.host,
        session=one.session,
        life=one.id if isinstance(one, LogLife) else one.session.id,
        first=gap.first,
        last=gap.last,
        lost=gap.lost,
        reason=gap.why(),
        by_level=None if gap.by_level is None else {level_name(key): count for key, count in gap.by_level.items()},
        dropped=gap.dropped,
        late=gap.late,
        from_t=gap.from_t,
        to_t=gap.to_t,
    )


def source_of(life: LogLife) -> LogSource:
    """Returns what is known of a life."""
    return LogSource(
        sender=who(life.session),
        host=life.session.host,
        pid=life.session.pid,
        life=life.id,
        numbered=life.top,
        received=life.received,
        lost=life.lost,
        by_level={level_name(key): count for key, count in life.by_level.items() if count},
        late=life.late,
        pending=life.pending,
        before_join=life.before_join,
        holes=life.holes,
        dropped=life.dropped,
        tail_lost=life.tail_lost,
        closed=life.closed,
        last_t=life.last_t,
    )


def who(session: Session) -> str:
    """Returns a sender's name, or its identity while no beacon has brought the name."""
    return session.name or session.id


Read = LogRecord | LogGap


@dataclass(frozen=True, slots=True)
class LogReaderStats:
    """What became of a reader's input."""

    records: int
    """Records of handlers that were reported."""
    plain: int
    """Log messages without counts."""
    marks: int
    lost: int
    """Records; those that came after all are taken off again."""
    lost_by_level: Mapping[str, int]
    """`lost` divided."""
    late: int
    """Records that came after they had been reported missing."""
    holes: int
    """Records with parts missing."""
    truncated: int
    unattributed: int
    """Messages lost of which nobody knows whether they were log messages."""
    before_join: int
    """Records logged before this reader could have had them."""
    malformed: int
    """Messages that claim to come from a handler, and do not make sense."""
    repeated: int
    """Records, or parts, that had come already."""
    conflict: int
    """Records whose counts contradict those before."""
    late_parts: int
    """Parts of records that had been reported with a hole."""
    late_unplaced: int
    """Late records of which it was no longer known whether they had been reported missing."""
    held_limit: int
    """Times that too much was held back, and was reported with what is missing in it."""
    lives_forgotten: int
    """Lives and sessions that were forgotten to make room."""


class LogReader:
    """Reads the logs of many senders, through their restarts.

    Example:
        >>> reader = LogReader(now=time.monotonic())
        >>> while True:
        ...     event = receiver.next_event(reader.wait(time.monotonic()))
        ...     now = time.monotonic()
        ...     for found in reader.tick(now) if event is None else reader.feed(event, now):
        ...         print(found)
    """

    def __init__(
        self,
        *,
        subject: str = "logs",
        grace: float = 1.0,
        gap_interval: float = 1.0,
        max_lives: int = 1024,
        max_held: int = 16 << 20,
        now: float | None = None,
    ) -> None:
        """Starts empty.

        Args:
            subject: as the senders' handlers have it.
            grace: seconds until a missing record is lost; what stands behind it is held back for as long.
                Larger calls fewer reordered records lost, and shows what follows a loss later. With 0 only
                the parts of one record are waited for, a quarter of a second.
            gap_interval: seconds between two gaps of one life that are reported; those in between are joined.
            max_lives: lives of handlers, and sessions with plain log messages, that are remembered; beyond it the longest
                silent one is forgotten.
            max_held: bytes held back, about; beyond it what is missing in front of them is lost at once.
            now: since when events come, seconds; None takes the first. What was logged before is neither received nor lost,
                except by senders whose session began while events came.

        Raises:
            OptionError: an option is outside its range.
            SubjectError: the subject cannot be used.
        """
        for name, value in (("grace", grace), ("gap_interval", gap_interval)):
            if not isinstance(value, int | float) or not 0 <= value <= 86_400:
                raise OptionError(name, value, "seconds from 0 to 86400")
        for name, value, least in (("max_lives", max_lives, 1), ("max_held", max_held, 1 << 16)):
            if not isinstance(value, int) or value < least:
                raise OptionError(name, value, f"at least {least}")
        self._prefix = check_subject(subject) + "."
        self._grace, self._pause = float(grace), float(gap_interval)
        self._max_lives, self._max_held = max_lives, max_held
        self._lives: dict[tuple[int, bytes], LogLife] = {}
        self._plain: dict[bytes, PlainSession] = {}
        self._carried: dict[bytes, list[LogLife]] = {}
        """The lives that each session carries."""
        self._whole: dict[bytes, None] = {}
        """Sessions whose every message is in the account, because this reader was there when they began."""
        self._ended: dict[bytes, None] = {}
        """Sessions that said goodbye."""
        self._heap: list[tuple[float, int, LogLife | PlainSession]] = []
        self._pushes = 0
        self._counts: Counter[str] = Counter()
        self._lost = LevelTotals()
        self._room = IntervalRoom()
        self._size = 0
        self._began = now
        self._latest: LogLife | None = None
        """The life of the latest usual record: mostly that of the next one."""
        self._out: list[Read] = []

    def stats(self) -> LogReaderStats:
        """Returns what became of the input, over all lives."""
        lost = {level_name(level): count for level, count in self._lost.counts.items() if count}
        names = [name for name in LogReaderStats.__dataclass_fields__ if name != "lost_by_level"]
        return LogReaderStats(**{name: self._counts[name] for name in names}, lost_by_level=lost)

    @property
    def malformed(self) -> int:
        """Messages that claim to come from a handler, and do not make sense; as in `stats`, and at no cost."""
        return self._counts["malformed"]

    def feed(self, event: Event, now: float) -> list[Read]:
        """Takes one event of a receiver, of any subject and kind; never raises for what a sender did.

        Args:
            event: a message or another event.
            now: seconds.

        Returns:
            What is to be shown now, in order.
        """
        if self._began is None:
            self._began = now
        if self._heap and self._heap[0][0] <= now:
            self._settle(now)
        if isinstance(event, Message):
            if event.subject.startswith(self._prefix):
                self._message(event, now)
        elif isinstance(event, Loss | LateArrival | QueueOverflow):
            plain = self._plain.get(event.session.key)
            if plain is not None:
                self._trouble(plain, event, now)
            elif not isinstance(event, QueueOverflow):
                self._miss_at_the_tail(event)
        elif isinstance(event, SessionOpened):
            if not event.before_join:
                self._note(self._whole, event.session)
        elif isinstance(event, SessionClosed | SessionEvicted):
            self._whole.pop(event.session.key, None)
            self._note(self._ended, event.session)
            for life in self._carried.get(event.session.key, ()):
                life.session_ended()
        if self._heap and self._heap[0][0] <= now:  # without a grace, what it reveals is due at once
            self._settle(now)
        return self._take()

    def take_next(self, message: Message, now: float) -> Body | None:
        """Takes the usual record, at a fraction of what `feed` costs: a whole one, the next of its life, while nothing is missing.

        Args:
            message: with a subject of this reader's.
            now: seconds.

        Returns:
            What it carries, for the caller to show: it has been counted as a record. None for anything else: nothing has changed,
            and the message is to be given to `feed`.
        """
        payload, arrival = message.payload, message.arrival
        if payload.__class__ is not dict or (self._heap and self._heap[0][0] <= now):
            return None
        handler, session, life = payload.get("handler"), arrival.session, self._latest
        if life is None or life.session is not session or life.key[1] != handler:
            life = self._lives.get((session.key_id, handler)) if handler.__class__ is bytes else None
            if life is None or life.session is not session:
                return None
            self._latest = life
        body = life.take_next(payload, arrival, now)
        if body is not None:
            self._counts["records"] += 1
            if body.truncated:
                self._counts["truncated"] += 1
        return body

    def logger_of(self, subject: str) -> str:
        """Returns the logger that a subject of this reader's names."""
        return subject[len(self._prefix) :]

    def tick(self, now: float) -> list[Read]:
        """What is to be shown because time has passed; to be called at `next_deadline`, and may be called at any time."""
        self._settle(now)
        return self._take()

    def next_deadline(self) -> float | None:
        """When `tick` should be called next, on the clock of `now`; None when nothing waits."""
        return self._heap[0][0] if self._heap else None

    def wait(self, now: float) -> float | None:
        """Seconds until `next_deadline`, at least 0: how long to wait for the next event; None without end."""
        deadline = self.next_deadline()
        return None if deadline is None else max(0.0, deadline - now)

    def close(self, now: float) -> list[Read]:
        """Returns everything that is held back, because nothing more will come; what is missing is lost."""
        for life in self._lives.values():
            life.end(now)
            life.session_ended()
        self._size = 0
        for plain in self._plain.values():
            self._out += [gap_of(plain, gap) for gap in plain.gaps.take_due(now, everything=True)]
        self._heap.clear()
        return self._take()

    def sources(self) -> list[LogSource]:
        """Returns every handler's life that is remembered, and exactly what of it is missing."""
        return [source_of(life) for life in self._lives.values()]

    def _message(self, message: Message, now: float) -> None:
        session = message.session
        if not is_ours(message.payload):
            plain = self._plain.get(session.key)
            if plain is None:
                self._make_room(now)
                plain = self._plain[session.key] = PlainSession(session, self._pause, self._room)
            plain.heard(message, now)
            self._counts["plain"] += 1
            self._out.append(plain_record(message, self._prefix))
            return
        body = read_body(message.payload, message.sent_at)
        if body is None:
            self._counts["malformed"] += 1
            return
        key = session.key_id, body.handler
        life = self._lives.get(key) or self._begin(key, body, message, now)
        before = life.size
        carried_before = life.session.key
        life.receive(body, message, now)
        if carried_before != session.key:
            self._carry(carried_before, session.key, life)
        self._size += life.size - before
        self._schedule(life)
        while self._size > self._max_held:
            self._let_go(now)

    def _begin(self, key: tuple[int, bytes], body: Body, message: Message, now: float) -> LogLife:
        assert self._began is not None
        watched = now - self._began
        self._make_room(now)
        # Both by the sender's clock: how old its handler was when it sent this. One that is older than this reader may
        # have logged anything before, and so may one that may have been forgotten.
        age = (message.arrival.sent_us - body.began_us) / 1e6
        # One whose first session began before our eyes cannot: that session began with its first record, or before it.
        session = message.session
        whole = session.key in self._whole and body.began_us >= session.start_us - _FIRST_SESSION_US
        life = self._lives[key] = LogLife(
            key,
            body,
            message.session,
            from_start=whole or age <= watched + _ROUNDING,
            grace=self._grace,
            pause=self._pause,
            room=self._room,
            counts=self._counts,
            lost=self._lost,
            emit=self._emit,
        )
        self._counts["before_join"] += life.before_join
        self._carried.setdefault(session.key, []).append(life)
        return life

    def _carry(self, before: bytes, after: bytes, life: LogLife) -> None:
        """Another session carries a life from now on, or none."""
        carried = self._carried.get(before, [])
        if life in carried:
            carried.remove(life)
        if not carried:
            self._carried.pop(before, None)
        if after:
            self._carried.setdefault(after, []).append(life)

    def _note(self, sessions: dict[bytes, None], session: Session) -> None:
        sessions[session.key] = None
        if len(sessions) > 4 * self._max_lives:
            del sessions[next(iter(sessions))]

    def _miss_at_the_tail(self, event: Loss | LateArrival) -> None:
        """Messages of a session are missing: perhaps the end of a life that it carries, the one that was heard last."""
        carried = self._carried.get(event.session.key)
        if not carried:
            return
        life = max(carried, key=lambda one: one.sequence)
        if isinstance(event, Loss):
            life.miss_at_the_tail(event.count, event.last_sequence)
        else:
            life.miss_at_the_tail(-event.count, life.sequence + 1)
        if event.session.key in self._ended:
            life.session_ended()

    def _make_room(self, now: float) -> None:
        """Forgets the one that has been silent for longest when there are too many."""
        if len(self._lives) + len(self._plain) < self._max_lives:
            return
        everyone: list[LogLife | PlainSession] = [*self._lives.values(), *self._plain.values()]
        victim = min(
            everyone,
            key=lambda one: (not (isinstance(one, LogLife) and one.closed), one.heard_at),
        )
        self._counts["lives_forgotten"] += 1
        if isinstance(victim, LogLife):
            self._size -= victim.size
            victim.end(now)
            victim.session_ended()
            victim.gaps.forget()
            del self._lives[victim.key]
            self._latest = None
            self._carry(victim.session.key, b"", victim)
            self._began = now
            self._whole.clear()
        else:
            self._out += [gap_of(victim, gap) for gap in victim.gaps.take_due(now, everything=True)]
            victim.gaps.forget()
            del self._plain[victim.session.key]
        self._heap = [entry for entry in self._heap if entry[2] is not victim]
        heapify(self._heap)

    def _let_go(self, now: float) -> None:
        """Too much is held back: the life that holds most reports all of it, with its gaps."""
        life = max(self._lives.values(), key=lambda one: one.size)
        life.end(now)
        self._counts["held_limit"] += 1
        self._size = sum(one.size for one in self._lives.values())

    def _settle(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            at, _, one = heappop(self._heap)
            if at != one.queued:  # it stands in the heap once more, earlier
                continue
            one.queued = math.inf
            if isinstance(one, LogLife):
                before = one.size
                one.settle(now)
                self._size += one.size - before
            else:
                self._out += [gap_of(one, gap) for gap in one.gaps.take_due(now)]
            self._schedule(one)

    def _schedule(self, one: LogLife | PlainSession) -> None:
        due = one.due() if isinstance(one, LogLife) else one.gaps.due()
        if due < one.queued:
            one.queued = due
            self._pushes += 1
            heappush(self._heap, (due, self._pushes, one))

    def _trouble(self, plain: PlainSession, event: Loss | LateArrival | QueueOverflow, now: float) -> None:
        if isinstance(event, LateArrival):
            self._counts["unattributed"] -= plain.came_late(event.count)
        else:
            self._counts["unattributed"] += event.count
            told = plain.lost(event, now) if isinstance(event, Loss) else plain.overflowed(event.count, now)
            if told is not None:
                self._out.append(gap_of(plain, told))
        self._schedule(plain)

    def _emit(self, life: LogLife, found: Held | LifeGap, late: bool) -> None:  # noqa: FBT001  called by the life only
        if isinstance(found, LifeGap):
            self._out.append(gap_of(life, found))
            return
        record = record_of(life, found, self._prefix, late=late)
        life.holes += bool(record.hole)
        self._counts["records"] += 1
        self._counts["late"] += late
        self._counts["holes"] += bool(record.hole)
        self._counts["truncated"] += record.truncated
        self._out.append(record)

    def _take(self) -> list[Read]:
        out = self._out
        if out:
            self._out = []
        return out
