"""`HeartbeatMonitor`: who is up, late, suspect or down, and why; it doubts itself before it calls anybody dead.

Pure state: a receiver's events and `now` in, changes out; no clock, socket or thread. `now` is seconds on any clock that
does not step back, the same one everywhere. Memory is bounded by `max_senders`; what a limit refuses is counted.
Not thread-safe: one thread at a time.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from atmost.core.accounts import Ledger
from atmost.core.events import Event, Message, QueueOverflow, Session, SessionClosed, SessionEvicted
from atmost.core.names import check_subject
from atmost.endpoint.checking import check_receiver
from atmost.errors import OptionError
from atmost.heartbeats.beat import SUBJECT, check_rhythm, read_beat, subject_of
from atmost.heartbeats.patience import CAP, LEAST, TARGET
from atmost.heartbeats.verdicts import Change, HeartbeatState, HeartbeatStatus, Verdict, VerdictKind
from atmost.heartbeats.watched import Found, Watched

if TYPE_CHECKING:
    from atmost.endpoint.receiver import Receiver
    from atmost.endpoint.receiver_async import AsyncReceiver


_TOGETHER: Final = 2.0
"""Intervals within which senders fell silent together."""
_SILENT: Final = {HeartbeatState.LATE, HeartbeatState.SUSPECT, HeartbeatState.UNKNOWN}


class Observer:
    """The monitor's doubts in itself: drops of its own socket, and the silence of many at once.

    After Lifeguard (Dadgar, Phillips and Currey, *Lifeguard: local health awareness for more accurate failure detection*,
    2018). That the observer is late itself, each heartbeat finds by its own deadline (`Watched`).
    """

    __slots__ = ("_dropped_at", "_kernel_drops", "_overflow", "_signs", "_up")

    def __init__(self) -> None:
        self._dropped_at = -math.inf
        self._kernel_drops: int | None = None
        self._overflow: int | None = None
        self._signs: list[float] | None = None
        self._up = 0

    def dropped(self, now: float) -> None:
        """Datagrams that came were not seen."""
        self._dropped_at = now

    def observe(self, ledger: Ledger, now: float) -> None:
        """Looks for drops since the last time."""
        for before, drops in ((self._kernel_drops, ledger.kernel_drops), (self._overflow, ledger.overflow)):
            if before is not None and drops is not None and drops > before:
                self.dropped(now)
        self._kernel_drops, self._overflow = ledger.kernel_drops, ledger.overflow

    def begin(self) -> None:
        """A new moment: who is silent is counted again when somebody asks."""
        self._signs = None

    def doubt(self, watched: Watched, everybody: Iterable[Watched]) -> Verdict | None:
        """The reason to hold a grave verdict for one interval, each only once in a silence."""
        if self._dropped_at > watched.sign and VerdictKind.OBSERVER_DROPPED not in watched.doubted:
            return Verdict(VerdictKind.OBSERVER_DROPPED)
        if VerdictKind.TOGETHER in watched.doubted:
            return None
        if self._signs is None:
            known = [one for one in everybody if one.session is not None]
            self._signs = sorted(one.sign for one in known if one.state in _SILENT)
            self._up = sum(one.state is HeartbeatState.UP for one in known)
        near = _TOGETHER * watched.beat.interval
        together = bisect_right(self._signs, watched.sign + near) - bisect_left(self._signs, watched.sign - near)
        if together < 2 or 2 * together <= len(self._signs) + self._up:
            return None
        return Verdict(VerdictKind.TOGETHER, count=together)


class Source:
    """One session, and the heartbeats that it carries."""

    __slots__ = ("sequence", "session", "watched")

    def __init__(self, session: Session) -> None:
        """Args: session: whose datagrams these are."""
        self.session = session
        self.sequence = -1
        """The highest datagram number heard: what comes behind it was sent before, and is no news of now."""
        self.watched: tuple[Watched, ...] = ()


class Sources:
    """The sessions that carry heartbeats: any message of such a session is a sign of life."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[bytes, Source] = {}

    def get(self, session: Session) -> Source | None:
        """The source, or None when the session carries no heartbeat."""
        return self._by_key.get(session.key)

    def watched(self, session: Session) -> tuple[Watched, ...]:
        """The heartbeats of a session."""
        source = self._by_key.get(session.key)
        return source.watched if source is not None else ()

    def by_id(self) -> dict[tuple[int, str], Source]:
        """The sources by key number and identity as text, as a ledger names them."""
        return {(source.session.key_id, source.session.id): source for source in self._by_key.values()}

    def move(self, watched: Watched, before: Session | None, after: Session | None, sequence: int = -1) -> None:
        """Notes that another session carries a heartbeat now, or none.

        Args:
            watched: the heartbeat.
            before: its session so far.
            after: its session from now on.
            sequence: the number of the datagram that shows it.
        """
        old = None if before is None else self._by_key.get(before.key)
        if old is not None:
            old.watched = tuple(one for one in old.watched if one is not watched)
            if not old.watched:
                del self._by_key[old.session.key]
        if after is not None:
            new = self._by_key.setdefault(after.key, Source(after))
            new.watched = (*new.watched, watched)
            new.sequence = max(new.sequence, sequence)


def change_of(watched: Watched, before: HeartbeatState, now: float) -> Change:
    """The change that was just made."""
    session = watched.session
    return Change(
        name=watched.name,
        before=before,
        state=watched.state,
        verdict=watched.verdict,
        at=now,
        sender=session.name if session else "",
        key_id=watched.key_id,
    )


def status_of(watched: Watched, now: float) -> HeartbeatStatus:
    """All that is known."""
    session, beat = watched.session, watched.beat
    return HeartbeatStatus(
        name=watched.name,
        key_id=watched.key_id,
        sender=session.name if session else "",
        host=session.host if session else "",
        pid=session.pid if session else 0,
        state=watched.state,
        verdict=watched.verdict,
        interval=beat.interval,
        silent=max(0.0, now - watched.sign),
        beat_silent=max(0.0, now - watched.beat_at),
        uptime=beat.uptime,
        beats=watched.beats,
        lost=watched.lost,
        restarts=watched.restarts,
        conflicts=watched.conflicts,
        loss=watched.meter.share(),
        burst=watched.meter.burst,
        misses=watched.patience.misses,
        down_after=watched.patience.down,
        offered=beat.offered,
        dropped=beat.dropped,
        refused=beat.refused,
        errors=beat.errors,
    )


MAX_SENDERS: Final = 4096
_SAME: Final = 0.05
"""Seconds by which an account may tell the same datagram's age otherwise: it and `now` are not read at one moment."""
_DOUBTS: Final = {VerdictKind.OBSERVER_LATE, VerdictKind.OBSERVER_DROPPED, VerdictKind.TOGETHER}

OnChange = Callable[[Change], object]


class HeartbeatMonitor:
    """Watches the heartbeats of many senders.

    Example:
        >>> monitor = HeartbeatMonitor(on_change=print)
        >>> while True:
        ...     event = receiver.next_event(monitor.wait(time.monotonic()))
        ...     if event is not None:
        ...         monitor.handle(event, time.monotonic())
        ...     monitor.tick(time.monotonic())
    """

    def __init__(
        self,
        *,
        subject: str = SUBJECT,
        target: float = TARGET,
        cap: int = CAP,
        max_senders: int = MAX_SENDERS,
        on_change: OnChange | None = None,
    ) -> None:
        """Starts without knowing anybody; see `expect`.

        Args:
            subject: the first tokens of the heartbeats' subjects.
            target: false alarms a sender-day. Fewer means that deaths are found later where beats are lost.
            cap: missed beats that are tolerated, at most; where more would be needed the verdict is `unknown` up to twice this.
            max_senders: heartbeats watched, about 1.5 KB each; beyond it those that ended make room, or new ones are counted.
            on_change: called with every change; what it raises is counted. See `on_change` for more of them.

        Raises:
            OptionError: an option is outside its range.
            SubjectError: the subject cannot be used.
        """
        if not isinstance(target, int | float) or not 1e-9 <= target <= 1e3:
            raise OptionError("target", target, "1e-9 to 1000 false alarms a sender-day")
        if not isinstance(cap, int) or not LEAST <= cap <= 1000:
            raise OptionError("cap", cap, f"{LEAST} to 1000 beats")
        if not isinstance(max_senders, int) or not 1 <= max_senders <= 1_000_000:
            raise OptionError("max_senders", max_senders, "1 to 1,000,000")
        self._prefix = check_subject(subject) + "."
        self._target = float(target)
        self._cap = cap
        self._max_senders = max_senders
        self._callbacks: list[OnChange] = []
        if on_change is not None:
            self.on_change(on_change)
        self._watched: dict[tuple[int, str], Watched] = {}
        self._sources = Sources()
        self._heap: list[tuple[float, int, Watched]] = []
        self._pushes = 0
        self._counts: Counter[str] = Counter()
        self._changes: list[Change] = []
        self._observer = Observer()

    @property
    def counts(self) -> dict[str, int]:
        """What became of the input: `beats`, `malformed`, `sender_limit` (beats of senders beyond it), `forgotten`, and
        `callback_errors`; and why the observer doubted itself: `observer_late`, `observer_dropped`, `together`.
        """  # noqa: D205
        return dict(self._counts)

    def on_change(self, callback: OnChange) -> OnChange:
        """Calls this with every change from now on, in the thread of `handle` and `tick`; also usable as a decorator."""
        if not callable(callback):
            raise OptionError("on_change", callback, "something that can be called with a Change")
        self._callbacks.append(callback)
        return callback

    def expect(
        self, name: str, now: float, *, interval: float = 1.0, timeout: float | None = None, key_id: int = 0
    ) -> None:
        """Watches a heartbeat before it was heard, so that one which never begins is found too.

        Args:
            name: the heartbeat's.
            now: seconds.
            interval: seconds between beats, until it says so itself.
            timeout: seconds of silence that mean `down`; None follows the loss that is measured.
            key_id: the key of its sender, 0 without keys.

        Raises:
            OptionError: the timeout is below 2 × interval, or there is no room.
        """
        interval, timeout = check_rhythm(interval, timeout)
        subject_of(self._prefix[:-1], name)
        known = self._watched.get((key_id, name))
        if known is None:
            known = self._watch(name, key_id, now, interval=interval, timeout=timeout)
            if known is None:
                raise OptionError("max_senders", self._max_senders, "room for one more heartbeat")
        known.timeout, known.expected = timeout, True
        self._schedule(known)

    def handle(self, event: Event, now: float) -> list[Change]:
        """Takes one event of a receiver, of any subject and kind; never raises for what a sender did.

        Args:
            event: a message or another event.
            now: seconds.

        Returns:
            What changed by it.
        """
        if isinstance(event, Message):
            self._message(event, now)
        elif isinstance(event, SessionClosed):
            for watched in self._sources.watched(event.session):
                self._found(watched, watched.closed(), now)
        elif isinstance(event, QueueOverflow) or (isinstance(event, SessionEvicted) and event.live):
            self._observer.dropped(now)
        return self._take_changes()

    def observe(self, ledger: Ledger, now: float) -> list[Change]:
        """Takes the receiver's account, where it is at hand: beacons are signs of life, and drops a reason to doubt.

        Args:
            ledger: of the receiver whose events are handled here.
            now: seconds; at the moment the ledger was taken.
        """
        self._observer.observe(ledger, now)
        by_id = self._sources.by_id()
        for row in ledger.sessions:
            source = by_id.get((row.key_id, row.id))
            at = now - row.last_seen
            for watched in source.watched if source else ():
                if at - watched.sign > min(_SAME, watched.beat.interval / 4):
                    self._found(watched, watched.alive(at, now), now)
                    self._schedule(watched)
        return self._take_changes()

    def tick(self, now: float) -> list[Change]:
        """Judges the silences that are due; to be called at `next_deadline`, and may be called at any time.

        Args: now: seconds.
        """
        due = []
        while self._heap and self._heap[0][0] <= now:
            at, _, watched = heappop(self._heap)
            if at == watched.queued:  # else it stands in the heap once more, earlier
                watched.queued = math.inf
                due.append(watched)
        self._observer.begin()
        for watched in due:
            if watched.due <= now:
                self._found(watched, watched.look(now, self._doubt), now)
            self._schedule(watched)
        return self._take_changes()

    def next_deadline(self) -> float | None:
        """When `tick` should be called next, on the clock of `now`; None when nothing can change by silence."""
        return self._heap[0][0] if self._heap else None

    def wait(self, now: float) -> float | None:
        """Seconds until `next_deadline`, at least 0: how long to wait for the next event; None without end."""
        deadline = self.next_deadline()
        return None if deadline is None else max(0.0, deadline - now)

    def state(self, name: str, key_id: int = 0) -> HeartbeatState | None:
        """What is believed of a heartbeat; None when it is not watched."""
        watched = self._watched.get((key_id, name))
        return None if watched is None else watched.state

    def status(self, now: float) -> list[HeartbeatStatus]:
        """All that is known of every heartbeat watched."""
        return [status_of(watched, now) for watched in self._watched.values()]

    def forget(self, name: str, key_id: int = 0) -> bool:
        """Watches a heartbeat no more, until it beats again; returns whether it was watched."""
        watched = self._watched.pop((key_id, name), None)
        if watched is None:
            return False
        watched.queued = watched.due = math.inf  # what stands in the heap is skipped
        self._sources.move(watched, watched.session, None)
        return True

    def _message(self, message: Message, now: float) -> None:
        arrival = message.arrival
        source = self._sources.get(arrival.session)
        newest = source is None or arrival.sequence >= source.sequence
        if source is not None and newest:
            source.sequence = arrival.sequence
        own = self._beat(message, now, newest=newest) if message.subject.startswith(self._prefix) else None
        if source is not None and newest:
            for watched in source.watched:
                if watched is not own:
                    watched.overlooked(now)
                    self._found(watched, watched.alive(now, now), now)
                    if watched.due < watched.queued:
                        self._schedule(watched)

    def _beat(self, message: Message, now: float, *, newest: bool) -> Watched | None:
        beat = read_beat(message.payload)
        if beat is None:
            self._counts["malformed"] += 1
            return None
        session, name = message.session, message.subject[len(self._prefix) :]
        watched = self._watched.get((session.key_id, name))
        if watched is None:
            watched = self._watch(name, session.key_id, now, interval=beat.interval, timeout=None)
            if watched is None:
                self._counts["sender_limit"] += 1
                return None
        self._counts["beats"] += 1
        watched.overlooked(now)
        before = watched.session
        found = watched.take(beat, session, message.arrival.sent_us, now, newest=newest)
        after = watched.session
        if after is not None and (before is None or before.key != after.key):
            self._sources.move(watched, before, after, message.arrival.sequence)
        self._found(watched, found, now)
        self._schedule(watched)
        return watched

    def _watch(self, name: str, key_id: int, now: float, *, interval: float, timeout: float | None) -> Watched | None:
        if len(self._watched) >= self._max_senders and not self._make_room():
            return None
        watched = Watched(name, key_id, now, interval=interval, timeout=timeout, target=self._target, cap=self._cap)
        self._watched[key_id, name] = watched
        return watched

    def _make_room(self) -> bool:
        """Forgets what ended longest ago, else what is down for longest; never what is expected, or may be alive."""
        over = [one for one in self._watched.values() if one.ended and not one.expected] or [
            one for one in self._watched.values() if one.state is HeartbeatState.DOWN and not one.expected
        ]
        if not over:
            return False
        oldest = min(over, key=lambda one: one.sign)
        self._counts["forgotten"] += 1
        return self.forget(oldest.name, oldest.key_id)

    def _doubt(self, watched: Watched) -> Verdict | None:
        return self._observer.doubt(watched, self._watched.values())

    def _found(self, watched: Watched, found: Found | None, now: float) -> None:
        if found is None:
            return
        before = watched.state
        watched.state, watched.verdict = found
        if watched.verdict.kind in _DOUBTS:
            self._counts[watched.verdict.kind] += 1
        change = change_of(watched, before, now)
        self._changes.append(change)
        for callback in tuple(self._callbacks):
            try:
                callback(change)
            except Exception:  # noqa: BLE001  a callback must not end the watch; it is counted
                self._counts["callback_errors"] += 1

    def _take_changes(self) -> list[Change]:
        changes = self._changes
        if changes:
            self._changes = []
        return changes

    def _schedule(self, watched: Watched) -> None:
        """Sees that the heap has the heartbeat no later than its deadline; mostly it has, for deadlines move ahead."""
        if watched.due < watched.queued:
            watched.queued = watched.due
            self._pushes += 1
            heappush(self._heap, (watched.due, self._pushes, watched))
            if len(self._heap) > 2 * len(self._watched) + 64:  # what is to be skipped would stay until it is due
                self._heap = [entry for entry in self._heap if entry[0] == entry[2].queued]
                heapify(self._heap)


_ACCOUNT_EVERY: Final = 0.25
"""Seconds between two looks at the receiver's account, at least; it is looked at only when a silence is due."""


def watch(receiver: Receiver, monitor: HeartbeatMonitor, seconds: float | None = None) -> Iterator[Change]:
    """Yields what changes, until the receiver is closed.

    Between two changes it waits; while the caller keeps a change for long, the monitor counts the observer as late.

    Args:
        receiver: whose events are all consumed here.
        monitor: fed with `time.monotonic()`, which its `expect` should be called with too.
        seconds: how long to watch; None without end.
    """
    turns = _Turns(check_receiver(receiver), monitor, seconds)
    while not receiver.closed and not turns.over():
        yield from turns.take(receiver.next_event(turns.wait()))


async def watch_async(
    receiver: AsyncReceiver, monitor: HeartbeatMonitor, seconds: float | None = None
) -> AsyncIterator[Change]:
    """Yields what changes, until the receiver is closed; as `watch`, in an event loop.

    Args:
        receiver: whose events are all consumed here.
        monitor: fed with `time.monotonic()`, which its `expect` should be called with too.
        seconds: how long to watch; None without end.
    """
    turns = _Turns(check_receiver(receiver, awaited=True), monitor, seconds)
    while not receiver.closed and not turns.over():
        for change in turns.take(await receiver.next_event(turns.wait())):
            yield change


class _Turns:
    """What both loops do between two waits."""

    def __init__(self, receiver: Receiver | AsyncReceiver, monitor: HeartbeatMonitor, seconds: float | None) -> None:
        self._receiver, self._monitor = receiver, monitor
        self._looked = time.monotonic()
        self._end = None if seconds is None else self._looked + seconds
        monitor.observe(receiver.ledger(), self._looked)

    def over(self) -> bool:
        """Whether it was watched for long enough."""
        return self._end is not None and time.monotonic() >= self._end

    def wait(self) -> float | None:
        """Seconds to wait for an event."""
        now = time.monotonic()
        waits = [self._monitor.wait(now), None if self._end is None else max(0.0, self._end - now)]
        return min((wait for wait in waits if wait is not None), default=None)

    def take(self, event: Event | None) -> Iterator[Change]:
        """What changes by an event, or by the silence instead of one."""
        now, monitor = time.monotonic(), self._monitor
        if event is not None:
            yield from monitor.handle(event, now)
        deadline = monitor.next_deadline()
        if deadline is not None and deadline <= now:
            if now - self._looked >= _ACCOUNT_EVERY:
                self._looked = now
                yield from monitor.observe(self._receiver.ledger(), now)
            yield from monitor.tick(now)
