"""Seconds since 1970 that never step back: charts and series need a clock with both qualities.

It follows the wall clock forwards. Where that was set back it goes on at half its pace until the wall clock has caught up.
Pure; not thread-safe.
"""

from __future__ import annotations

from typing import Final

_PACE: Final = 0.5


class Timeline:
    """The time the collector keeps its books by."""

    __slots__ = ("_last", "_mono")

    def __init__(self, mono: float, wall: float) -> None:
        """Args: mono: monotonic, seconds. wall: seconds since 1970, at the same moment."""
        self._mono, self._last = mono, wall

    def now(self, mono: float, wall: float) -> float:
        """The time at a moment of both clocks."""
        elapsed = max(0.0, mono - self._mono)
        self._mono = max(self._mono, mono)
        self._last = max(wall, self._last + elapsed * _PACE)
        return self._last

    def ahead(self, wall: float) -> float:
        """How far it is ahead of a wall clock that was set back, seconds."""
        return max(0.0, self._last - wall)
