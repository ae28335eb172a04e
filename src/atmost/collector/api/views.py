"""Makes the answers of the interface from the state: copies under the lock, renders outside it.

Safe from any thread.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any, Final

import psutil

import atmost
from atmost.collector.api import shapes
from atmost.collector.state.heartbeats import BoardRow
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.listing import SeriesList, listed
from atmost.collector.state.logtail import LogFilter, Page, look_up
from atmost.collector.state.senders import SenderRow, totals
from atmost.collector.state.series import QueryAnswer, Question, ask, snapshot
from atmost.collector.state.state import CollectorState
from atmost.core.accounts import Ledger, MergedLedger

Clock = Callable[[], float]
_LEDGER_FIELDS: Final = tuple(
    name for name in shapes.ReceiverLedger.__struct_fields__ if name not in {"address", "balanced", "unknown"}
)


class Views:
    """What can be asked, each as one method."""

    def __init__(self, state: CollectorState, now: Clock, mono: Clock = time.monotonic) -> None:
        """Args: state: asked under its lock. now: seconds since 1970 that never step back. mono: monotonic, seconds."""
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
            ),
            alive=alive,
            memory=shapes.Memory(bytes=memory, limits=limits),
            warnings=warnings + [f"{each.address}: {each.warning}" for each in listeners if each.warning],
        )

    def senders(self, limit: int = 500) -> shapes.Senders:
        """The sender table."""
        with self.state.lock:
            now, rows = self.now(), self.state.senders.rows()
        return shapes.Senders(
            now=now, senders=[_sender(row) for row in rows[:limit]], truncated=max(0, len(rows) - limit)
        )

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
        """Series whose name, sender or labels hold a text."""
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
        return shapes.LogPage(cursor=page.cursor, records=page.entries, truncated=page.truncated)

    def logs_since(self, cursor: int, limit: int) -> Page:
        """The newest entries since a cursor."""
        with self.state.lock:
            return self.state.logs.since(cursor, limit)

    def log_cursor(self) -> int:
        """The cursor of the newest entry."""
        return self.state.logs.cursor

    def heartbeats(self) -> shapes.Heartbeats:
        """The board."""
        with self.state.lock:
            now = self.now()
            rows: list[BoardRow] = self.state.heartbeats.rows(now, self.mono())
        return shapes.Heartbeats(now=now, heartbeats=rows)

    def heartbeat_changes(self) -> int:
        """A number that grows with every change of the board."""
        return self.state.heartbeats.changes

    def rejected(self) -> shapes.RejectedList:
        """Samples of rejected input."""
        with self.state.lock:
            return shapes.RejectedList(rejected=self.state.rejected.latest())


def _this_process() -> psutil.Process | None:
    """What measures this process; None where the system tells nothing, as Linux without /proc."""
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


def _sender(row: SenderRow) -> shapes.Sender:
    account = row.account
    lost = account.lost + account.overflow
    due = account.delivered + lost
    return shapes.Sender(
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


def _places(places: dict[str, int], overflow: int) -> dict[str, int]:
    """Where messages were lost, what found the receiver's queue full among them; the parts add up to what was lost."""
    whole: dict[str, Any] = {"sender_socket": 0, "in_flight": 0} | places
    return {**whole, "receiver_queue": overflow}
