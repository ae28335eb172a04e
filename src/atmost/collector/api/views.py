"""Makes the answers of the interface: copies the state under the lock, and renders without it.

Safe from any thread.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
import psutil

import atmost
from atmost.collector.api import shapes
from atmost.collector.state.flow import Minute
from atmost.collector.state.heartbeats import BoardRow
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.listing import SeriesList, listed
from atmost.collector.state.logtail import LogFilter, Page, look_up
from atmost.collector.state.records import Entry
from atmost.collector.state.rejected import Sample
from atmost.collector.state.senders import SenderRow, by_sender, staleness, totals
from atmost.collector.state.series import QueryAnswer, Question, ask, snapshot
from atmost.collector.state.state import CollectorState
from atmost.core.accounts import Ledger, MergedLedger
from atmost.core.events import Tail
from atmost.core.names import harmless

Clock = Callable[[], float]
_MOST_REFUSED: Final = 50
"""Most rows of never accepted senders in one answer."""
MAX_ANSWER: Final = 4 << 20
"""Bytes of log entries in one answer."""
_ESCAPED: Final = 6
"""Bytes that JSON may need for one character."""
_encode: Final = msgspec.json.Encoder().encode
_SUMMED: Final = ("sent", "delivered", "late", "pending", "before_join", "sender_offered")
"""Figures summed over the sessions of a sender."""
_LEDGER_FIELDS: Final = tuple(
    name for name in shapes.ReceiverLedger.__struct_fields__ if name not in {"address", "balanced", "unknown"}
)


class Views:
    """The answers of the interface, one method for each."""

    def __init__(self, state: CollectorState, now: Clock, mono: Clock = time.monotonic) -> None:
        """Args: state: read under its lock. now: seconds since 1970 that never step back. mono: monotonic (seconds)."""
        self.state = state
        self.now = now
        self.mono = mono
        self._host = socket.gethostname()
        self._process = _this_process()

    def overview(self) -> shapes.Overview:
        """The collector at a glance."""
        state = self.state
        memory = None if self._process is None else self._process.memory_info().rss
        with state.lock:
            now, mono = self.now(), self.mono()
            ledgers = dict(state.senders.ledgers)
            rate, alive, limits = state.senders.rate, state.heartbeats.alive(mono), state.limits()
            warnings = [*state.warnings.values(), *state.senders.clock_warnings.values()]
            foreign = [_foreign(stats) for stats in state.listeners]
            minute, refused_senders = state.flow.minute_of_all(now), len(state.refused)
        sums = totals(ledgers)
        lost = sums.sums.get("lost", 0) + sums.sums.get("overflow", 0)
        listeners = [_ours(address, ledger) for address, ledger in ledgers.items()] + foreign
        return shapes.Overview(
            now=now,
            started=state.started,
            version=atmost.__version__,
            host=self._host,
            listeners=listeners,
            totals=shapes.Totals(
                senders=sums.senders,
                delivered=sums.sums.get("delivered", 0),
                lost=lost,
                lost_by_place=_places(sums.lost_by_place, sums.sums.get("overflow", 0)),
                late=sums.sums.get("late", 0),
                pending=sums.sums.get("pending", 0),
                duplicates_refused=sums.refused.get("duplicate", 0),
                refused=sums.refused,
                tail_unknown=sums.sums.get("tail_unknown", 0),
                rate=rate,
                minute=minute,
                refused_senders=refused_senders,
            ),
            alive=alive,
            memory=shapes.Memory(bytes=memory, limits=limits),
            warnings=warnings + [f"{each.address}: {each.warning}" for each in listeners if each.warning],
        )

    def senders(self, limit: int = 500, match: str = "") -> shapes.Senders:
        """Senders whose name or host contains a text, and senders that were never accepted."""
        state = self.state
        with state.lock:
            now, rows, refused = self.now(), state.senders.rows(), state.refused.rows(self.now())
            names = {row.account.name for row in rows}
            minutes = {name: state.flow.minute(name, now) for name in names}
        wanted = match.casefold()
        found = [
            _sender(sessions, minutes)
            for sessions in by_sender(rows).values()
            if any(wanted in text.casefold() for row in sessions for text in (row.account.name, row.account.host))
        ]
        found.sort(key=lambda each: (-(each.minute.lost if each.minute else 0), -each.rate, -each.delivered, each.name))
        return shapes.Senders(
            now=now, senders=found[:limit], truncated=max(0, len(found) - limit), refused=refused[:_MOST_REFUSED]
        )

    def sessions(self, sender: str, limit: int) -> shapes.Sessions:
        """The sessions of a sender, by its name or, without one, by the session's own identity."""
        with self.state.lock:
            rows = self.state.senders.rows()
        found = [row for row in rows if sender in {row.account.name, row.account.id}]
        found.sort(key=lambda row: staleness(row.account))
        return shapes.Sessions(sessions=[_session(row) for row in found[:limit]], truncated=max(0, len(found) - limit))

    def subjects(self) -> shapes.Subjects:
        """Every subject seen."""
        with self.state.lock:
            return shapes.Subjects(now=self.now(), subjects=self.state.subjects.rows())

    def ledgers(self) -> shapes.Ledgers:
        """The accounts of the receivers."""
        with self.state.lock:
            ledgers = dict(self.state.senders.ledgers)
        return shapes.Ledgers(
            receivers=[
                shapes.ReceiverLedger(
                    address=address,
                    balanced=ledger.balanced(),
                    unknown=ledger.unknown if isinstance(ledger, MergedLedger) else 0,
                    **{name: getattr(ledger, name) for name in _LEDGER_FIELDS},
                )
                for address, ledger in ledgers.items()
            ]
        )

    def series(self, text: str, limit: int) -> SeriesList:
        """Series whose name, sender or labels contain a text."""
        with self.state.lock:
            seen, now = snapshot(self.state), self.now()
        return listed(seen, text, limit, now, self.state.knows_loss)

    def query(self, question: Question) -> QueryAnswer:
        """The steps of a series."""
        with self.state.lock:
            now = self.now()
        return ask(self.state, question, now)

    def logs(self, wanted: LogFilter, limit: int, after: int | None, before: int | None) -> shapes.LogPage:
        """Entries of the log tail."""
        with self.state.lock:
            entries = self.state.logs.entries()
        page = look_up(entries, wanted, limit, after, before)
        records, left_out = _fitting(page.entries, forwards=after is not None)
        cursor = records[-1].cursor if left_out and after is not None else page.cursor
        return shapes.LogPage(cursor=cursor, records=records, truncated=page.truncated or left_out)

    def logs_since(self, cursor: int, limit: int) -> Page:
        """The newest entries since a cursor."""
        with self.state.lock:
            return self.state.logs.since(cursor, limit)

    def log_cursor(self) -> int:
        """The cursor of the newest entry."""
        return self.state.logs.cursor

    def heartbeats(self, limit: int = 5000) -> shapes.Heartbeats:
        """Which hearts beat, are late or are missing, at most `limit` of them."""
        with self.state.lock:
            now = self.now()
            rows: list[BoardRow] = self.state.heartbeats.rows(now, self.mono())
        return shapes.Heartbeats(now=now, heartbeats=rows[:limit], truncated=max(0, len(rows) - limit))

    def forget(self, name: str, key_id: int | None) -> bool:
        """Takes a heartbeat off the board; returns whether it was there."""
        with self.state.lock:
            return self.state.heartbeats.forget(name, key_id)

    def heartbeat_changes(self) -> int:
        """A number that grows with every change of the board."""
        return self.state.heartbeats.changes

    def rejected(self) -> shapes.RejectedList:
        """Samples of rejected input."""
        with self.state.lock:
            samples, metrics = self.state.rejected.latest(), self.state.metrics.stats().samples
        refused = [
            Sample(
                t=each.at,
                listener="atmost",
                address="metrics",
                peer=harmless(each.sender),
                reason=str(each.reason),
                sample=harmless(each.text if each.count == 1 else f"{each.text} ({each.count} times)"),
            )
            for each in metrics
        ]
        return shapes.RejectedList(rejected=sorted(samples + refused, key=lambda sample: sample.t))


def _this_process() -> psutil.Process | None:
    """This process, to read its memory; None where the system does not report it, as Linux without /proc."""
    try:
        return psutil.Process()
    except psutil.Error:
        return None


def _ours(address: str, ledger: Ledger) -> shapes.Listener:
    return shapes.Listener(
        kind="atmost",
        address=address,
        received=ledger.datagrams_in,
        accepted=ledger.accepted,
        rejected=dict(ledger.refused),
        notes={},
        kernel_drops=ledger.kernel_drops,
        queue_drops=ledger.overflow,
        warning=None,
    )


def _foreign(stats: ListenerStats) -> shapes.Listener:
    return shapes.Listener(
        kind=stats.kind,
        address=stats.address,
        received=stats.received,
        accepted=stats.accepted,
        rejected={str(reason): count for reason, count in stats.rejected.items()},
        notes={str(note): count for note, count in stats.notes.items()},
        kernel_drops=stats.kernel_drops,
        queue_drops=stats.queue_drops,
        warning=stats.warning,
    )


def _sender(rows: list[SenderRow], minutes: Mapping[str, Minute | None]) -> shapes.Sender:
    """One row that sums up the sessions of a sender."""
    accounts = [row.account for row in rows]
    best = min(accounts, key=staleness)
    tails = Counter(account.tail for account in accounts)
    sums = {name: _known_sum(getattr(account, name) for account in accounts) for name in _SUMMED}
    overflow = sum(account.overflow for account in accounts)
    lost = sum(account.lost for account in accounts) + overflow
    due = sum(account.delivered for account in accounts) + lost
    return shapes.Sender(
        id=best.id if not best.name else f"{best.key_id}:{best.name}",
        name=best.name,
        key_id=best.key_id,
        host=best.host,
        pid=best.pid,
        hosts=len({account.host for account in accounts}),
        sessions=len(accounts),
        alive=tails[Tail.ALIVE],
        silent=tails[Tail.SILENT],
        closed=tails[Tail.CLOSED],
        tail=best.tail.value,
        rate=sum(row.rate for row in rows),
        lost=lost,
        lost_by_place=_places(_added(account.lost_by_place for account in accounts), overflow),
        loss_ratio=lost / due if due else None,
        refused=_counts(account.refused for account in accounts) or {},
        sender_dropped=_counts(account.sender_dropped for account in accounts),
        sender_refused=_counts(account.sender_refused for account in accounts),
        last_seen=min(account.last_seen for account in accounts),
        clock_warning=next((row.clock_warning for row in rows if row.clock_warning), None),
        minute=minutes.get(best.name) if best.name else None,
        **sums,
    )


def _fitting(entries: list[Entry], *, forwards: bool) -> tuple[list[Entry], bool]:
    """As many entries as fit one answer, the earliest or the latest, and whether any were left out."""
    if sum(entry.size() for entry in entries) * _ESCAPED <= MAX_ANSWER:
        return entries, False
    kept, size = list[Entry](), 0
    for entry in entries if forwards else reversed(entries):
        size += len(_encode(entry))
        if kept and size > MAX_ANSWER:
            break
        kept.append(entry)
    return (kept if forwards else kept[::-1]), len(kept) < len(entries)


def _added(counts: Iterable[Mapping[str, int | None] | None]) -> dict[str, int | None]:
    """Sums by name; None where no value is known."""
    known = [each for each in counts if each is not None]
    names = dict.fromkeys(name for each in known for name in each)
    return {name: _known_sum(each.get(name) for each in known) for name in names}


def _counts(counts: Iterable[Mapping[str, int] | None]) -> dict[str, int] | None:
    """Sums by name; None if no counts are known."""
    known = [each for each in counts if each is not None]
    return dict(sum(map(Counter, known), Counter())) if known else None


def _known_sum(figures: Iterable[int | None]) -> Any:
    """The sum of the known values; None if there are none."""
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None


def _session(row: SenderRow) -> shapes.Session:
    account = row.account
    lost = account.lost + account.overflow
    due = account.delivered + lost
    return shapes.Session(
        id=account.id,
        name=account.name,
        host=account.host,
        pid=account.pid,
        key_id=account.key_id,
        tail=account.tail.value,
        rate=row.rate,
        sent=account.sent,
        delivered=account.delivered,
        lost=lost,
        lost_by_place=_places(account.lost_by_place, account.overflow),
        loss_ratio=lost / due if due else None,
        late=account.late,
        pending=account.pending,
        before_join=account.before_join,
        refused=account.refused,
        sender_offered=account.sender_offered,
        sender_dropped=account.sender_dropped,
        sender_refused=account.sender_refused,
        last_seen=account.last_seen,
        clock_warning=row.clock_warning,
    )


def _places(places: dict[str, int | None], overflow: int) -> dict[str, int | None]:
    """Losses by place, including messages that found the receiver's queue full; they add up to the total lost."""
    whole: dict[str, Any] = {"sender_socket": 0, "in_flight": 0} | places
    return {**whole, "receiver_queue": overflow}
