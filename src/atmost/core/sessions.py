"""The sessions a receiver remembers, and the floor under everything it has forgotten (R10–R12).

Nothing leaves the table except through `_fold`, which raises the floor to the greatest `sent_us` of what is forgotten.
Therefore any datagram of a forgotten session is at or below the floor, and no unknown session is taken up from there.
After Liskov, Shrira and Wroclawski 1991; the victim's choice is ours and does not matter for safety.
"""

from __future__ import annotations

from atmost.core.accounts import SessionAccount, SessionLedger
from atmost.core.datagram import BeaconBody
from atmost.core.events import Session, Tail
from atmost.core.gaps import Gaps
from atmost.core.limits import SILENT_INTERVALS, VICTIM_DATAGRAMS, VICTIM_SILENCE
from atmost.core.seal import Seal
from atmost.core.window import ReplayWindow

_VICTIMS_PER_SCAN = 16
"""One scan of the table names a sixteenth of it as the next victims, so that a flood costs O(log N) an eviction."""


class SessionState:
    """What is remembered of one session; about 1 KB (`benchmarks/sessions.py`)."""

    __slots__ = (
        "account",
        "claim",
        "closed",
        "datagrams",
        "efloor",
        "first_sequence",
        "gaps",
        "last_seen",
        "max_sent_us",
        "report",
        "seal",
        "session",
        "window",
    )

    def __init__(self, session: Session, seal: Seal, efloor: int, sequence: int, width: int, origin: int) -> None:
        """Takes up a session.

        Args:
            session: its identity as users see it.
            seal: opens its datagrams.
            efloor: the floor when it was taken up, µs (R11.8); nothing at or below it is ever accepted.
            sequence: the first datagram number accepted.
            width: W, datagrams.
            origin: O, messages.
        """
        self.session = session
        self.seal = seal
        self.efloor = efloor
        self.window = ReplayWindow(sequence, width)
        self.account = SessionAccount(origin)
        self.gaps: Gaps | None = None
        self.first_sequence = sequence
        self.max_sent_us = 0
        self.last_seen = 0.0
        self.datagrams = 0
        self.report: BeaconBody | None = None
        self.closed = False
        self.claim: tuple[int, int] | None = None

    def tail(self, now: float) -> Tail:
        """What is known of the session's end (R21); without any beacon its announced interval counts as one second."""
        if self.closed:
            return Tail.CLOSED
        interval = self.report.next if self.report is not None else 1.0
        return Tail.SILENT if now - self.last_seen > SILENT_INTERVALS * interval else Tail.ALIVE

    def refused_at_sender(self) -> int:
        """Messages the sender's socket refused, as its last beacon says."""
        return sum(self.report.refused.values()) if self.report is not None else 0

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
            sender_offered=report.offered if report else 0,
            sender_dropped=dict(report.dropped) if report else {},
            sender_refused=dict(report.refused) if report else {},
            **self.account.figures(queued, self.refused_at_sender()),
        )


class SessionTable:
    """At most `size` sessions by their 18 bytes of identity, and the floor."""

    __slots__ = ("_size", "_victims", "boot_floor", "floor", "sessions")

    def __init__(self, size: int, floor: int) -> None:
        """Args: size: N, at least 1. floor: the boot floor, µs since 1970."""
        self._size = size
        self.boot_floor = floor
        self.floor = floor
        self.sessions: dict[bytes, SessionState] = {}
        self._victims: list[tuple[int, int, bytes]] = []

    def make_room(self, now: float) -> SessionState | None:
        """Evicts one session when the table is full, folds it into the floor and returns it."""
        if len(self.sessions) < self._size:
            return None
        return self._fold(self._victim(now))

    def raise_floor(self, floor: int) -> None:
        """Makes the table that of a new incarnation: of no session anything at or below `floor` is accepted, µs since 1970."""
        self.boot_floor = self.floor = max(self.floor, floor)
        for state in self.sessions.values():
            state.efloor = max(state.efloor, floor)

    def _fold(self, key: bytes) -> SessionState:
        evicted = self.sessions.pop(key)
        self.floor = max(self.floor, evicted.max_sent_us)
        return evicted

    def _victim(self, now: float) -> bytes:
        """The session whose loss matters least (R11.8); exact below 32 sessions, else by the latest scan that still holds."""
        while self._victims:
            _, datagrams, key = self._victims.pop()
            state = self.sessions.get(key)
            if state is not None and state.datagrams == datagrams:
                return key
        self._victims = self._scan(now)
        return self._victims.pop()[2]

    def _scan(self, now: float) -> list[tuple[int, int, bytes]]:
        sessions = self.sessions.items()
        silent = [(s.max_sent_us, s.datagrams, k) for k, s in sessions if now - s.last_seen > VICTIM_SILENCE]
        few = [] if silent else [(s.max_sent_us, s.datagrams, k) for k, s in sessions if s.datagrams < VICTIM_DATAGRAMS]
        candidates = silent or few or [(s.max_sent_us, s.datagrams, k) for k, s in sessions]
        candidates.sort(reverse=True)
        return candidates[-max(1, self._size // _VICTIMS_PER_SCAN) :]
