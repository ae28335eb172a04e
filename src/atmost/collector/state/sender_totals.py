"""True counters from accounts in which what was lost is taken back, moves to another place, or is forgotten with its session.

An account says what is missing now; a counter says what has happened, and never falls. So each session's growth since the
last scrape is added to its sender's label, and losses are counted gross: what came late stays in them, and is counted as
late too. Whatever the place of a loss turns out to be later, their sum over the places, less `late`, is the account's `lost`.

Pure; not thread-safe. Memory: one entry a session that the receivers remember, and one a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from operator import sub
from typing import Final, NamedTuple

from atmost.collector.state.senders import SenderRow, staleness
from atmost.core.accounts import Account, Ledger, SessionLedger
from atmost.core.events import Place, Tail

OTHER: Final = "other"
"""Whoever has no label of its own: senders beyond the limit, those without a name yet, and sessions that are forgotten."""
QUEUE: Final = "receiver_queue"
_MAX_REASONS: Final = 64
"""Of drops, in the senders' own words; those of strangers beyond them are `other`."""
_SOCKET: Final = Place.SENDER_SOCKET.value
_FLIGHT: Final = Place.IN_FLIGHT.value
PLACES: Final = (_SOCKET, _FLIGHT, QUEUE)
"""Where a message can be lost."""


class Figures(NamedTuple):
    """What is counted, in messages; losses are gross."""

    delivered: int = 0
    late: int = 0
    queue: int = 0
    socket: int = 0
    flight: int = 0
    refused: int = 0
    """Datagrams."""


_NONE: Final = Figures()


class SenderTotals:
    """The totals by sender."""

    def __init__(self) -> None:
        """Starts with nothing."""
        self.dropped: Counter[tuple[str, str]] = Counter()
        """Messages dropped or refused at the sender, by label and reason."""
        self._totals: dict[str, Figures] = {OTHER: _NONE}
        self._gone = _NONE
        """What has been counted of sessions that are forgotten by now."""
        self._seen: dict[tuple[str, int, str], _Seen] = {}
        self._reasons: set[str] = set()
        self._named: dict[str, None] = {}

    @property
    def delivered(self) -> dict[str, int]:
        """Messages by label."""
        return {label: total.delivered for label, total in self._totals.items()}

    @property
    def late(self) -> dict[str, int]:
        """Messages that were lost and came after all, by label."""
        return {label: total.late for label, total in self._totals.items()}

    @property
    def lost(self) -> dict[tuple[str, str], int]:
        """Messages, those that came late among them, by label and place; every place is there from the first."""
        return {
            (label, place): count
            for label, total in self._totals.items()
            for place, count in zip(PLACES, (total.socket, total.flight, total.queue), strict=True)
        }

    def by_sender(self, figure: str) -> dict[str, int]:
        """One figure by label: `delivered`, `lost` at any place, `late` or `refused`."""
        if figure == "lost":
            return {label: total.socket + total.flight + total.queue for label, total in self._totals.items()}
        return {label: getattr(total, figure) for label, total in self._totals.items()}

    def observe(self, ledgers: Iterable[Ledger], rows: list[SenderRow], most: int) -> None:
        """Adds what has happened since the last look.

        Args:
            ledgers: of all receivers, at one moment.
            rows: their sessions, busiest first.
            most: senders that have a label of their own.
        """
        latest = _latest(rows)
        leaving = self._leaving(latest) if len(self._named) >= most else []
        before, self._seen = self._seen, {}
        remembered = []
        for row in rows:
            account = row.account
            key = (row.address, account.key_id, account.id)
            seen = self._seen[key] = before.pop(key) if key in before else _Seen()
            label = self._label(account.name, latest, leaving, most)
            figures = _figures(account)
            remembered.append(figures)
            if figures != seen.figures:
                if _fell(seen.figures, figures):  # forgotten and taken up again since: a new account
                    self._gone = _sum((self._gone, seen.figures))
                    seen.figures = _NONE
                seen.figures = self._add(label, seen.figures, figures)
            if account.sender_dropped or account.sender_refused:
                known = {**(account.sender_dropped or {}), **(account.sender_refused or {})}
                seen.dropped = self._drop(label, seen.dropped, known)
        self._gone = _sum([self._gone, *(seen.figures for seen in before.values())])
        # What forgotten sessions had after they were looked at last is in the receivers' totals only.
        forgotten = map(sub, _sum(map(_figures, ledgers)), _sum(remembered))
        self._gone = self._add(OTHER, self._gone, Figures(*forgotten))

    def label(self, name: str) -> str:
        """Under which label a sender is shown."""
        return name if name in self._named else OTHER

    def silent(self, rows: Iterable[SenderRow]) -> dict[str, int]:
        """By label, 1 for a sender of which no session is alive, and the one heard last ended without a goodbye; else 0.

        `other` is not among them: of many senders together nobody can say it.
        """
        return {name: int(one.tail is Tail.SILENT) for name, one in _latest(rows).items() if name in self._named}

    def _add(self, label: str, seen: Figures, figures: Figures) -> Figures:
        """Counts what has been added to an account; returns what has been counted of it by now."""
        grown = _growth(seen, figures)
        self._totals[label] = _sum((self._totals[label], grown))
        return _sum((seen, grown))

    def _drop(self, label: str, seen: Mapping[str, int], said: Mapping[str, int]) -> Mapping[str, int]:
        for reason, count in said.items():
            if reason not in self._reasons and len(self._reasons) < _MAX_REASONS:
                self._reasons.add(reason)
            shown = reason if reason in self._reasons else OTHER
            self.dropped[label, shown] += max(0, count - seen.get(reason, 0))
        return {reason: max(count, seen.get(reason, 0)) for reason, count in said.items()}

    def _leaving(self, latest: Mapping[str, SessionLedger]) -> list[str]:
        """Labels of senders that are not alive, the first to go last: forgotten ones, those with a goodbye, the longest silent."""

        def order(label: str) -> tuple[bool, bool, float]:
            one = latest.get(label)
            return (True, True, 0.0) if one is None else (False, one.tail is Tail.CLOSED, one.last_seen)

        return sorted((n for n in self._named if n not in latest or latest[n].tail is not Tail.ALIVE), key=order)

    def _label(self, name: str, latest: Mapping[str, SessionLedger], leaving: list[str], most: int) -> str:
        """The label of a sender: once given it is kept while the sender is alive, so that curves do not jump."""
        if name in self._named:
            return name
        if not name or name == OTHER or not most:
            return OTHER
        if len(self._named) >= most:
            if not leaving or (leaving[-1] in latest and latest[name].tail is not Tail.ALIVE):
                return OTHER
            self._forget(leaving.pop())
        self._named[name] = None
        self._totals[name] = _NONE
        return name

    def _forget(self, label: str) -> None:
        del self._named[label], self._totals[label]
        for key in [key for key in self.dropped if key[0] == label]:
            del self.dropped[key]


class _Seen:
    """What has been counted of one session."""

    __slots__ = ("dropped", "figures")

    def __init__(self) -> None:
        self.figures = _NONE
        self.dropped: Mapping[str, int] = {}


def _latest(rows: Iterable[SenderRow]) -> dict[str, SessionLedger]:
    """Of each sender the session that says how it is: one that is alive, else the one heard last."""
    latest: dict[str, SessionLedger] = {}
    for row in rows:
        one = row.account
        known = latest.get(one.name)
        if known is None or staleness(one) < staleness(known):
            latest[one.name] = one
    return latest


def _figures(account: Account) -> Figures:
    # What is of unknown place counts as lost in flight until a beacon says otherwise.
    socket = account.lost_by_place.get(_SOCKET) or 0
    return Figures(
        account.delivered,
        account.late,
        account.overflow,
        socket,
        account.lost - socket + account.late,
        sum(account.refused.values()),
    )


def _sum(every: Iterable[Figures]) -> Figures:
    return Figures(*map(sum, zip(_NONE, *every, strict=True)))


def _fell(seen: Figures, now: Figures) -> bool:
    """Whether an account has less of what can only grow."""
    exact = (
        now.delivered < seen.delivered or now.late < seen.late or now.queue < seen.queue or now.refused < seen.refused
    )
    return exact or now.socket + now.flight < seen.socket + seen.flight


def _growth(seen: Figures, now: Figures) -> Figures:
    """What is to be added so that nothing falls and the sums are right.

    Where a loss turned out to have been at another place, what was said before stands, and the next ones are counted there.
    """
    both = max(0, now.socket + now.flight - seen.socket - seen.flight)
    socket = min(both, max(0, now.socket - seen.socket))
    return Figures(
        delivered=max(0, now.delivered - seen.delivered),
        late=max(0, now.late - seen.late),
        queue=max(0, now.queue - seen.queue),
        socket=socket,
        flight=both - socket,
        refused=max(0, now.refused - seen.refused),
    )
