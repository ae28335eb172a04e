"""Decides which datagrams are accepted, exactly once each (R10–R16, R18, R23).

The algorithm is Liskov, Shrira and Wroclawski, *Efficient at-most-once messages based on synchronized clocks* (1991),
with a boot floor instead of stable storage and the replay window of RFC 6479 instead of one timestamp a connection.
The checks of `receive` follow R11 in its order: a refusal leaves all state but its counter (and R16's claim) as it was.

Bytes and time in, events out; not thread-safe, one caller at a time.
`now` is monotonic seconds (grace, silence), `wall_us` the wall clock in µs since 1970 (acceptance); both are readings, never estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from atmost.core.accounts import Ledger
from atmost.core.booking import Books
from atmost.core.datagram import (
    FLAG_ENCRYPTED,
    FLAG_PADDED,
    BeaconBody,
    Header,
    Kind,
    read_header,
    strip_padding,
    unpack_beacon,
    unpack_messages,
)
from atmost.core.episodes import Episodes
from atmost.core.events import (
    Arrival,
    ClockAlarm,
    ClockTrouble,
    DatagramRefused,
    Event,
    Message,
    QueueOverflow,
    RefusalReason,
    Session,
    SessionClosed,
    SessionEvicted,
    SessionOpened,
)
from atmost.core.limits import GRACE, IMPLAUSIBLE_JUMP, MAX_MESSAGES, MAX_SESSIONS, VICTIM_SILENCE, WINDOW
from atmost.core.seal import NO_KEY, Keyring, no_keys
from atmost.core.sessions import SessionState, SessionTable
from atmost.core.shards import Shards, shard_of
from atmost.core.window import Verdict
from atmost.errors import OptionError

_IN_FLIGHT_US: Final = 1_000_000
MAX_SUSPECTS: Final = 64
"""Senders remembered for their clocks."""
_CLOCK_REFUSALS: Final = {
    RefusalReason.FUTURE: ClockTrouble.SENDER_AHEAD,
    RefusalReason.BOOT_QUARANTINE: ClockTrouble.SENDER_BEHIND,
    RefusalReason.BELOW_FLOOR: ClockTrouble.SENDER_BEHIND,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverOptions:
    """The parameters of the guarantee; each is a trade-off."""

    future_bound: float
    """F, seconds: how far a sender's clock may be ahead. Larger accepts worse clocks and lengthens the start by as much."""
    clock_guard: float
    """G, seconds: how far this clock may be set back between two starts, in total. Larger survives more and lengthens the start."""
    window: int = WINDOW
    """W, datagrams: how far behind the highest number one may arrive. Larger tolerates more reordering; W/8 bytes a lossy session."""
    max_sessions: int = MAX_SESSIONS
    """N: sessions remembered. Larger keeps more senders apart; about 1 KB each."""
    grace: float = GRACE
    """Seconds before missing is called lost, at the earliest. Larger calls fewer reordered datagrams lost, and tells of loss later."""
    max_age: float | None = None
    """L, seconds: older datagrams are refused as `expired`; None accepts any age. A policy of freshness, not of safety."""

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        for name, low in (("future_bound", 0.0), ("clock_guard", 0.0), ("grace", 0.0)):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and low <= value <= 86_400):
                raise OptionError(name, value, f"seconds from {low:g} to 86400")
        for name in ("window", "max_sessions"):
            value = getattr(self, name)
            if not (isinstance(value, int) and 1 <= value <= 1 << 24):
                raise OptionError(name, value, f"a whole number from 1 to {1 << 24}")
        if self.max_age is not None and not (isinstance(self.max_age, (int, float)) and 0 < self.max_age <= 1e9):
            raise OptionError("max_age", self.max_age, "seconds above 0, or None")


class ReceiverCore:
    """One incarnation of a receiver."""

    def __init__(
        self,
        options: ReceiverOptions,
        wall_us: int,
        keys: Keyring | None = None,
        shard: tuple[int, int] | Shards | None = None,
    ) -> None:
        """Starts an incarnation (R10).

        Args:
            options: the parameters.
            wall_us: the wall clock, read *after* the address was bound, µs since 1970.
            keys: the keys accepted; None for a receiver without keys.
            shard: its number and how many there are, or several of them, when others receive the other sessions (R17).
        """
        self.options = options
        self._future_us = round(options.future_bound * 1e6)
        self._max_age_us = None if options.max_age is None else round(options.max_age * 1e6)
        self._keys = no_keys() if keys is None else keys
        self._shards = Shards(frozenset(shard[:1]), shard[1]) if isinstance(shard, tuple) else shard
        self._table = SessionTable(options.max_sessions, wall_us + self._future_us + round(options.clock_guard * 1e6))
        self._books = Books(options.grace)
        self._wall_us = wall_us
        self._claim: tuple[bytes, int, int] | None = None
        self._refusals: Episodes[tuple[RefusalReason, Session | None]] = Episodes()
        self._alarms: Episodes[tuple[ClockTrouble, Session | None]] = Episodes()
        self._overflows: Episodes[Session] = Episodes()
        self._clock_seconds = 0.0
        self._suspects = _Suspects()
        self.on_refused: Callable[[bytes, RefusalReason, bool], object] | None = None
        """Called with each datagram that is refused, the reason, and whether its session is known; must not raise."""
        # What was sent during the start is refused and no sign of a wrong clock.
        self._usual_lag_us = self._table.boot_floor - wall_us + _IN_FLIGHT_US

    @property
    def floor_us(self) -> int:
        """Nothing of an unknown session at or below this is accepted, µs since 1970; never decreases (R12)."""
        return self._table.floor

    def change_keys(self, keys: Keyring) -> None:
        """Accepts these keys from now on; sessions of a retired key stay in the table (R12) and are refused."""
        self._keys = keys

    def is_ready(self, wall_us: int) -> bool:
        """Whether what is sent from now on is accepted: the clock has passed the boot floor (R10)."""
        return wall_us > self._table.boot_floor

    def take_over(self, wall_us: int) -> None:
        """Accepts only what is sent from now on, as a new incarnation would, and goes on with the books of this one (H2).

        For an address that was out of this receiver's hands for a while: somebody else may have held it and have accepted anything that was sent
        until now. Every session keeps its window and its account, so that what is refused from here on is known as lost.

        Args:
            wall_us: the wall clock, read after the address was taken over, µs since 1970.
        """
        self._table.raise_floor(wall_us + self._future_us + round(self.options.clock_guard * 1e6))

    def receive(self, datagram: bytes, now: float, wall_us: int) -> Sequence[Event]:
        """Takes one datagram; returns its messages, once ever, and whatever else it reveals."""
        self._books.datagrams_in += 1
        events: list[Event] = []
        if wall_us < self._wall_us:
            events += self._alarm(ClockTrouble.STEPPED_BACK, None, (self._wall_us - wall_us) / 1e6, now)
        self._wall_us = wall_us
        header = read_header(datagram)
        if header is None:
            if self.on_refused is not None:
                self.on_refused(datagram, RefusalReason.MALFORMED, False)
            return events + self._refuse(RefusalReason.MALFORMED, None, now)
        key = datagram[2:20]
        state = self._table.sessions.get(key)
        content = self._examine(datagram, header, key, state, wall_us)
        if isinstance(content, RefusalReason):
            if state is None:
                events += self._suspect(content, datagram, header, now, wall_us)
            if self.on_refused is not None:
                self.on_refused(datagram, content, state is not None)
            return events + self._refuse(content, state, now)
        # Everything is checked: mark (R11.8), and only then deliver (R11.9).
        state = self._mark(header, key, state, now, wall_us, events)
        if isinstance(content, BeaconBody):
            self._take_report(state, content, header, events)
            return events
        arrival = Arrival(state.session, header[5], header[7], wall_us)
        for message in content:
            message.arrival = arrival
        return [*events, *content] if events else content

    def next_deadline(self) -> float | None:
        """When `handle_deadline` should be called next, monotonic seconds; None when nothing waits."""
        deadlines = (
            self._books.next_deadline(),
            self._refusals.next_deadline(),
            self._alarms.next_deadline(),
            self._overflows.next_deadline(),
        )
        return min((d for d in deadlines if d is not None), default=None)

    def handle_deadline(self, now: float) -> Sequence[Event]:
        """Declares lost what has been missing for a grace, and reports what was kept quiet."""
        events = self._books.settle(now)
        for (reason, session), count in self._refusals.due(now):
            events.append(DatagramRefused(reason, count, session))
        for (trouble, session), count in self._alarms.due(now):
            events.append(ClockAlarm(trouble, count, session, self._clock_seconds))
        for session, count in self._overflows.due(now):
            events.append(QueueOverflow(session, count))
        return events

    def overflowed(self, session: Session, count: int, now: float) -> Sequence[Event]:
        """Books messages that were accepted and found the queue full (R14)."""
        self._books.not_handled(self._table.sessions.get(session.key), "overflow", count)
        report = self._overflows.note(session, now, count)
        return [QueueOverflow(session, report)] if report else []

    def discarded(self, key: bytes, count: int) -> None:
        """Books messages of session `key` that were queued when the receiver was closed."""
        self._books.not_handled(self._table.sessions.get(key), "discarded", count)

    def unsynchronised(self, now: float) -> Sequence[Event]:
        """Books that the operating system says this host's clock is not synchronised (R18)."""
        return self._alarm(ClockTrouble.UNSYNCHRONISED, None, 0.0, now)

    def handler_failed(self) -> None:
        """Counts a message whose handler raised or was cancelled; it is never redelivered (R14)."""
        self._books.handler_errors += 1

    def ledger(self, now: float, queued: Mapping[bytes, int] | None = None, kernel_drops: int | None = None) -> Ledger:
        """The account of this incarnation.

        Args:
            now: monotonic, seconds.
            queued: messages handed out by `receive` that wait for their handler, by session key.
            kernel_drops: datagrams the kernel dropped at the socket; None when unknown.
        """
        return self._books.ledger(self._table.sessions.values(), queued or {}, now, kernel_drops)

    def _examine(
        self, datagram: bytes, header: Header, key: bytes, state: SessionState | None, wall_us: int
    ) -> list[Message] | BeaconBody | RefusalReason:
        """R11.2–R11.7: what the datagram carries, or why it is refused; changes nothing but R16's claim."""
        _, kind, key_id, _, _, sequence, _, sent_us, count, flags = header
        factory = self._keys.get(key_id)
        if factory is None:
            return RefusalReason.UNKNOWN_KEY
        if self._shards is not None and shard_of(key, self._shards.count) not in self._shards.owned:
            return RefusalReason.WRONG_SHARD
        if sent_us > wall_us + self._future_us:
            return RefusalReason.FUTURE
        if state is None:
            if sent_us <= self._table.floor:
                quarantined = sent_us <= self._table.boot_floor
                return RefusalReason.BOOT_QUARANTINE if quarantined else RefusalReason.BELOW_FLOOR
            seal = factory(key)
        else:
            if sent_us <= state.efloor:
                return RefusalReason.BELOW_FLOOR
            verdict = state.window.judge(sequence)
            if verdict is not Verdict.NEW:
                return RefusalReason.DUPLICATE if verdict is Verdict.DUPLICATE else RefusalReason.TOO_OLD
            seal = state.seal
        if self._max_age_us is not None and sent_us < wall_us - self._max_age_us:
            return RefusalReason.EXPIRED
        if (flags ^ seal.flags) & FLAG_ENCRYPTED:
            return RefusalReason.MALFORMED
        body = seal.open(datagram)
        if body is None:
            return RefusalReason.AUTH_FAILED
        if flags & FLAG_PADDED:
            body = strip_padding(body)
            if body is None:
                return RefusalReason.MALFORMED
        content = unpack_messages(body, count) if kind & 15 == Kind.DATA else unpack_beacon(body)
        if content is None:
            return RefusalReason.MALFORMED
        return self._contradicts(header, key, state) or content

    def _contradicts(self, header: Header, key: bytes, state: SessionState | None) -> RefusalReason | None:
        """The second half of R11.7, and R16: whether the numbers fit what is known of the session."""
        _, _, key_id, start_us, _, sequence, prior, sent_us, count, _ = header
        if sent_us < start_us or prior + count >= MAX_MESSAGES:
            return RefusalReason.INCONSISTENT
        if state is not None and not self._books.fits(state, sequence, prior, count):
            return RefusalReason.INCONSISTENT
        if key_id != NO_KEY:
            return None
        if state is not None:
            if sequence <= state.window.highest + IMPLAUSIBLE_JUMP and prior <= state.account.end + IMPLAUSIBLE_JUMP:
                return None
            if state.claim is not None and _confirms(state.claim, sequence, prior):
                return None
            state.claim = (sequence, prior + count)
            return RefusalReason.IMPLAUSIBLE
        # A session older than this receiver may be anywhere; one that began under its eyes begins at 0.
        if start_us <= self._table.floor or (sequence <= IMPLAUSIBLE_JUMP and prior <= IMPLAUSIBLE_JUMP):
            return None
        claimed = self._claim
        if claimed is not None and claimed[0] == key and _confirms(claimed[1:], sequence, prior):
            return None
        self._claim = (key, sequence, prior + count)
        return RefusalReason.IMPLAUSIBLE

    def _mark(
        self, header: Header, key: bytes, state: SessionState | None, now: float, wall_us: int, events: list[Event]
    ) -> SessionState:
        """R11.8: advances the session, or takes it up; from here on the datagram is a duplicate."""
        sequence, prior, sent_us, count = header[5:9]
        self._books.accepted += 1
        if state is None:
            state = self._take_up(header, key, now, events)
        else:
            account, window = state.account, state.window
            if sequence == window.highest + 1 and prior == account.end and state.gaps is None:
                account.end += count
                account.accepted += count
            else:
                events += self._books.book(state, sequence, prior, count, now)
            window.mark(sequence)
        state.last_seen = now
        state.datagrams += 1
        state.max_sent_us = max(state.max_sent_us, sent_us)
        if sent_us > wall_us:
            events += self._alarm(ClockTrouble.NEGATIVE_DELAY, state.session, (sent_us - wall_us) / 1e6, now)
        return state

    def _take_up(self, header: Header, key: bytes, now: float, events: list[Event]) -> SessionState:
        start_us, sequence, prior, count = header[3], header[5], header[6], header[8]
        efloor = self._table.floor  # before making room, or the newcomer's own past would be shut out
        evicted = self._table.make_room(now)
        if evicted is not None:
            events += self._books.evict(evicted, now)
            events.append(SessionEvicted(evicted.session, live=now - evicted.last_seen <= VICTIM_SILENCE))
        exact = start_us > efloor
        session = Session(key, start_us)
        state = SessionState(
            session, self._keys[header[2]](key), efloor, sequence, self.options.window, 0 if exact else prior
        )
        if exact:
            state.first_sequence = 0
        self._table.sessions[key] = state
        events.append(SessionOpened(session, state.account.origin))
        events += self._books.open(state, sequence, prior, count, now)
        return state

    def _take_report(self, state: SessionState, beacon: BeaconBody, header: Header, events: list[Event]) -> None:
        session = state.session
        if header[5] == state.window.highest or state.report is None:
            session.name, session.host, session.pid = beacon.name, beacon.host, beacon.pid
            self._books.report(state, beacon)
        if header[1] & 15 == Kind.GOODBYE and not state.closed:
            state.closed = True
            events.append(SessionClosed(session))

    def _refuse(self, reason: RefusalReason, state: SessionState | None, now: float) -> list[Event]:
        self._books.refuse(reason, state)
        session = state.session if state is not None else None
        report = self._refusals.note((reason, session), now)
        return [DatagramRefused(reason, report, session)] if report else []

    def _suspect(self, reason: RefusalReason, datagram: bytes, header: Header, now: float, wall_us: int) -> list[Event]:
        """Names a sender that cannot open a session because of its clock (R18)."""
        found = self._suspects.identify(reason, datagram, header, self._keys)
        lag_us = wall_us - header[7]
        if found is None:
            return []
        trouble, session = found
        if trouble is ClockTrouble.SENDER_BEHIND and lag_us <= self._usual_lag_us:
            return []
        return self._alarm(trouble, session, abs(lag_us) / 1e6, now)

    def _alarm(self, trouble: ClockTrouble, session: Session | None, seconds: float, now: float) -> list[Event]:
        self._books.clock_troubles[trouble.value] += 1
        self._clock_seconds = seconds
        report = self._alarms.note((trouble, session), now)
        return [ClockAlarm(trouble, report, session, seconds)] if report else []


class _Suspects:
    """Names the senders whose clocks cause refusals (R18): their datagrams never open a session, so nothing else would name them.

    Only what a sender says in a beacon whose tag fits is used, and only for reports: no decision depends on it.
    At most `MAX_SUSPECTS` are remembered; when there are more, all are forgotten at once.
    """

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        self._sessions: dict[bytes, Session] = {}

    def identify(
        self, reason: RefusalReason, datagram: bytes, header: Header, keys: Keyring
    ) -> tuple[ClockTrouble, Session] | None:
        """Returns whose clock may be wrong and how, when a refused datagram shows it; else None.

        Args:
            reason: why it was refused; only those that compare clocks matter.
            datagram, header: what was refused.
            keys: to check the tag of a beacon, before its name is taken.
        """
        trouble = _CLOCK_REFUSALS.get(reason)
        if trouble is None:
            return None
        session = self._sessions.get(datagram[2:20]) or self._introduce(datagram, header, keys)
        return None if session is None else (trouble, session)

    def _introduce(self, datagram: bytes, header: Header, keys: Keyring) -> Session | None:
        if header[1] & 15 == Kind.DATA:
            return None
        key = datagram[2:20]
        body = keys[header[2]](key).open(datagram)
        beacon = None if body is None else unpack_beacon(body)
        if beacon is None:
            return None
        session = Session(key, header[3])
        session.name, session.host, session.pid = beacon.name, beacon.host, beacon.pid
        if len(self._sessions) >= MAX_SUSPECTS:
            self._sessions.clear()
        self._sessions[key] = session
        return session


def _confirms(claim: tuple[int, int], sequence: int, prior: int) -> bool:
    """Whether a later datagram continues from a claim, a sequence number and the end of its messages (R16)."""
    claimed_sequence, claimed_end = claim
    return 0 < sequence - claimed_sequence <= IMPLAUSIBLE_JUMP and 0 <= prior - claimed_end <= IMPLAUSIBLE_JUMP
