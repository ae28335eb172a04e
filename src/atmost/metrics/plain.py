"""Plain readings of one session: what came, and how complete the session was, for a reading has no number of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from atmost.core.events import Loss, Message, Session
from atmost.metrics.ring import Ring
from atmost.metrics.series import Series

_MARKS: Final = 256
_BURST: Final = 0.05
"""Seconds within which readings of one name say nothing about a rhythm: they waited together somewhere."""
_MARK_EVERY: Final = 0.25
"""Seconds between two remembered datagram numbers, which tell when a lost one was sent."""


class PlainSession:
    """What one session sent without numbering it itself; completeness is that of all its messages."""

    def __init__(self, session: Session, ring: Ring, now: float) -> None:
        self.session = session
        self.all = ring
        """All messages of the session, received and lost."""
        self.series: dict[str, Series] = {}
        self.latest_at = now
        self.interval = 0.0
        """Between readings, seconds, as they came: the shortest of the usual ones; 0 while unknown."""
        self.closed = False
        self._paced: dict[str, float] = {}
        """When each reading last told something about the rhythm."""
        self._marks: deque[tuple[int, float]] = deque(maxlen=_MARKS)

    @property
    def sender(self) -> str:
        """The sender's name, or the session's identity while no name has come."""
        return self.session.name or self.session.id

    def heard(self, message: Message, now: float) -> None:
        """Books any message of the session."""
        self.all.receive(now, 1)
        if not self._marks or now - self._marks[-1][1] >= _MARK_EVERY:
            self._marks.append((message.arrival.sequence, now))

    def reading(self, name: str, value: float, now: float, make_ring: Callable[[], Ring]) -> Series:
        """Takes a reading."""
        series = self.series.get(name)
        if series is None:
            series = self.series[name] = Series(make_ring(), 0, histogram=False)
            self._paced[name] = now
        elif (gap := now - self._paced[name]) > _BURST:
            self._paced[name] = now
            self.interval = min(gap, self.interval * 1.05) if self.interval else gap
        series.value, series.updated = value, now
        series.ring.receive(now, value)
        self.latest_at = now
        return series

    def lost(self, loss: Loss, now: float) -> None:
        """Books a gap at the time it was sent, as far as the datagrams around it tell."""
        before = [mark for mark in self._marks if mark[0] < loss.first_sequence]
        after = [mark for mark in self._marks if mark[0] > loss.last_sequence]
        left = before[-1] if before else (after[0] if after else (loss.first_sequence - 1, now))
        right = after[0] if after else (loss.last_sequence + 1, now)
        pace = (right[1] - left[1]) / (right[0] - left[0]) if right[0] > left[0] else 0.0
        datagrams = loss.last_sequence - loss.first_sequence + 1
        steps = min(loss.count, 64)
        for step in range(steps):
            share = loss.count * (step + 1) // steps - loss.count * step // steps
            sequence = loss.first_sequence - 0.5 + datagrams * (step + 0.5) / steps
            self.all.lose(left[1] + (sequence - left[0]) * pace, share)
