"""True counters from accounts in which what was lost is taken back, moves to another place, or is forgotten with its session.

An account says what is missing now; a counter says what has happened, and never falls. So each session's growth since the
last scrape is added to its sender's label, and losses are counted gross: what came late stays in them, and is counted as
late too. Whatever the place of a loss turns out to be later, their sum over the places, less `late`, is the account's `lost`.

Pure; not thread-safe. Memory: one entry a session that the receivers remember, and one a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from atmost.collector.state.senders import SenderRow
from atmost.core.events import Place, Tail
from atmost.core.ledger import Account, Ledger

OTHER: Final = "other"
"""Whoever has no label of its own: senders beyond the limit, those without a name yet, and sessions that are forgotten."""
QUEUE: Final = "receiver_queue"
PLACES: Final = (Place.SENDER_SOCKET.value, Place.IN_FLIGHT.value, QUEUE)
"""Where a message can be lost."""
_DELIVERED: Final = "delivered"
_LATE: Final = "late"
_EXACT: Final = (_DELIVERED, _LATE, QUEUE)
"""Figures that only grow, and stay what they are."""


class SenderTotals:
    """The totals by sender."""

    def __init__(self) -> None:
        """Starts with nothing."""
        self.dropped: Counter[tuple[str, str]] = Counter()
        """Messages dropped or refused at the sender, by label and reason."""
        self._totals: dict[str, Counter[str]] = {OTHER: Counter()}
        self._gone: Counter[str] = Counter()
        """What has been counted of sessions that are forgotten by now."""
        self._seen: dict[tuple[str, int, str], _Seen] = {}
        self._named: dict[str, None] = {}

    @property
    def delivered(self) -> dict[str, int]:
        """Messages by label."""
        return {label: total[_DELIVERED] for label, total in self._totals.items()}

    @property
    def late(self) -> dict[str, int]:
        """Messages that were lost and came after all, by label."""
        return {label: total[_LATE] for label, total in self._totals.items()}

    @property
    def lost(self) -> dict[tuple[str, str], int]:
        """Messages, those that came late among them, by label and place; every place is there from the first."""
        return {(label, place): total[place] for label, total in self._totals.items() for place in PLACES}

    def look(self, ledgers: Iterable[Ledger], rows: list[SenderRow], most: int) -> None:
        """Adds what has happened since the last look.

        Args:
            ledgers: of all receivers, at one moment.
            rows: their sessions, busiest first.
            most: senders that have a label of their own.
        """
        present = {row.account.name for row in rows}
        before, self._seen = self._seen, {}
        forgotten = _figures(ledgers)
        for row in rows:
            account, figures = row.account, _figures([row.account])
            forgotten.subtract(figures)
            key = (row.address, account.key_id, account.id)
            seen = self._seen[key] = before.pop(key) if key in before else _Seen()
            if _fell(seen.figures, figures):  # forgotten and taken up again since: a new account
                self._gone.update(seen.figures)
                seen.figures = Counter()
            label = self._label(account.name, present, most)
            self._add(label, seen.figures, figures)
            for reason, count in {**account.sender_dropped, **account.sender_refused}.items():
                grown = max(0, count - seen.dropped[reason])
                seen.dropped[reason] += grown
                self.dropped[label, reason] += grown
        for seen in before.values():
            self._gone.update(seen.figures)
        # What forgotten sessions had after they were looked at last is in the receivers' totals only.
        self._add(OTHER, self._gone, forgotten)

    def label(self, name: str) -> str:
        """Under which label a sender is shown."""
        return name if name in self._named else OTHER

    def silent(self, rows: Iterable[SenderRow]) -> dict[str, int]:
        """By label, 1 for a sender of which no session is alive, and the one heard last ended without a goodbye; else 0.

        `other` is not among them: of many senders together nobody can say it.
        """
        alive: set[str] = set()
        last: dict[str, SenderRow] = {}
        for row in rows:
            name, account = row.account.name, row.account
            if name not in self._named:
                continue
            if account.tail is Tail.ALIVE:
                alive.add(name)
            if name not in last or account.last_seen < last[name].account.last_seen:
                last[name] = row
        return {name: int(name not in alive and row.account.tail is Tail.SILENT) for name, row in last.items()}

    def _add(self, label: str, seen: Counter[str], figures: Mapping[str, int]) -> None:
        grown = _growth(seen, figures)
        seen.update(grown)
        self._totals[label].update(grown)

    def _label(self, name: str, present: set[str], most: int) -> str:
        """The label of a sender: once given it is kept while the sender is there, so that curves do not jump."""
        if name in self._named:
            return name
        if not name or name == OTHER or not most:
            return OTHER
        if len(self._named) >= most:
            gone = next((known for known in self._named if known not in present), None)
            if gone is None:
                return OTHER
            self._forget(gone)
        self._named[name] = None
        self._totals[name] = Counter()
        return name

    def _forget(self, label: str) -> None:
        del self._named[label], self._totals[label]
        for key in [key for key in self.dropped if key[0] == label]:
            del self.dropped[key]


class _Seen:
    """What has been counted of one session."""

    __slots__ = ("dropped", "figures")

    def __init__(self) -> None:
        self.figures: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()


def _figures(accounts: Iterable[Account]) -> Counter[str]:
    """What accounts say, with losses gross."""
    found: Counter[str] = Counter()
    for account in accounts:
        found.update(account.lost_by_place)
        found[Place.IN_FLIGHT.value] += account.late
        found[QUEUE] += account.overflow
        found[_DELIVERED] += account.delivered
        found[_LATE] += account.late
    return found


def _fell(seen: Mapping[str, int], figures: Mapping[str, int]) -> bool:
    """Whether an account has less of what can only grow."""
    socket, flight, _ = PLACES
    exact = any(figures[name] < seen[name] for name in _EXACT)
    return exact or figures[socket] + figures[flight] < seen[socket] + seen[flight]


def _growth(seen: Mapping[str, int], figures: Mapping[str, int]) -> dict[str, int]:
    """What is to be added so that nothing falls and the sums are right.

    Where a loss turned out to have been at another place, what was said before stands, and the next ones are counted there.
    """
    grown = {name: max(0, figures[name] - seen[name]) for name in _EXACT}
    socket, flight, _ = PLACES
    both = max(0, figures[socket] + figures[flight] - seen[socket] - seen[flight])
    grown[socket] = min(both, max(0, figures[socket] - seen[socket]))
    grown[flight] = both - grown[socket]
    return grown
