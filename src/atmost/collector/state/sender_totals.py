"""Counters that never fall, made from accounts whose losses may be taken back, change place, or vanish with their session.

An account says what is missing now; a counter says what has happened. So the growth of each session since the last call is
added to its sender's label, and losses are counted gross: a message that came late stays in them, and counts as late too.
A loss may later turn out to be at another place, but the sum over the places, less `late`, is always the account's `lost`.

Pure; not thread-safe. Memory: one entry for each session that the receivers remember, and one for each label.
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
"""The shared label: for senders beyond the limit, senders without a name yet, and forgotten sessions."""
QUEUE: Final = "receiver_queue"
_MAX_REASONS: Final = 64
"""Different reasons for drops, in the senders' own words; further ones count as `other`."""
_SOCKET: Final = Place.SENDER_SOCKET.value
_FLIGHT: Final = Place.IN_FLIGHT.value
PLACES: Final = (_SOCKET, _FLIGHT, QUEUE)
"""Where a message can be lost."""


class Figures(NamedTuple):
    """The figures counted, in messages; losses are gross."""

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
        """The figures counted for sessions that have been forgotten."""
        self._seen: dict[tuple[str, int, str], _Seen] = {}
        self._reasons: set[str] = set()
        self._named: dict[str, None] = {}

    @property
    def delivered(self) -> dict[str, int]:
        """Messages by label."""
        return {label: total.delivered for label, total in self._totals.items()}

    @property
    def late(self) -> dict[str, int]:
        """Messages counted as lost that came after all, by label."""
        return {label: total.late for label, total in self._totals.items()}

    @property
    def lost(self) -> dict[tuple[str, str], int]:
        """Messages lost, including those that came late, by label and place; every place is present from the start."""
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
        """Adds what has happened since the last call.

        Args:
            ledgers: of all receivers, at one moment.
            rows: their sessions, busiest first.
            most: how many senders may have their own label.
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
                if _fell(seen.figures, figures):  # forgotten and begun again since: a new account
                    self._gone = _sum((self._gone, seen.figures))
                    seen.figures = _NONE
                seen.figures = self._add(label, seen.figures, figures)
            if account.sender_dropped or account.sender_refused:
                known = {**(account.sender_dropped or {}), **(account.sender_refused or {})}
                seen.dropped = self._drop(label, seen.dropped, known)
        self._gone = _sum([self._gone, *(seen.figures for seen in before.values())])
        # What forgotten sessions did after the last call is only in the receivers' totals.
        forgotten = map(sub, _sum(map(_figures, ledgers)), _sum(remembered))
        self._gone = self._add(OTHER, self._gone, Figures(*forgotten))

    def label(self, name: str) -> str:
        """The label under which a sender is shown."""
        return name if name in self._named else OTHER

    def silent(self, rows: Iterable[SenderRow]) -> dict[str, int]:
        """By label: 1 while no session is alive and the one heard last ended without a goodbye, else 0.

        `other` is absent, because it stands for many senders.
        """
        return {name: int(one.tail is Tail.SILENT) for name, one in _latest(rows).items() if name in self._named}

    def _add(self, label: str, seen: Figures, figures: Figures) -> Figures:
        """Counts the growth of an account; returns all that has been counted of it so far."""
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
        """Labels of senders that are not alive, from the last to go to the first: silent, then closed, then forgotten ones."""

        def order(label: str) -> tuple[bool, bool, float]:
            one = latest.get(label)
            return (True, True, 0.0) if one is None else (False, one.tail is Tail.CLOSED, one.last_seen)

        return sorted((n for n in self._named if n not in latest or latest[n].tail is not Tail.ALIVE), key=order)

    def _label(self, name: str, latest: Mapping[str, SessionLedger], leaving: list[str], most: int) -> str:
        """The label of a sender, kept while the sender is alive, so that curves do not jump."""
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
    """The figures counted for one session."""

    __slots__ = ("dropped", "figures")

    def __init__(self) -> None:
        self.figures = _NONE
        self.dropped: Mapping[str, int] = {}


def _latest(rows: Iterable[SenderRow]) -> dict[str, SessionLedger]:
    """The session that represents each sender: one that is alive, else the one heard last."""
    latest: dict[str, SessionLedger] = {}
    for row in rows:
        one = row.account
        known = latest.get(one.name)
        if known is None or staleness(one) < staleness(known):
            latest[one.name] = one
    return latest


def _figures(account: Account) -> Figures:
    # A loss of unknown place counts as lost in flight until a beacon says otherwise.
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
    """Whether a figure that can only grow has fallen."""
    exact = (
        now.delivered < seen.delivered or now.late < seen.late or now.queue < seen.queue or now.refused < seen.refused
    )
    return exact or now.socket + now.flight < seen.socket + seen.flight


def _growth(seen: Figures, now: Figures) -> Figures:
    """What to add so that no counter falls and the sums are right.

    If a loss turns out to have been at another place, its count stays where it is, and later losses are counted there instead.
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
