"""The sender table: rates between two readings of the ledgers, totals of all receivers, and warnings about clocks.

Pure; not thread-safe; the rows returned are new objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import ClockAlarm, ClockTrouble, RefusalReason, Tail

_MAX_WARNINGS: Final = 1024
_CLOCKS: Final = {
    ClockTrouble.NEGATIVE_DELAY: "its clock is {seconds:.3g} s ahead of this host's",
    ClockTrouble.STEPPED_BACK: "this host's clock was set back by {seconds:.3g} s",
    ClockTrouble.UNSYNCHRONISED: "nothing keeps this host's clock right: run chrony, systemd-timesyncd or ntpd",
}
_CLOCK_REASONS: Final = (RefusalReason.FUTURE, RefusalReason.BELOW_FLOOR, RefusalReason.BOOT_QUARANTINE)


class SenderRow(NamedTuple):
    """A session's account, with what only the collector can say about it."""

    account: SessionLedger
    rate: float
    """Messages a second, between the last two readings."""
    clock_warning: str | None
    address: str
    """The receiver's address."""


class SenderTable:
    """The latest ledgers of the receivers, with rates and warnings."""

    def __init__(self, now: float) -> None:
        """Args: now: monotonic (seconds)."""
        self.ledgers: dict[str, Ledger] = {}
        """By the receiver's address."""
        self.rate = 0.0
        """Messages a second, of all senders."""
        self.clock_warnings: dict[ClockTrouble, str] = {}
        """Warnings about this host's clock."""
        self._looked = now
        self._delivered: dict[tuple[int, str], int] = {}
        self._total = 0
        self._rates: dict[tuple[int, str], float] = {}
        self._warnings: dict[tuple[int, str], str] = {}

    def observe(self, ledgers: dict[str, Ledger], now: float) -> None:
        """Takes the ledgers of this moment.

        Args:
            ledgers: by address.
            now: monotonic, seconds.
        """
        elapsed = max(now - self._looked, 1e-6)
        self._looked = now
        before, self._delivered, self._rates = self._delivered, {}, {}
        for ledger in ledgers.values():
            for account in ledger.sessions:
                key = (account.key_id, account.id)
                delivered = account.delivered
                self._delivered[key] = delivered
                self._rates[key] = max(0.0, (delivered - before.get(key, 0)) / elapsed)
        total = sum(ledger.delivered for ledger in ledgers.values())
        self.rate = max(0.0, (total - self._total) / elapsed)
        self._total = total
        self.ledgers = ledgers
        self._warnings = {key: text for key, text in self._warnings.items() if key in self._delivered}

    def alarm(self, alarm: ClockAlarm) -> None:
        """Takes a receiver's alarm about a clock."""
        form = _CLOCKS.get(alarm.trouble)
        if form is None:  # about a sender that was never accepted: `RefusedSenders` handles it
            return
        text = form.format(seconds=alarm.seconds)
        if alarm.session is None:
            self.clock_warnings[alarm.trouble] = text
        elif len(self._warnings) < _MAX_WARNINGS:
            self._warnings[alarm.session.key_id, alarm.session.id] = text

    def rows(self) -> list[SenderRow]:
        """Every session, busiest first."""
        rows = [
            SenderRow(account, self._rates.get((account.key_id, account.id), 0.0), self._warning(account), address)
            for address, ledger in self.ledgers.items()
            for account in ledger.sessions
        ]
        rows.sort(key=lambda row: (-row.rate, -row.account.delivered, row.account.name, row.account.id))
        return rows

    def _warning(self, account: SessionLedger) -> str | None:
        known = self._warnings.get((account.key_id, account.id))
        if known is None and (refused := sum(account.refused.get(reason, 0) for reason in _CLOCK_REASONS)):
            return f"{refused} of its datagrams were refused for its clock; compare that host's clock with this one's"
        return known


def by_sender(rows: Iterable[SenderRow]) -> dict[tuple[int, str], list[SenderRow]]:
    """Groups sessions by sender: one name under one key is one sender; a session without a name stands alone."""
    found: dict[tuple[int, str], list[SenderRow]] = {}
    for row in rows:
        found.setdefault((row.account.key_id, row.account.name or f"\0{row.account.id}"), []).append(row)
    return found


def staleness(one: SessionLedger) -> tuple[bool, float]:
    """A sort key for the sessions of a sender: sessions alive first, then the one heard last."""
    return one.tail is not Tail.ALIVE, one.last_seen


def totals(ledgers: dict[str, Ledger]) -> Totals:
    """The sums over all receivers."""
    refused: Counter[str] = Counter()
    places: dict[str, int | None] = {}
    sums: Counter[str] = Counter()
    for ledger in ledgers.values():
        refused.update(ledger.refused)
        for place, count in ledger.lost_by_place.items():
            known = places.get(place)
            places[place] = known if count is None else (known or 0) + count
        for name in ("delivered", "lost", "overflow", "late", "pending", "tail_unknown"):
            sums[name] += getattr(ledger, name)
    alive = sum(account.tail is not Tail.CLOSED for ledger in ledgers.values() for account in ledger.sessions)
    return Totals(alive, dict(sums), places, dict(refused))


class Totals(NamedTuple):
    """Sums over all receivers, in messages; `refused` in datagrams."""

    senders: int
    """Sessions that have not said goodbye."""
    sums: dict[str, int]
    lost_by_place: dict[str, int | None]
    refused: dict[str, int]
