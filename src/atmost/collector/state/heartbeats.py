"""The board of heartbeats: the monitor, and since when each state has held.

Pure; not thread-safe.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from atmost.core.accounts import Ledger
from atmost.core.events import Event
from atmost.heartbeats import HeartbeatChange, HeartbeatMonitor, HeartbeatState, HeartbeatStatus

STATES: Final = ("up", "late", "suspect", "down", "stopped", "unknown")


class BoardRow(msgspec.Struct, kw_only=True):
    """One heartbeat as the interface shows it; times in seconds since 1970."""

    name: str
    sender: str
    state: str
    verdict: str
    since: float
    last_beat: float | None
    interval: float
    timeout: float
    loss: float | None
    beats: int
    lost: int


class HeartbeatBoard:
    """Who is alive."""

    def __init__(self, max_heartbeats: int) -> None:
        """Args: max_heartbeats: watched at once."""
        self.monitor = HeartbeatMonitor(max_senders=max_heartbeats)
        self._max = max_heartbeats
        self.changes = 0
        """How often anything changed: a reader who knows the number knows whether to look."""
        self._since: dict[tuple[int, str], float] = {}

    def __len__(self) -> int:
        """Heartbeats watched."""
        return min(len(self._since), self._max)

    @property
    def refused(self) -> int:
        """Beats of heartbeats beyond the limit, and heartbeats forgotten to make room."""
        stats = self.monitor.stats()
        return stats.sender_limit + stats.forgotten

    def handle(self, event: Event, now: float, mono: float) -> list[HeartbeatChange]:
        """Takes an event of a receiver."""
        return self._note(self.monitor.feed(event, mono), now, mono)

    def observe(self, ledger: Ledger, now: float, mono: float) -> list[HeartbeatChange]:
        """Takes the account of all receivers."""
        return self._note(self.monitor.observe(ledger, mono), now, mono)

    def tick(self, now: float, mono: float) -> list[HeartbeatChange]:
        """Judges the silences that are due."""
        return self._note(self.monitor.tick(mono), now, mono)

    def next_deadline(self) -> float | None:
        """When `tick` should be called, monotonic."""
        return self.monitor.next_deadline()

    def rows(self, now: float, mono: float) -> list[BoardRow]:
        """Every heartbeat, the gravest first."""
        statuses = self.monitor.status(mono)
        self._forget_others(statuses)
        rows = [self._row(status, now) for status in statuses]
        grave = {state: place for place, state in enumerate(("down", "suspect", "unknown", "late", "up", "stopped"))}
        rows.sort(key=lambda row: (grave[row.state], row.name))
        return rows

    def alive(self, mono: float) -> dict[str, int]:
        """How many are in which state."""
        counts = Counter(_shown(status.state) for status in self.monitor.status(mono))
        return {state: counts[state] for state in STATES}

    def _note(self, changes: list[HeartbeatChange], now: float, mono: float) -> list[HeartbeatChange]:
        for change in changes:
            self.changes += 1
            if change.before is not change.state or (change.key_id, change.name) not in self._since:
                self._since[change.key_id, change.name] = now
        if len(self._since) > 2 * self._max:  # seldom, for it looks at all of them
            self._forget_others(self.monitor.status(mono))
        return changes

    def _forget_others(self, statuses: list[HeartbeatStatus]) -> None:
        """Lets go of heartbeats that the monitor has forgotten."""
        if len(self._since) > len(statuses):
            known = {(status.key_id, status.name) for status in statuses}
            self._since = {key: since for key, since in self._since.items() if key in known}

    def _row(self, status: HeartbeatStatus, now: float) -> BoardRow:
        return BoardRow(
            name=status.name,
            sender=status.sender,
            state=_shown(status.state),
            verdict=str(status.verdict),
            since=self._since.get((status.key_id, status.name), now),
            last_beat=now - status.beat_silent if status.beats else None,
            interval=status.interval,
            timeout=status.down_after,
            loss=status.loss,
            beats=status.beats,
            lost=status.lost,
        )


def _shown(state: HeartbeatState) -> str:
    """The state as the board names it: what failed is down, and its verdict says why."""
    return "down" if state is HeartbeatState.FAILED else state.value
