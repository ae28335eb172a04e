"""`HeartbeatMonitor`: who is up, late, suspect or down, and why.

Pure state: a receiver's events and `now` in, changes out; no clock, socket or thread. `now` is seconds on any
clock that does not step back, the same one everywhere. Memory is bounded by `max_senders`; what a limit refuses is counted.
Not thread-safe: one thread at a time.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from atmost.core.accounts import Ledger
from atmost.core.events import Event, Message, QueueOverflow, Session, SessionClosed, SessionEvicted
from atmost.core.names import check_subject
from atmost.errors import OptionError, SubjectError
from atmost.heartbeats.beat import SUBJECT, check_rhythm, read_beat, subject_of
from atmost.heartbeats.patience import CAP, LEAST, TARGET
from atmost.heartbeats.verdicts import (
    HeartbeatChange,
    HeartbeatMonitorStats,
    HeartbeatState,
    HeartbeatStatus,
    HeartbeatVerdict,
    HeartbeatVerdictKind,
    RememberedHeartbeat,
)
from atmost.heartbeats.watched import Found, Watched

MAX_SENDERS: Final = 4096
_SAME: Final = 0.05
"""Seconds by which an account may report another age of the same datagram: it and `now` are not read at one moment."""
_DOUBTS: Final = {
    HeartbeatVerdictKind.OBSERVER_LATE,
    HeartbeatVerdictKind.OBSERVER_DROPPED,
    HeartbeatVerdictKind.TOGETHER,
}

OnChange = Callable[[HeartbeatChange], object]


class _Pattern(NamedTuple):
    """An expectation of whatever has a name like this."""

    pieces: tuple[str, ...]
    timeout: float | None

    def matches(self, name: str) -> bool:
        """Whether a name has these pieces, in order, with anything between them; linear in the name."""
        first, *middle, last = self.pieces
        if not name.startswith(first) or not name.endswith(last) or len(name) < len(first) + len(last):
            return False
        at, end = len(first), len(name) - len(last)
        for piece in middle:
            at = name.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True


class HeartbeatMonitor:
    """Watches the heartbeats of many senders, and rules out its own faults before it calls a sender dead.

    Example:
        >>> monitor = HeartbeatMonitor(on_change=print)
        >>> while True:
        ...     event = receiver.next_event(monitor.wait(time.monotonic()))
        ...     if event is not None:
        ...         monitor.feed(event, time.monotonic())
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
            target: false alarms a sender-day. With fewer, deaths are found later if beats are lost.
            cap: missed beats that are tolerated, at most; if more would be needed, the verdict is `unknown` up to twice this.
            max_senders: heartbeats watched, about 1.5 KB each. Beyond it, those that ended make room; if none did, the new
                ones are counted.
            on_change: called with every change; its exceptions are counted. See `on_change` for further functions.

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
        self._patterns: dict[str, _Pattern] = {}
        self._full = False
        """Whether nothing can make room; a beat that is refused then costs no search."""
        self._carriers = Carriers()
        self._heap: list[tuple[float, int, Watched]] = []
        self._pushes = 0
        self._counts: Counter[str] = Counter()
        self._changes: list[HeartbeatChange] = []
        self._observer = ObserverDoubts()

    def stats(self) -> HeartbeatMonitorStats:
        """Returns what became of the input, and why the observer doubted itself."""
        counts = self._counts
        return HeartbeatMonitorStats(**{name: counts[name] for name in HeartbeatMonitorStats.__dataclass_fields__})

    @property
    def malformed(self) -> int:
        """Messages on the subject that are not beats; as in `stats`, and at no cost."""
        return self._counts["malformed"]

    def on_change(self, callback: OnChange) -> OnChange:
        """Calls this with every change from now on, in the thread of `feed` and `tick`; also usable as a decorator."""
        if not callable(callback):
            raise OptionError("on_change", callback, "a function of a HeartbeatChange")
        self._callbacks.append(callback)
        return callback

    def expect(
        self,
        name: str,
        now: float,
        *,
        interval: float = 1.0,
        timeout: float | None = None,
        key_id: int | None = None,
    ) -> None:
        """Watches a heartbeat before it was heard, so that a heartbeat that never begins is missed too.

        Args:
            name: the heartbeat's; or a pattern, where `*` stands for any characters. A pattern is watched under its own text
                until a heartbeat matches it; then that heartbeat is expected instead, and never forgotten to make room.
            now: seconds.
            interval: seconds between beats, until the heartbeat says so itself.
            timeout: seconds of silence that mean `down`; None adapts to the measured loss.
            key_id: the key of its sender, 0 without keys; None takes any.

        Raises:
            OptionError: the timeout is below 2 × interval, or there is no room.
            SubjectError: the name cannot be part of a subject.
        """
        interval, timeout = check_rhythm(interval, timeout)
        subject_of(self._prefix[:-1], name.replace("*", "x") if isinstance(name, str) else name)
        if "*" in name:
            pattern = self._patterns[name] = _Pattern(tuple(name.split("*")), timeout)
            known = [
                one for one in self._watched.values() if pattern.matches(one.name) and one.name not in self._patterns
            ]
        else:
            known = [one for one in self._watched.values() if one.name == name and key_id in (None, one.key_id)]
        if not known:
            watched = self._watch(name, key_id or 0, now, interval=interval, timeout=timeout)
            if watched is None:
                self._patterns.pop(name, None)
                raise OptionError("max_senders", self._max_senders, "a larger number, because the table is full")
            watched.any_key = key_id is None
            known = [watched]
        for one in known:
            one.timeout, one.expected = timeout, True
            self._schedule(one)

    def feed(self, event: Event, now: float) -> list[HeartbeatChange]:
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
            for watched in self._carriers.watched(event.session):
                self._found(watched, watched.session_closed(), now)
        elif isinstance(event, QueueOverflow) or (isinstance(event, SessionEvicted) and event.live):
            self._observer.note_drops(now)
        return self._take_changes()

    def observe(self, ledger: Ledger, now: float) -> list[HeartbeatChange]:
        """Takes the receiver's account, if the program has it: beacons are signs of life, and drops a reason to doubt.

        Args:
            ledger: of the receiver whose events are fed here.
            now: seconds; at the moment the ledger was taken.
        """
        self._observer.observe(ledger, now)
        by_id = self._carriers.by_id()
        for row in ledger.sessions:
            carrier = by_id.get((row.key_id, row.id))
            at = now - row.last_seen
            for watched in carrier.watched if carrier else ():
                if at - watched.sign > min(_SAME, watched.beat.interval / 4):
                    self._found(watched, watched.heard_sign(at, now), now)
                    self._schedule(watched)
        return self._take_changes()

    def tick(self, now: float) -> list[HeartbeatChange]:
        """Judges the silences that are due; to be called at `next_deadline`, and may be called at any time.

        Args: now: seconds.
        """
        due = []
        while self._heap and self._heap[0][0] <= now:
            at, _, watched = heappop(self._heap)
            if at == watched.queued:  # else it stands in the heap once more, earlier
                watched.queued = math.inf
                due.append(watched)
        self._observer.begin_moment()
        for watched in due:
            if watched.due <= now:
                self._found(watched, watched.judge_silence(now, self._doubt), now)
            self._schedule(watched)
        return self._take_changes()

    def next_deadline(self) -> float | None:
        """Returns when `tick` should be called next, on the clock of `now`; None when nothing can change by silence."""
        return self._heap[0][0] if self._heap else None

    def wait(self, now: float) -> float | None:
        """Returns the seconds until `next_deadline`, at least 0: how long to wait for the next event; None without end."""
        deadline = self.next_deadline()
        return None if deadline is None else max(0.0, deadline - now)

    def state(self, name: str, key_id: int | None = None) -> HeartbeatState | None:
        """Returns the state of a heartbeat; None when it is not watched.

        Args:
            name: the heartbeat's.
            key_id: the key of its sender; None takes any.
        """
        for watched in self._named(name, key_id):
            return watched.state
        return None

    def status(self, now: float) -> list[HeartbeatStatus]:
        """Returns all that is known of every heartbeat watched."""
        return [watched.status(now) for watched in self._watched.values()]

    def forget(self, name: str, key_id: int | None = None) -> bool:
        """Stops watching a decommissioned heartbeat, expected or not, until it beats again.

        Args:
            name: the heartbeat's, or a pattern that was expected.
            key_id: the key of its sender; None takes any.

        Returns:
            Whether it was watched.
        """
        known = list(self._named(name, key_id))
        for watched in known:
            self._drop(watched)
        return self._patterns.pop(name, None) is not None or bool(known)

    def remembered(self) -> list[RememberedHeartbeat]:
        """Returns the state that another monitor needs to take this one's place; see `restore`.

        Stopped heartbeats that are not expected are left out, and so are patterns that nothing matched yet.
        """
        return [
            RememberedHeartbeat(
                name=one.name,
                key_id=one.key_id,
                interval=one.beat.interval,
                timeout=one.timeout if one.timeout is not None else one.beat.timeout,
                state=one.state,
                reason=one.verdict.reason if one.state is HeartbeatState.FAILED else "",
                life=one.beat.life,
                expected=one.expected,
            )
            for one in self._watched.values()
            if not one.any_key and (one.expected or one.state is not HeartbeatState.STOPPED)
        ]

    def restore(self, remembered: Iterable[RememberedHeartbeat], now: float) -> int:
        """Expects the heartbeats that beat before the observer restarted; to be called first, before `expect` and `feed`.

        Those that were `down` or `failed` are so at once, so that no alarm ends by a restart; all others are `unknown`, and
        `down` when it is not heard in time.

        Args:
            remembered: what another monitor's `remembered` returned.
            now: seconds.

        Returns:
            How many could not be taken over: they are malformed, or known already, or there is no room.
        """
        refused = 0
        for one in remembered:
            try:
                interval, timeout = check_rhythm(one.interval, one.timeout)
                subject_of(self._prefix[:-1], one.name)
                known = (one.key_id, one.name) in self._watched
            except (OptionError, SubjectError, TypeError):
                refused += 1
                continue
            watched = None
            if not known:
                watched = self._watch(one.name, one.key_id, now, interval=interval, timeout=timeout)
            if watched is None:
                refused += 1
                continue
            watched.expected = one.expected is True
            watched.remember(one.state, one.reason, one.life)
            self._schedule(watched)
        return refused

    def _named(self, name: str, key_id: int | None) -> Iterable[Watched]:
        if key_id is not None:
            watched = self._watched.get((key_id, name))
            return () if watched is None else (watched,)
        return [one for one in self._watched.values() if one.name == name]

    def _message(self, message: Message, now: float) -> None:
        arrival = message.arrival
        carrier = self._carriers.get(arrival.session)
        newest = carrier is None or arrival.sequence >= carrier.sequence
        if carrier is not None and newest:
            carrier.sequence = arrival.sequence
        own = self._beat(message, now, newest=newest) if message.subject.startswith(self._prefix) else None
        if carrier is not None and newest:
            for watched in carrier.watched:
                if watched is not own:
                    watched.excuse_observer(now)
                    self._found(watched, watched.heard_sign(now, now), now)
                    if watched.due < watched.queued:
                        self._schedule(watched)

    def _beat(self, message: Message, now: float, *, newest: bool) -> Watched | None:
        beat = read_beat(message.payload)
        if beat is None:
            self._counts["malformed"] += 1
            return None
        session, name = message.session, message.subject[len(self._prefix) :]
        watched = self._watched.get((session.key_id, name))
        if watched is None or watched.any_key:
            watched = self._claim(name, session.key_id, now)
        if watched is None:
            watched = self._watch(name, session.key_id, now, interval=beat.interval, timeout=None)
            if watched is None:
                self._counts["sender_limit"] += 1
                return None
            self._match(watched, now)
        self._counts["beats"] += 1
        watched.excuse_observer(now)
        before = watched.session
        found = watched.heard_beat(beat, session, message.arrival.sent_us, now, newest=newest)
        after = watched.session
        if after is not None and (before is None or before.key != after.key):
            self._carriers.move(watched, before, after, message.arrival.sequence)
        self._found(watched, found, now)
        self._schedule(watched)
        return watched

    def _claim(self, name: str, key_id: int, now: float) -> Watched | None:
        """Gives a heartbeat that was expected under any key the key of its first beat."""
        expected = self._watched.get((0, name))
        if expected is None or not expected.any_key:
            return None
        del self._watched[0, name]
        expected.key_id, expected.any_key = key_id, False
        self._watched[key_id, name] = expected
        self._match(expected, now)
        return expected

    def _match(self, watched: Watched, now: float) -> None:
        """A heartbeat is new: patterns that it matches expect it from now on, and are met."""
        for text, pattern in self._patterns.items():
            if not pattern.matches(watched.name):
                continue
            if not watched.expected:
                watched.timeout, watched.expected = pattern.timeout, True
            met = self._watched.get((0, text))
            if met is not None:
                if met.state is not HeartbeatState.UNKNOWN:  # an alarm of it ends
                    self._found(met, (HeartbeatState.UP, HeartbeatVerdict(HeartbeatVerdictKind.HEARD)), now)
                self._drop(met)

    def _watch(self, name: str, key_id: int, now: float, *, interval: float, timeout: float | None) -> Watched | None:
        if len(self._watched) >= self._max_senders and not self._make_room():
            return None
        watched = Watched(name, key_id, now, interval=interval, timeout=timeout, target=self._target, cap=self._cap)
        self._watched[key_id, name] = watched
        return watched

    def _drop(self, watched: Watched) -> None:
        del self._watched[watched.key_id, watched.name]
        watched.queued = watched.due = math.inf  # what stands in the heap is skipped
        self._carriers.move(watched, watched.session, None)
        self._full = False

    def _make_room(self) -> bool:
        """Forgets what ended longest ago, else what is down for longest; never what is expected, or may be alive."""
        if self._full:
            return False
        over = [one for one in self._watched.values() if one.ended and not one.expected] or [
            one for one in self._watched.values() if one.state is HeartbeatState.DOWN and not one.expected
        ]
        if not over:
            self._full = True
            return False
        oldest = min(over, key=lambda one: one.sign)
        self._counts["forgotten"] += 1
        self._drop(oldest)
        return True

    def _doubt(self, watched: Watched) -> HeartbeatVerdict | None:
        return self._observer.doubt(watched, self._watched.values())

    def _found(self, watched: Watched, found: Found | None, now: float) -> None:
        if found is None:
            return
        before = watched.state
        watched.state, watched.verdict = found
        if watched.verdict.kind in _DOUBTS:
            self._counts[watched.verdict.kind] += 1
        if watched.state is HeartbeatState.UP:
            watched.flaps += before in (HeartbeatState.DOWN, HeartbeatState.FAILED)
        elif watched.ended or watched.state is HeartbeatState.DOWN:
            self._full = False  # it may make room
        session = watched.session
        change = HeartbeatChange(
            name=watched.name,
            before=before,
            state=watched.state,
            verdict=watched.verdict,
            at=now,
            sender=session.name if session else "",
            key_id=watched.key_id,
        )
        self._changes.append(change)
        for callback in tuple(self._callbacks):
            try:
                callback(change)
            except Exception:  # noqa: BLE001  a callback must not end the watch; it is counted
                self._counts["callback_errors"] += 1

    def _take_changes(self) -> list[HeartbeatChange]:
        changes = self._changes
        if changes:
            self._changes = []
        return changes

    def _schedule(self, watched: Watched) -> None:
        """Sees that the heap has the heartbeat no later than its deadline; mostly it has, because deadlines move ahead."""
        if watched.due < watched.queued:
            watched.queued = watched.due
            self._pushes += 1
            heappush(self._heap, (watched.due, self._pushes, watched))
            if len(self._heap) > 2 * len(self._watched) + 64:  # what is to be skipped would stay until it is due
                self._heap = [entry for entry in self._heap if entry[0] == entry[2].queued]
                heapify(self._heap)


_TOGETHER: Final = 2.0
"""Intervals within which senders fell silent together."""
_SILENT: Final = {HeartbeatState.LATE, HeartbeatState.SUSPECT, HeartbeatState.UNKNOWN}


class ObserverDoubts:
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

    def note_drops(self, now: float) -> None:
        """Datagrams that came were not seen."""
        self._dropped_at = now

    def observe(self, ledger: Ledger, now: float) -> None:
        """Looks for drops since the last time."""
        for before, drops in ((self._kernel_drops, ledger.kernel_drops), (self._overflow, ledger.overflow)):
            if before is not None and drops is not None and drops > before:
                self.note_drops(now)
        self._kernel_drops, self._overflow = ledger.kernel_drops, ledger.overflow

    def begin_moment(self) -> None:
        """A new moment: who is silent is counted again when somebody asks."""
        self._signs = None

    def doubt(self, watched: Watched, everybody: Iterable[Watched]) -> HeartbeatVerdict | None:
        """Returns the reason to hold a grave verdict for one interval, each only once in a silence."""
        if self._dropped_at > watched.sign and HeartbeatVerdictKind.OBSERVER_DROPPED not in watched.doubted:
            return HeartbeatVerdict(HeartbeatVerdictKind.OBSERVER_DROPPED)
        if HeartbeatVerdictKind.TOGETHER in watched.doubted:
            return None
        if self._signs is None:
            known = [one for one in everybody if one.session is not None]
            self._signs = sorted(one.sign for one in known if one.state in _SILENT)
            self._up = sum(one.state is HeartbeatState.UP for one in known)
        near = _TOGETHER * watched.beat.interval
        together = bisect_right(self._signs, watched.sign + near) - bisect_left(self._signs, watched.sign - near)
        if together < 2 or 2 * together <= len(self._signs) + self._up:
            return None
        return HeartbeatVerdict(HeartbeatVerdictKind.TOGETHER, count=together)


class Carrier:
    """One session, and the heartbeats that it carries."""

    __slots__ = ("sequence", "session", "watched")

    def __init__(self, session: Session) -> None:
        """Args: session: whose datagrams these are."""
        self.session = session
        self.sequence = -1
        """The highest datagram number heard: what comes behind it was sent before, and is no news of now."""
        self.watched: tuple[Watched, ...] = ()


class Carriers:
    """The sessions that carry heartbeats: any message of such a session is a sign of life."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[bytes, Carrier] = {}

    def get(self, session: Session) -> Carrier | None:
        """Returns the carrier, or None when the session carries no heartbeat."""
        return self._by_key.get(session.key)

    def watched(self, session: Session) -> tuple[Watched, ...]:
        """Returns the heartbeats of a session."""
        carrier = self._by_key.get(session.key)
        return carrier.watched if carrier is not None else ()

    def by_id(self) -> dict[tuple[int, str], Carrier]:
        """Returns the carriers by key number and identity as text, as a ledger names them."""
        return {(carrier.session.key_id, carrier.session.id): carrier for carrier in self._by_key.values()}

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
            new = self._by_key.setdefault(after.key, Carrier(after))
            new.watched = (*new.watched, watched)
            new.sequence = max(new.sequence, sequence)
