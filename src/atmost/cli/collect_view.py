"""The output of `atmost collect`: its addresses, notable events, one JSON object a second, and the account."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import click

from atmost.cli.output import account_lines, clock_time, harmless, places
from atmost.collector.daemon import CollectorDaemon
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.senders import SenderRow, SenderTable
from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import Tail
from atmost.heartbeats import HeartbeatChange

_MOST_LINES: Final = 20
"""Most lines printed in one second; further ones are counted."""


def banner(daemon: CollectorDaemon) -> list[str]:
    """The addresses of all listeners, and of page and metrics."""
    lines = [f"  {kind:8} {url}" for kind, url in daemon.addresses if kind != "http"]
    if daemon.http is not None:
        lines.append(f"  {'page':8} {click.style(daemon.http.url, bold=True)}")
        lines.append(f"  {'scrape':8} {daemon.http.url}metrics")
    return lines


def second(daemon: CollectorDaemon, table: SenderTable) -> dict[str, Any]:
    """The account at this moment, as an object; rates are since the last call."""
    ledger = daemon.ledger()
    table.observe({daemon.url: ledger}, time.monotonic())
    totals = asdict(ledger)
    del totals["sessions"]
    with daemon.state.lock:
        listeners = listeners_of(daemon.state.listeners)
    return {
        "type": "second",
        "time": time.time(),
        **totals,
        "senders": [_sender(row) for row in table.rows()],
        "listeners": listeners,
        "addresses": [{"kind": kind, "url": url} for kind, url in daemon.addresses],
    }


def _sender(row: SenderRow) -> dict[str, Any]:
    account = row.account
    return {
        "sender": account.name,
        "host": account.host,
        "pid": account.pid,
        "session": account.id,
        "tail": account.tail.value,
        "rate": row.rate,
        "delivered": account.delivered,
        "lost": account.lost,
        "late": account.late,
        "pending": account.pending,
        "duplicates_refused": account.refused.get("duplicate", 0),
        "last_seen": account.last_seen,
    }


def account_of(ledger: Ledger, listeners: list[ListenerStats]) -> dict[str, Any]:
    """The account as the last object."""
    return {"type": "account", **asdict(ledger), "listeners": listeners_of(listeners)}


def listeners_of(listeners: list[ListenerStats]) -> list[dict[str, Any]]:
    """Counts of the input of foreign protocols."""
    return [
        {
            "kind": each.kind,
            "url": each.address,
            "received": each.received,
            "accepted": each.accepted,
            "rejected": {str(reason): count for reason, count in each.rejected.items()},
            "kernel_drops": each.kernel_drops,
        }
        for each in listeners
    ]


class Notable:
    """Finds notable events since the last call: senders that come and go, losses, heartbeats.

    The collector's log has the warnings and first refusals.
    """

    def __init__(self, daemon: CollectorDaemon) -> None:
        """Args: daemon: started."""
        self._daemon = daemon
        self._known: dict[tuple[int, str], SessionLedger] = {}
        self._named: set[tuple[int, str]] = set()
        self._changes: deque[HeartbeatChange] = deque(maxlen=10 * _MOST_LINES)
        daemon.state.heartbeats.monitor.on_change(self._changes.append)

    def lines(self) -> list[str]:
        """The events since the last call, escaped, at most 20 lines."""
        found = [*self._of_senders(), *self._of_heartbeats()]
        moment = clock_time(time.time())
        shown = [f"{moment} {line}" for line in found[:_MOST_LINES]]
        if len(found) > _MOST_LINES:
            shown.append(f"{moment} ... and {len(found) - _MOST_LINES} more of the kind; the page shows all")
        return shown

    def account(self, ledger: Ledger, seconds: float) -> list[str]:
        """The account for people, followed by the other protocols."""
        lines = account_lines(ledger, self._daemon.url, seconds)
        for each in self._daemon.state.listeners:
            if each.received:
                rejected = ", ".join(f"{reason} {count:,}" for reason, count in sorted(each.rejected.items()))
                what = f"{each.received:,} datagrams, {each.accepted:,} taken" + (
                    f", rejected: {rejected}" if rejected else ""
                )
                lines.append(f"  {each.kind:10} {what}")
        return lines

    def _of_senders(self) -> Iterator[str]:
        with self._daemon.state.lock:
            ledgers = list(self._daemon.state.senders.ledgers.values())
        present: dict[tuple[int, str], SessionLedger] = {}
        for row in (row for ledger in ledgers for row in ledger.sessions):
            key = (row.key_id, row.id)
            present[key] = row
            before = self._known.get(key)
            if row.name and key not in self._named:
                self._named.add(key)
                yield f"{_who(row)} began"
            lost = row.lost - (before.lost if before else 0)
            if lost > 0:
                gone = {
                    place: (count or 0) - ((before.lost_by_place.get(place) or 0) if before else 0)
                    for place, count in row.lost_by_place.items()
                }
                yield click.style(
                    f"{_who(row)} lost {lost:,} ({places({k: max(0, v) for k, v in gone.items()})})", fg="yellow"
                )
            tail = before.tail if before else Tail.ALIVE
            if row.tail is not tail and row.tail is not Tail.ALIVE:
                yield f"{_who(row)} " + ("said goodbye" if row.tail is Tail.CLOSED else "fell silent without a goodbye")
        self._known = present
        self._named &= present.keys()

    def _of_heartbeats(self) -> Iterator[str]:
        while self._changes:
            change = self._changes.popleft()
            if change.state is not change.before:
                yield f"heartbeat {harmless(change.name)}: {change.state.value} ({harmless(str(change.verdict))})"


def _who(row: SessionLedger) -> str:
    return (
        f"{harmless(row.name) or row.id} ({harmless(row.host)} pid {row.pid})"
        if row.host
        else harmless(row.name) or row.id
    )
