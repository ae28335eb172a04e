"""The board of heartbeats: the monitor, since when each state has held, and what the states were in the last 24 hours.

Pure; not thread-safe.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from typing import Final

import msgspec

from atmost.core.accounts import Ledger
from atmost.core.events import Event
from atmost.heartbeats import HeartbeatChange, HeartbeatMonitor, HeartbeatState, HeartbeatStatus

STATES: Final = ("up", "late", "suspect", "down", "failed", "stopped", "unknown")
GRAVITY: Final = ("down", "failed", "suspect", "unknown", "late", "up", "stopped")
"""The states in the order of the board: what needs attention first."""
ALIVE: Final = {"up": True, "late": True, "suspect": True, "down": False, "failed": False}
"""Whether a heartbeat in this state is alive, for `atmost_heartbeat_up` and the uptime; of the others nobody can say it."""
SLOT: Final = 900.0
"""Of the history, seconds."""
SLOTS: Final = 96
"""24 hours."""
LETTERS: Final = {"stopped": "s", "up": "u", "late": "l", "unknown": "?", "suspect": "w", "failed": "f", "down": "d"}
"""The states in a history, from the least grave; a dot where nothing is known."""
_BLANK: Final = "."


class BoardRow(msgspec.Struct, kw_only=True):
    """One heartbeat as the interface shows it; times in seconds since 1970."""

    name: str
    key_id: int
    sender: str
    host: str
    pid: int
    state: str
    verdict: str
    since: float
    last_beat: float | None
    interval: float
    timeout: float
    loss: float | None
    beats: int
    lost: int
    """Beats that were sent and did not come."""
    missed: int
    """Beats that were due and did not come, whether they were sent or not; never falls."""
    flaps: int
    """How often it went down and came back."""
    longest_silence: float
    expected: bool
    """Whether it is missed though it was never heard, because the configuration or the time before the restart knows it."""
    conflict: str
    """Who else beats under the same name now; empty when nobody does."""
    uptime: float | None
    """Share of the last 24 hours in which it was up, of the time in which it was up or down; null while neither is known."""
    history: str
    """The last 24 hours in 96 letters, oldest first: the gravest state of each quarter of an hour."""


class HeartbeatBoard:
    """Who is alive."""

    def __init__(self, max_heartbeats: int) -> None:
        """Args: max_heartbeats: watched at once."""
        self.monitor = HeartbeatMonitor(max_senders=max_heartbeats)
        self._max = max_heartbeats
        self.changes = 0
        """How often anything changed: a reader who knows the number knows whether to look."""
        self._histories: dict[tuple[int, str], _History] = {}

    def __len__(self) -> int:
        """Heartbeats watched."""
        return min(len(self._histories), self._max)

    @property
    def refused(self) -> int:
        """Beats of heartbeats beyond the limit, and heartbeats forgotten to make room."""
        stats = self.monitor.stats()
        return stats.sender_limit + stats.forgotten

    def expect(self, name: str, now: float, mono: float) -> None:
        """Misses a heartbeat, or what matches a pattern, from now on.

        Raises:
            OptionError: there is no room.
            SubjectError: no heartbeat can have this name.
        """
        self.monitor.expect(name, mono)
        self._note([], now, mono)
        self.changes += 1

    def forget(self, name: str, key_id: int | None = None) -> bool:
        """Watches a heartbeat, or an expected pattern, no more until it beats again; returns whether it was watched."""
        found = self.monitor.forget(name, key_id)
        for key in [key for key in self._histories if key[1] == name and key_id in {None, key[0]}]:
            del self._histories[key]
        self.changes += found
        return found

    def feed(self, event: Event, now: float, mono: float) -> list[HeartbeatChange]:
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
        grave = {state: place for place, state in enumerate(GRAVITY)}
        rows.sort(key=lambda row: (grave[row.state], row.name))
        return rows

    def alive(self, mono: float) -> dict[str, int]:
        """How many are in which state."""
        counts = Counter(status.state.value for status in self.monitor.status(mono))
        return {state: counts[state] for state in STATES}

    def _note(self, changes: list[HeartbeatChange], now: float, mono: float) -> list[HeartbeatChange]:
        for change in changes:
            self.changes += 1
            self._history(change.key_id, change.name, change.state, now)
        if len(self._histories) > 2 * self._max:  # seldom, for it looks at all of them
            self._forget_others(self.monitor.status(mono))
        return changes

    def _history(self, key_id: int, name: str, state: HeartbeatState, now: float) -> _History:
        history = self._histories.get((key_id, name))
        if history is None:
            history = self._histories[key_id, name] = _History(state.value, now)
        else:
            history.turn(state.value, now)
        return history

    def _forget_others(self, statuses: list[HeartbeatStatus]) -> None:
        """Lets go of heartbeats that the monitor has forgotten."""
        if len(self._histories) > len(statuses):
            known = {(status.key_id, status.name) for status in statuses}
            self._histories = {key: history for key, history in self._histories.items() if key in known}

    def _row(self, status: HeartbeatStatus, now: float) -> BoardRow:
        history = self._history(status.key_id, status.name, status.state, now)
        return BoardRow(
            name=status.name,
            key_id=status.key_id,
            sender=status.sender,
            host=status.host,
            pid=status.pid,
            state=status.state.value,
            verdict=str(status.verdict),
            since=history.since,
            last_beat=now - status.beat_silent if status.beats else None,
            interval=status.interval,
            timeout=status.down_after,
            loss=status.loss,
            beats=status.beats,
            lost=status.lost,
            missed=status.missed,
            flaps=status.flaps,
            longest_silence=status.longest_silence,
            expected=status.expected,
            conflict=status.conflict,
            uptime=history.uptime(),
            history=history.letters(),
        )


class _History:
    """The states of one heartbeat over the last 24 hours: of each slot the gravest, and how long it was up and down.

    The state between two changes is booked when the second is found, so a heartbeat costs nothing while nothing changes.
    """

    __slots__ = ("_at", "_down", "_gravest", "_newest", "_up", "since", "state")

    def __init__(self, state: str, now: float) -> None:
        self.state = state
        self.since = now
        self._at = now
        """Until when it is booked."""
        self._newest = math.floor(now / SLOT)
        self._gravest = bytearray(SLOTS)  # places in LETTERS, from 1
        self._up = array("f", bytes(4 * SLOTS))
        self._down = array("f", bytes(4 * SLOTS))

    def turn(self, state: str, now: float) -> None:
        """Books the present state up to this moment, and goes on with another one."""
        self._book(now)
        if state != self.state:
            self.state, self.since = state, now
            self._mark(self._newest)

    def uptime(self) -> float | None:
        """The share of the known time in which it was up."""
        up, known = sum(self._up), sum(self._up) + sum(self._down)
        return up / known if known else None

    def letters(self) -> str:
        """A letter a slot, oldest first."""
        known = _BLANK + "".join(LETTERS.values())
        first = self._newest + 1
        return "".join(known[self._gravest[(first + place) % SLOTS]] for place in range(SLOTS))

    def _book(self, now: float) -> None:
        alive = ALIVE.get(self.state)
        while self._at < now:
            slot = math.floor(self._at / SLOT)
            end = min(now, (slot + 1) * SLOT)
            if slot + SLOTS <= now // SLOT:  # longer ago than anything that is kept
                self._at = (now // SLOT - SLOTS + 1) * SLOT
                continue
            self._open(slot)
            self._mark(slot)
            if alive is not None:
                (self._up if alive else self._down)[slot % SLOTS] += end - self._at
            self._at = end
        self._open(math.floor(now / SLOT))

    def _open(self, slot: int) -> None:
        """Clears the slots that come into being."""
        for fresh in range(max(self._newest + 1, slot - SLOTS + 1), slot + 1):
            place = fresh % SLOTS
            self._gravest[place], self._up[place], self._down[place] = 0, 0.0, 0.0
        self._newest = max(self._newest, slot)

    def _mark(self, slot: int) -> None:
        place = slot % SLOTS
        self._gravest[place] = max(self._gravest[place], 1 + tuple(LETTERS).index(self.state))
