"""Seconds since 1970 that never step back, as charts and series need them.

The timeline follows the wall clock, with two exceptions that would falsify rates and charts:

* a leap forwards of more than `LEAP` seconds is followed only after it has lasted for `TRIAL` seconds, so that a clock that
  leaps an hour and comes back leaves no trace;
* a step back is not followed: the timeline runs a little slower until the wall clock has caught up; meanwhile rates are at
  most a twentieth too high.

Pure; not thread-safe.
"""

from __future__ import annotations

from typing import Final

LEAP: Final = 10.0
TRIAL: Final = 60.0
_PACE: Final = 0.95


class Timeline:
    """The collector's clock for series and charts."""

    __slots__ = ("_last", "_leapt", "_mono")

    def __init__(self, mono: float, wall: float) -> None:
        """Args: mono: monotonic, seconds. wall: seconds since 1970, at the same moment."""
        self._mono, self._last = mono, wall
        self._leapt: float | None = None
        """When the wall clock leapt ahead (monotonic, seconds); None while it has not."""

    def now(self, mono: float, wall: float) -> float:
        """The time, given the readings of both clocks."""
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
        """How far it is ahead of a wall clock that was set back (seconds)."""
        return max(0.0, self._last - wall)
