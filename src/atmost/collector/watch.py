"""Turns successive ledgers into one row a sender: rates since the last look beside the totals.

Pure: ledgers and `now` in, rows out.
"""

from __future__ import annotations

from dataclasses import dataclass

from atmost.core.ledger import Ledger, SessionLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderRow:
    """One session as the table shows it; counts are messages, except `duplicates_refused`."""

    sender: str
    host: str
    pid: int
    session: str
    tail: str
    rate: float
    """Messages a second since the last look."""
    delivered: int
    lost: int
    late: int
    pending: int
    duplicates_refused: int
    """Datagrams."""
    last_seen: float
    """Seconds since the last accepted datagram."""


class Watch:
    """Remembers the last look, to tell rates."""

    def __init__(self, now: float) -> None:
        """Args: now: monotonic, seconds."""
        self._looked = now
        self._delivered: dict[str, int] = {}

    def look(self, ledger: Ledger, now: float) -> list[SenderRow]:
        """The senders, busiest first.

        Args:
            ledger: the account now.
            now: monotonic, seconds.
        """
        elapsed = max(now - self._looked, 1e-6)
        rows = [self._row(session, elapsed) for session in ledger.sessions]
        self._looked = now
        self._delivered = {session.id: session.delivered for session in ledger.sessions}
        return sorted(rows, key=lambda row: (-row.rate, -row.delivered, row.sender))

    def _row(self, session: SessionLedger, elapsed: float) -> SenderRow:
        return SenderRow(
            sender=session.name,
            host=session.host,
            pid=session.pid,
            session=session.id,
            tail=session.tail.value,
            rate=(session.delivered - self._delivered.get(session.id, 0)) / elapsed,
            delivered=session.delivered,
            lost=session.lost,
            late=session.late,
            pending=session.pending,
            duplicates_refused=session.refused.get("duplicate", 0),
            last_seen=session.last_seen,
        )
