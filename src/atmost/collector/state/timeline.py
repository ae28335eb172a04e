"""Seconds since 1970 that never step back: charts and series need a clock with both qualities.

It follows the wall clock. Two things it does not follow at once, because each would falsify rates and charts:

* a leap forwards of more than `LEAP` seconds, until it has lasted for `TRIAL` seconds: a clock that leaps an hour and comes
  back has then never been believed, and leaves nothing behind;
* a step back, because time must not: it goes on a little slower than the wall clock until that has caught up, so that rates
  are at most a twentieth too high meanwhile.

Pure; not thread-safe.
"""

from __future__ import annotations

from typing import Final

LEAP: Final = 10.0
TRIAL: Final = 60.0
_PACE: Final = 0.95


class Timeline:
    """The time the collector keeps its books by."""

    __slots__ = ("_last", "_leapt", "_mono")

    def __init__(self, mono: float, wall: float) -> None:
        """Args: mono: monotonic, seconds. wall: seconds since 1970, at the same moment."""
        self._mono, self._last = mono, wall
        self._leapt: float | None = None
        """Since when the wall clock is far ahead, on the monotonic clock."""

    def now(self, mono: float, wall: float) -> float:
        """The time at a moment of both clocks."""
        elapsed = max(0.0, mono - self._mono)
        self._mono = max(self._mono, mono)
        straight = self._last + elapsed
        if wall > straight + LEAP:
            if self._leapt is None:
                self._leapt = self._mono
            self._last = wall if self._mono - self._leapt >= TRIAL else straight
        else:
            self._leapt = None
            self._last = max(wall, self._last + elapsed * _PACE)
        return self._last

    def ahead(self, wall: float) -> float:
        """How far it is ahead of a wall clock that was set back, seconds."""
        return max(0.0, self._last - wall)
