"""The board of heartbeats: the monitor, when each state began, and the states of the last 24 hours.

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
"""The states in the order of the board: those that need attention first."""
ALIVE: Final = {"up": True, "late": True, "suspect": True, "down": False, "failed": False}
"""Whether a heartbeat in this state is alive, for `atmost_heartbeat_up` and the uptime; other states export no sample."""
SLOT: Final = 900.0
"""Length of one slot of the history (seconds)."""
SLOTS: Final = 96
"""Slots in the history: 24 hours."""
LETTERS: Final = {"stopped": "s", "up": "u", "late": "l", "unknown": "?", "suspect": "w", "failed": "f", "down": "d"}
"""The letter of each state in a history, least grave first; a dot means unknown."""
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
    """Beats that were sent but did not arrive."""
    missed: int
    """Beats that were due but did not arrive, sent or not; never falls."""
    flaps: int
    """How often it went down and came back."""
    longest_silence: float
    expected: bool
    """Whether its absence is reported though it was never heard: it is configured, or was known before the restart."""
    conflict: str
    """Another sender that beats under the same name now; empty without one."""
    uptime: float | None
    """Time up as a share of the time up or down, over the last 24 hours; null while neither is known."""
    history: str
    """The last 24 hours as 96 letters, oldest first: the gravest state of each quarter of an hour."""


class HeartbeatBoard:
    """All heartbeats with their states and histories."""

    def __init__(self, max_heartbeats: int) -> None:
        """Args: max_heartbeats: how many are watched at once."""
        self.monitor = HeartbeatMonitor(max_senders=max_heartbeats)
        self._max = max_heartbeats
        self.changes = 0
        """Counts changes: a reader compares it with the last number it saw."""
        self._histories: dict[tuple[int, str], _History] = {}

    def __len__(self) -> int:
        return min(len(self._histories), self._max)

    @property
    def refused(self) -> int:
        """Beats of heartbeats beyond the limit, and heartbeats forgotten to make room."""
        stats = self.monitor.stats()
        return stats.sender_limit + stats.forgotten

    def expect(self, name: str, now: float, mono: float) -> None:
        """Expects a heartbeat, or any that match a pattern, from now on.

        Raises:
            OptionError: too many heartbeats are watched.
            SubjectError: the name is not valid for a heartbeat.
        """
        self.monitor.expect(name, mono)
        self._note([], now, mono)
        self.changes += 1

    def forget(self, name: str, key_id: int | None = None) -> bool:
        """Stops watching a heartbeat (until it beats again) or an expected pattern; returns whether it was watched."""
        found = self.monitor.forget(name, key_id)
        for key in [key for key in self._histories if key[1] == name and key_id in {None, key[0]}]:
            del self._histories[key]
        self.changes += found
        return found

    def feed(self, event: Event, now: float, mono: float) -> list[HeartbeatChange]:
        """Takes an event of a receiver."""
        return self._note(self.monitor.feed(event, mono), now, mono)

    def observe(self, ledger: Ledger, now: float, mono: float) -> list[HeartbeatChange]:
        """Takes the ledger of all receivers."""
        return self._note(self.monitor.observe(ledger, mono), now, mono)

    def tick(self, now: float, mono: float) -> list[HeartbeatChange]:
        """Changes the states of heartbeats whose deadlines have passed."""
        return self._note(self.monitor.tick(mono), now, mono)

    def next_deadline(self) -> float | None:
        """When `tick` should be called next (monotonic, seconds)."""
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
        """The number of heartbeats in each state."""
        counts = Counter(status.state.value for status in self.monitor.status(mono))
        return {state: counts[state] for state in STATES}

    def _note(self, changes: list[HeartbeatChange], now: float, mono: float) -> list[HeartbeatChange]:
        for change in changes:
            self.changes += 1
            self._history(change.key_id, change.name, change.state, now)
        if len(self._histories) > 2 * self._max:  # rarely, because it goes through all of them
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
        """Drops the histories of heartbeats that the monitor has forgotten."""
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
    """The last 24 hours of one heartbeat: for each slot the gravest state, and how long it was up and down.

    A state is booked when it ends, so a heartbeat costs nothing while nothing changes.
    """

    __slots__ = ("_at", "_down", "_gravest", "_newest", "_up", "since", "state")

    def __init__(self, state: str, now: float) -> None:
        self.state = state
        self.since = now
        self._at = now
        """The time up to which states are booked."""
        self._newest = math.floor(now / SLOT)
        self._gravest = bytearray(SLOTS)  # places in LETTERS, from 1
        self._up = array("f", bytes(4 * SLOTS))
        self._down = array("f", bytes(4 * SLOTS))

    def turn(self, state: str, now: float) -> None:
        """Books the present state up to now, and changes to another."""
        self._book(now)
        if state != self.state:
            self.state, self.since = state, now
            self._mark(self._newest)

    def uptime(self) -> float | None:
        """The share of the known time in which it was up."""
        up, known = sum(self._up), sum(self._up) + sum(self._down)
        return up / known if known else None

    def letters(self) -> str:
        """One letter for each slot, oldest first."""
        known = _BLANK + "".join(LETTERS.values())
        first = self._newest + 1
        return "".join(known[self._gravest[(first + place) % SLOTS]] for place in range(SLOTS))

    def _book(self, now: float) -> None:
        alive = ALIVE.get(self.state)
        while self._at < now:
            slot = math.floor(self._at / SLOT)
            end = min(now, (slot + 1) * SLOT)
            if slot + SLOTS <= now // SLOT:  # before the oldest slot kept
                self._at = (now // SLOT - SLOTS + 1) * SLOT
                continue
            self._open(slot)
            self._mark(slot)
            if alive is not None:
                (self._up if alive else self._down)[slot % SLOTS] += end - self._at
            self._at = end
        self._open(math.floor(now / SLOT))

    def _open(self, slot: int) -> None:
        """Clears the slots up to this one that are new."""
        for fresh in range(max(self._newest + 1, slot - SLOTS + 1), slot + 1):
            place = fresh % SLOTS
            self._gravest[place], self._up[place], self._down[place] = 0, 0.0, 0.0
        self._newest = max(self._newest, slot)

    def _mark(self, slot: int) -> None:
        place = slot % SLOTS
        self._gravest[place] = max(self._gravest[place], 1 + tuple(LETTERS).index(self.state))
