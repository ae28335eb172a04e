"""The sessions a receiver remembers, and the floor under everything it has forgotten (R10–R12).

A session leaves the table only when another needs its place, and the floor rises to the greatest `sent_us` of what is forgotten.
Therefore any datagram of a forgotten session is at or below the floor, and no unknown session is taken up from there.
After Liskov, Shrira and Wroclawski 1991; which session is forgotten is our choice and does not matter for safety.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from atmost.core.accounts import SessionAccount, SessionLedger
from atmost.core.datagram import BeaconBody
from atmost.core.events import Session, Tail
from atmost.core.gaps import Gaps
from atmost.core.limits import SILENT_INTERVALS, VICTIM_DATAGRAMS, VICTIM_SILENCE
from atmost.core.seal import Seal, SealFactory
from atmost.core.window import ReplayWindow

_VICTIMS_PER_SCAN: Final = 16
"""One scan of the table lists a sixteenth of it as the next victims, so that it need not be scanned at each eviction."""
NO_GAP: Final = 1 << 65
"""Above every sequence number."""


class SessionState:
    """What is remembered of one session; about 1 KB (`benchmarks/sessions.py`)."""

    __slots__ = (
        "account",
        "claim",
        "closed",
        "datagrams",
        "efloor",
        "factory",
        "first_sequence",
        "gaps",
        "gaps_leave_at",
        "last_seen",
        "max_sent_us",
        "report",
        "seal",
        "session",
        "window",
    )

    def __init__(
        self,
        session: Session,
        seal: tuple[SealFactory, Seal],
        efloor: int,
        sequence: int,
        width: int,
        origin: int,
    ) -> None:
        """Takes up a session.

        Args:
            session: its identity as users see it.
            seal: opens its datagrams, and the key's factory that made it: the epoch of the keyring in which the session was proved.
            efloor: the floor when it was taken up, µs (R11.8); nothing at or below it is ever accepted.
            sequence: the first datagram number accepted.
            width: W, datagrams.
            origin: O, messages.
        """
        self.session = session
        self.factory, self.seal = seal
        self.efloor = efloor
        self.window = ReplayWindow(sequence, width)
        self.account = SessionAccount(origin)
        self.gaps: Gaps | None = None
        self.gaps_leave_at = NO_GAP
        """The sequence number at which the oldest gap leaves the window."""
        self.first_sequence = sequence
        self.max_sent_us = 0
        self.last_seen = 0.0
        self.datagrams = 0
        self.report: BeaconBody | None = None
        self.closed = False
        self.claim: tuple[int, int] | None = None

    def copy(self) -> SessionState:
        """A draft: what the booking changes is its own, and put into the table it replaces this state at once."""
        draft = SessionState.__new__(SessionState)
        draft.claim = self.claim
        draft.closed = self.closed
        draft.datagrams = self.datagrams
        draft.efloor = self.efloor
        draft.factory = self.factory
        draft.first_sequence = self.first_sequence
        draft.gaps_leave_at = self.gaps_leave_at
        draft.last_seen = self.last_seen
        draft.max_sent_us = self.max_sent_us
        draft.report = self.report
        draft.seal = self.seal
        draft.session = self.session
        draft.window = self.window.copy()
        draft.account = self.account.copy()
        draft.gaps = None if self.gaps is None else self.gaps.copy()
        return draft

    def finish(self) -> SessionState:
        """Ends the work on a draft: what depends on its gaps is put right."""
        if self.gaps is not None and not len(self.gaps):
            self.gaps = None
        self.gaps_leave_at = NO_GAP if self.gaps is None else self.gaps.lowest().last + self.window.width
        return self

    def tail(self, now: float) -> Tail:
        """What is known of the session's end (R21); without any beacon its announced interval counts as one second."""
        if self.closed:
            return Tail.CLOSED
        interval = self.report.next if self.report is not None else 1.0
        return Tail.SILENT if now - self.last_seen > SILENT_INTERVALS * interval else Tail.ALIVE

    def refused_at_sender(self) -> int | None:
        """Messages that the sender's socket refused, as its last beacon says; None before any beacon."""
        return None if self.report is None else sum(self.report.refused.values())

    def ledger(self, now: float, queued: int) -> SessionLedger:
        """The account as users see it."""
        tail = self.tail(now)
        session, report = self.session, self.report
        return SessionLedger(
            id=session.id,
            name=session.name,
            host=session.host,
            pid=session.pid,
            key_id=session.key_id,
            tail=tail,
            tail_unknown=int(tail is Tail.SILENT),
            sent=self.account.end,
            datagrams=self.datagrams,
            last_seen=now - self.last_seen,
            sender_offered=None if report is None else report.offered,
            sender_dropped=None if report is None else dict(report.dropped),
            sender_refused=None if report is None else dict(report.refused),
            **self.account.figures(queued, self.refused_at_sender()),
        )


class SessionTable:
    """At most `size` sessions by their 18 bytes of identity, and the floor.

    Who makes room (R11.8) is decided by the receiver's own clock and by order of arrival, never by a stamp that a sender chooses:

    1. of those silent for more than a minute the one unheard for longest;
    2. else of those with fewer than three datagrams the one that came last: a flood of newcomers evicts itself;
    3. else the one unheard for longest.

    Both orders are kept lazily. `_newcomers` is a stack; entries that are established or gone are dropped when they come up.
    `_unheard` is the end of a sorted scan; an entry that was heard since is dropped, and the others are still in order, because nobody
    becomes older than those that were not heard. Until `_silent_from` nobody can have been silent for a minute, so there is nothing to scan.
    """

    __slots__ = ("_newcomers", "_silent_from", "_unheard", "boot_floor", "floor", "leaving", "sessions", "size")

    def __init__(self, size: int, floor: int) -> None:
        """Args: size: N, at least 1. floor: the boot floor, µs since 1970."""
        self.size = size
        self.boot_floor = floor
        self.floor = floor
        self.sessions: dict[bytes, SessionState] = {}
        self.leaving: bytes | None = None
        """A session whose account is folded already: to be deleted before anything else is done."""
        self._newcomers: list[Session] = []
        self._unheard: list[tuple[float, Session]] = []
        self._silent_from = float("-inf")

    def victim(self, now: float) -> SessionState | None:
        """Chooses who makes room for a newcomer; None while there is room. Changes nothing but how it will be found the next time."""
        if len(self.sessions) < self.size:
            return None
        if now > self._silent_from:
            longest = self._longest_unheard()
            self._silent_from = longest.last_seen + VICTIM_SILENCE
            if now > self._silent_from:
                return longest
        while self._newcomers:
            session = self._newcomers[-1]
            state = self.sessions.get(session.key)
            if state is not None and state.session is session and state.datagrams < VICTIM_DATAGRAMS:
                return state
            self._newcomers.pop()
        return self._longest_unheard()

    def note_newcomer(self, session: Session) -> None:
        """Remembers who came last."""
        if len(self._newcomers) >= 2 * self.size:
            self._newcomers = [state.session for state in self.sessions.values() if state.datagrams < VICTIM_DATAGRAMS]
        self._newcomers.append(session)

    def fold(self, evicted: SessionState) -> int:
        """The floor when this session is forgotten, µs; it never decreases (R12)."""
        return max(self.floor, evicted.max_sent_us)

    def raise_floor(self, floor: int) -> None:
        """Makes the table that of a new incarnation: of no session anything at or below `floor` is accepted, µs since 1970."""
        self.boot_floor = self.floor = max(self.floor, floor)
        for state in self.sessions.values():
            state.efloor = max(state.efloor, floor)

    def _longest_unheard(self) -> SessionState:
        while True:
            while self._unheard:
                last_seen, session = self._unheard[-1]
                state = self.sessions.get(session.key)
                if state is not None and state.session is session and state.last_seen == last_seen:
                    return state
                self._unheard.pop()
            self._unheard = self._scan()

    def _scan(self) -> list[tuple[float, Session]]:
        heard = sorted(
            ((state.last_seen, state.session) for state in self.sessions.values()), key=itemgetter(0), reverse=True
        )
        return heard[-max(1, self.size // _VICTIMS_PER_SCAN) :]
