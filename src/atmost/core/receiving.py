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
from atmost.core.gaps import crowded
from atmost.core.limits import GRACE, MAX_MESSAGES, MAX_SESSIONS, VERSION, VICTIM_SILENCE, WINDOW
from atmost.core.seal import NO_KEY, Keyring, Seal, SealFactory, no_keys
from atmost.core.sessions import SessionState, SessionTable
from atmost.core.shards import Shards, shard_of
from atmost.core.window import Verdict
from atmost.errors import OptionError

_SESSION: Final = slice(2, 20)
"""Where the identity of the session stands in a datagram; made once, because making a slice costs as much as taking one."""
_BEACON: Final = VERSION << 4 | Kind.BEACON
_DATA: Final = VERSION << 4 | Kind.DATA
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
    """W, datagrams: how far behind the highest number one may arrive. Larger tolerates more reordering, at W/8 bytes per lossy session."""
    max_sessions: int = MAX_SESSIONS
    """N: sessions remembered. Larger keeps more senders apart; about 1 KB each."""
    grace: float = GRACE
    """Seconds before a missing message is called lost, at the earliest. Larger calls fewer reordered ones lost, and reports loss later."""
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
    """One incarnation of a receiver.

    Theory of operation. The state is a table of sessions, a floor, the books, and one remembered claim (R16). A session is in one of three
    conditions: unknown (only the floor decides), known (its window, its efloor and its account decide), or forgotten. A forgotten session
    is unknown again, because the floor has risen above everything it ever sent. There is no other way out of the table.

    `receive` has two halves. The first only looks: `_examine` applies R11 in its order and returns what the datagram carries, or the
    reason to refuse it. The second half commits, in *one statement* each time: the common case (the next number of a session) assigns a
    few figures; every other case works on a draft of the session and replaces the session in the table. CPython runs signal handlers
    only after calls and at jumps, never within such a statement. So an exception raised by a signal handler, wherever it comes, finds a
    datagram either not counted at all or booked completely, with what it revealed in `in_hand`. A caller that was interrupted before it had
    the result of `receive` finds it there. What is left to do after a commit (a forgotten session to delete, efloors to raise) is noted in the
    same statement and done first thing in the next call; `_finish` may be interrupted and run again.

    Marked before delivered (R11.9): the statement that marks a number is the one that makes its messages available.
    """

    __slots__ = (
        "_alarms",
        "_books",
        "_claim",
        "_clock_seconds",
        "_future_us",
        "_jump",
        "_keys",
        "_mask",
        "_max_age_us",
        "_overflows",
        "_proved",
        "_raise_to",
        "_refusals",
        "_shards",
        "_suspects",
        "_table",
        "_unfinished",
        "_usual_lag_us",
        "_wall_us",
        "in_hand",
        "on_refused",
        "options",
        "read_again",
    )

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
            shard: the shard's number and how many there are, or several shards; None to receive every session (R17).
        """
        self.options = options
        self._future_us = round(options.future_bound * 1e6)
        self._max_age_us = None if options.max_age is None else round(options.max_age * 1e6)
        self._keys = no_keys() if keys is None else keys
        self._shards = Shards(frozenset(shard[:1]), shard[1]) if isinstance(shard, tuple) else shard
        self._jump = max(1, options.window // 2)
        self._mask = (1 << options.window) - 1
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
        # A datagram sent during the start is refused, but is not a sign of a wrong clock.
        self._usual_lag_us = self._table.boot_floor - wall_us + _IN_FLIGHT_US
        self._proved: tuple[SealFactory, Seal] | None = None
        self._unfinished = False
        self._raise_to: int | None = None
        self.read_again: Callable[[], int | None] | None = None
        """Reads the clock again for a datagram that seems to come from the future, µs since 1970; None if it must not be judged any more (H2).

        Set by a caller that reads its clock once for many datagrams: an older reading refuses too many of them, never too few.
        """
        self.in_hand: Sequence[Event] = ()
        """What the latest commit of `receive` or `handle_deadline` revealed, for a caller that was interrupted before it had the result."""

    @property
    def floor_us(self) -> int:
        """Nothing of an unknown session at or below this is accepted, µs since 1970; never decreases (R12)."""
        return self._table.floor

    def accept_keys(self, keys: Keyring) -> None:
        """Accepts these keys from now on.

        Sessions of a retired key stay in the table (R12) and are refused. A session whose key number has another secret now must prove
        itself again: its next datagram is opened with the new secret.
        """
        self._keys = keys

    def is_ready(self, wall_us: int) -> bool:
        """Whether what is sent from now on is accepted: the clock has passed the boot floor (R10)."""
        return wall_us > self._table.boot_floor

    def take_over(self, wall_us: int) -> None:
        """Accepts only what is sent from now on, as a new incarnation would, and goes on with the books of this one (H2).

        For an address that this receiver did not hold for a while: another receiver may have accepted anything that was sent until now.
        Every session keeps its window and its account, so that what is refused from now on is known as lost.

        Args:
            wall_us: the wall clock, read after the address was taken over, µs since 1970.
        """
        floor = wall_us + self._future_us + round(self.options.clock_guard * 1e6)
        self._raise_to, self._unfinished = floor, True
        self._finish()

    def receive(self, datagram: bytes, now: float, wall_us: int) -> Sequence[Event]:
        """Decides on one datagram; returns its messages, once ever, and whatever else it reveals."""
        self.in_hand = ()  # a caller that brings the next datagram has seen the last result
        if self._unfinished:
            self._finish()
        events: list[Event] = []
        if wall_us < self._wall_us:
            events += self._alarm(ClockTrouble.STEPPED_BACK, None, (self._wall_us - wall_us) / 1e6, now)
        self._wall_us = wall_us
        header = read_header(datagram)
        if header is None:
            if self.on_refused is not None:
                self.on_refused(datagram, RefusalReason.MALFORMED, False)
            return events + self._refuse(RefusalReason.MALFORMED, None, now)
        _, kind, key_id, start_us, _, sequence, prior, sent_us, count, flags = header
        if sent_us > wall_us and self.read_again is not None:
            later_us = self.read_again()
            if later_us is None:
                return events
            self._wall_us = wall_us = later_us
        key = datagram[_SESSION]
        state = self._table.sessions.get(key)
        if state is not None and sequence == (window := state.window).highest + 1 and kind == _DATA:
            # The usual datagram passes R11.2 to R11.7 in one condition: it brings a session's next messages, nothing is missing between
            # its last ones and these, and no gap leaves the window. (The shard of a known session was checked when it was taken up.)
            # Any other, and one whose tag or body is wrong, is examined step by step below.
            account, seal = state.account, state.seal
            if (
                state.efloor < sent_us <= wall_us
                and sent_us >= start_us
                and sequence < state.gaps_leave_at
                and prior == account.end
                and prior + count <= MAX_MESSAGES
                and (flags == seal.flags or flags == seal.flags | FLAG_PADDED)
                and self._keys.get(key_id) is state.factory
                and (self._max_age_us is None or sent_us >= wall_us - self._max_age_us)
                and (body := seal.open(datagram)) is not None
                and (not flags & FLAG_PADDED or (body := strip_padding(body)) is not None)
                and (messages := unpack_messages(body, count)) is not None
            ):
                arrival = Arrival(state.session, sequence, sent_us, wall_us)
                for message in messages:
                    message.arrival = arrival
                found: Sequence[Event] = [*events, *messages] if events else messages
                unseen = window.unseen
                if unseen:
                    unseen = unseen << 1 & self._mask
                latest_us = sent_us if sent_us > state.max_sent_us else state.max_sent_us  # noqa: FURB136  a call costs twice as much
                books = self._books
                accepted, arrived = books.accepted + 1, books.datagrams_in + 1
                total, datagrams = account.accepted + count, state.datagrams + 1
                # Mark and deliver (R11.8, R11.9). One statement on one line: neither a signal handler nor a tracer comes in between.
                window.highest, window.unseen, account.end, account.accepted, state.max_sent_us, state.last_seen, state.datagrams, books.accepted, books.datagrams_in, self.in_hand = sequence, unseen, prior + count, total, latest_us, now, datagrams, accepted, arrived, found  # fmt: skip
                return found
        content = self._examine(datagram, header, key, state, wall_us)
        if isinstance(content, RefusalReason):
            if state is None:
                events += self._suspect(content, datagram, header, now, wall_us)
            if self.on_refused is not None:
                self.on_refused(datagram, content, state is not None)
            return events + self._refuse(content, state, now)
        # Everything is checked.
        session = Session(key, start_us) if state is None else state.session
        if sent_us > wall_us:
            events += self._alarm(ClockTrouble.NEGATIVE_DELAY, session, (sent_us - wall_us) / 1e6, now)
        if not isinstance(content, BeaconBody):
            arrival = Arrival(session, sequence, sent_us, wall_us)
            for message in content:
                message.arrival = arrival
        elif (
            kind == _BEACON
            and state is not None
            and sequence == state.window.highest + 1
            and sequence < state.gaps_leave_at
        ):
            self._commit_beacon(state, content, sequence, sent_us, now, events)
            return events
        return self._commit_draft(header, state, session, content, events, now)

    def next_deadline(self) -> float | None:
        """When `handle_deadline` should be called next, monotonic seconds; None when nothing waits."""
        deadline = self._books.next_deadline()
        for episodes in (self._refusals, self._alarms, self._overflows):
            other = episodes.next_deadline()
            if other is not None and (deadline is None or other < deadline):
                deadline = other
        return deadline

    def handle_deadline(self, now: float) -> Sequence[Event]:
        """Declares lost what has been missing for a grace, and reports what was kept quiet."""
        self.in_hand = ()
        self._finish()
        books, sessions = self._books, self._table.sessions
        events: list[Event] = []
        while (key := books.next_due(now)) is not None:
            state = sessions.get(key)
            if state is not None and state.gaps is not None:
                draft = state.copy()
                events = [*events, *books.settle(draft, now)]
                sessions[key], self.in_hand = draft, events
            books.end_turn(key, sessions.get(key), now)
        for (reason, session), count in self._refusals.due(now):
            events.append(DatagramRefused(reason, count, session))
        for (trouble, session), count in self._alarms.due(now):
            events.append(ClockAlarm(trouble, count, session, self._clock_seconds))
        for session, count in self._overflows.due(now):
            events.append(QueueOverflow(session, count))
        self.in_hand = events
        return events

    def overflowed(self, session: Session, count: int, now: float, kept: Sequence[Event] = ()) -> Sequence[Event]:
        """Books messages that were accepted and found the queue full (R14); `kept` are the events of their datagram that stay in hand."""
        report = self._overflows.note(session, now, count)
        trouble = [QueueOverflow(session, report)] if report else []
        rest = [*kept, *trouble]
        folded, account, own = self._books.share(self._table.sessions.get(session.key), count)
        booked, elsewhere = account.overflow + own, folded["overflow"] + count - own
        account.overflow, folded["overflow"], self.in_hand = booked, elsewhere, rest  # as in `receive`
        return trouble

    def discarded(self, key: bytes, count: int = 1) -> None:
        """Books messages of session `key` that were queued when the receiver was closed."""
        folded, account, own = self._books.share(self._table.sessions.get(key), count)
        # Nothing is called after this, so an interruption finds both this and the caller's next step done, or neither.
        account.discarded, folded["discarded"] = account.discarded + own, folded["discarded"] + count - own

    def unsynchronised(self, now: float) -> Sequence[Event]:
        """Reports that nothing keeps this host's clock right (R18)."""
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
        leaving = self._table.leaving
        sessions = [state for key, state in self._table.sessions.items() if key != leaving]
        return self._books.ledger(sessions, queued or {}, now, kernel_drops)

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
            # The keyring may have been changed since the session was proved.
            seal = state.seal if factory is state.factory else factory(key)
        if self._max_age_us is not None and sent_us < wall_us - self._max_age_us:
            return RefusalReason.EXPIRED
        if (flags ^ seal.flags) & FLAG_ENCRYPTED:
            return RefusalReason.MALFORMED
        body = seal.open(datagram)
        if body is None:
            return RefusalReason.AUTH_FAILED
        if state is None:
            self._proved = factory, seal
        elif factory is not state.factory:
            state.factory, state.seal = factory, seal
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
        if sent_us < start_us or prior + count > MAX_MESSAGES:
            return RefusalReason.INCONSISTENT
        if state is not None:
            ahead = sequence - state.window.highest
            if ahead == 1:  # neighbours: nothing fits between them
                return None if prior == state.account.end else RefusalReason.INCONSISTENT
            if not self._books.fits(state, sequence, prior, count):
                return RefusalReason.INCONSISTENT
            if ahead <= self._jump or key_id != NO_KEY:
                return None
            if state.claim is not None and self._confirms(state.claim, sequence, prior):
                return None
            state.claim = (sequence, prior + count)
            return RefusalReason.IMPLAUSIBLE
        if crowded(prior, sequence):
            return RefusalReason.INCONSISTENT
        # A session that began below the floor may be at any number; one that began above it begins at 0.
        if key_id != NO_KEY or start_us <= self._table.floor or sequence <= self._jump:
            return None
        claimed = self._claim
        if claimed is not None and claimed[0] == key and self._confirms(claimed[1:], sequence, prior):
            return None
        self._claim = (key, sequence, prior + count)
        return RefusalReason.IMPLAUSIBLE

    def _confirms(self, claim: tuple[int, int], sequence: int, prior: int) -> bool:
        """Whether a later datagram continues a claim, which is a sequence number and the end of its messages (R16)."""
        claimed_sequence, claimed_end = claim
        ahead = sequence - claimed_sequence
        return 0 < ahead <= self._jump and not crowded(prior - claimed_end, ahead - 1)

    def _commit_beacon(
        self, state: SessionState, beacon: BeaconBody, sequence: int, sent_us: int, now: float, events: list[Event]
    ) -> None:
        """R11.8 for a beacon that has its session's next number: it brings no messages and reveals no gap."""
        session, window, books = state.session, state.window, self._books
        # A report may be noted before its number is marked: noting it twice changes nothing.
        session.name, session.host, session.pid = beacon.name, beacon.host, beacon.pid
        books.report(state, beacon)
        unseen = window.unseen << 1 & self._mask
        latest_us = max(sent_us, state.max_sent_us)
        accepted, arrived, datagrams = books.accepted + 1, books.datagrams_in + 1, state.datagrams + 1
        # One statement on one line, as in `receive`.
        window.highest, window.unseen, state.max_sent_us, state.last_seen, state.datagrams, books.accepted, books.datagrams_in, self.in_hand = sequence, unseen, latest_us, now, datagrams, accepted, arrived, events  # fmt: skip

    def _commit_draft(
        self,
        header: Header,
        state: SessionState | None,
        session: Session,
        content: list[Message] | BeaconBody,
        events: list[Event],
        now: float,
    ) -> Sequence[Event]:
        """R11.8 and R11.9 where counting is not enough: everything is prepared on drafts, then committed in one statement."""
        sequence, prior, sent_us, count = header[5:9]
        books, table = self._books, self._table
        evicted: SessionState | None = None
        floor, folded = table.floor, books.folded
        gaps_before = 0 if state is None or state.gaps is None else len(state.gaps)
        if state is not None:
            draft = state.copy()
            events += books.book(draft, sequence, prior, count, now)
            draft.window.mark(sequence)
        else:
            # The newcomer gets the floor from before the eviction, or its own earlier datagrams would be refused.
            efloor = floor
            evicted = table.victim(now)
            if evicted is not None:
                gone = evicted.copy() if evicted.gaps is not None else evicted  # nothing missing, nothing to book
                gaps_before = 0 if gone.gaps is None else len(gone.gaps)
                events += books.lose_all(gone)
                folded, floor = books.fold(gone, now), table.fold(evicted)
                events.append(SessionEvicted(evicted.session, live=now - evicted.last_seen <= VICTIM_SILENCE))
            draft = self._take_up(header, session, efloor)
            events.append(SessionOpened(session, draft.account.origin))
            events += books.open(draft, sequence, prior, count, now)
        draft.last_seen = now
        draft.datagrams += 1
        draft.max_sent_us = max(draft.max_sent_us, sent_us)
        if isinstance(content, BeaconBody):
            self._note_report(draft, content, header, events)
        else:
            events += content
        draft.finish()
        books.settle_later(draft, now)
        leaving = None if evicted is None else evicted.session.key
        gone_before, accepted, arrived = (
            books.evicted + (evicted is not None),
            books.accepted + 1,
            books.datagrams_in + 1,
        )
        gap_total = books.gap_total - gaps_before + (0 if draft.gaps is None else len(draft.gaps))
        # One statement on one line: neither a signal handler nor a tracer comes in between.
        table.sessions[session.key], table.floor, table.leaving, books.folded, books.evicted, books.gap_total, books.accepted, books.datagrams_in, self._unfinished, self.in_hand = draft, floor, leaving, folded, gone_before, gap_total, accepted, arrived, evicted is not None, events  # fmt: skip
        self._finish()
        if state is None:
            table.note_newcomer(session)
        return events

    def _finish(self) -> None:
        """Does what the latest commit left to do; may be interrupted and done again."""
        if not self._unfinished:
            return
        table = self._table
        if table.leaving is not None:
            self._books.forget(table.leaving)
            table.sessions.pop(table.leaving, None)
            table.leaving = None
        if self._raise_to is not None:
            table.raise_floor(self._raise_to)
            self._raise_to = None
        self._unfinished = False

    def _take_up(self, header: Header, session: Session, efloor: int) -> SessionState:
        """A draft of a session that is unknown so far and has just proved itself."""
        _, start_us, _, sequence, prior = header[2:7]
        assert self._proved is not None
        exact = start_us > efloor
        draft = SessionState(session, self._proved, efloor, sequence, self.options.window, 0 if exact else prior)
        if exact:
            draft.first_sequence = 0
        return draft

    def _note_report(self, draft: SessionState, beacon: BeaconBody, header: Header, events: list[Event]) -> None:
        session = draft.session
        if header[5] == draft.window.highest or draft.report is None:
            session.name, session.host, session.pid = beacon.name, beacon.host, beacon.pid
            self._books.report(draft, beacon)
        if header[1] & 15 == Kind.GOODBYE and not draft.closed:
            draft.closed = True
            events.append(SessionClosed(session))

    def _refuse(self, reason: RefusalReason, state: SessionState | None, now: float) -> list[Event]:
        session = state.session if state is not None else None
        report = self._refusals.note((reason, session), now)
        self._books.refuse(reason, state)
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
        factory = keys.get(header[2])
        if factory is None:  # the keyring was changed just now
            return None
        body = factory(key).open(datagram)
        beacon = None if body is None else unpack_beacon(body)
        if beacon is None:
            return None
        session = Session(key, header[3])
        session.name, session.host, session.pid = beacon.name, beacon.host, beacon.pid
        if len(self._sessions) >= MAX_SUSPECTS:
            self._sessions.clear()
        self._sessions[key] = session
        return session
