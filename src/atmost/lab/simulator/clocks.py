"""The wall clocks of simulated nodes: an offset, a drift, and steps in both directions; virtual time itself never steps."""

from __future__ import annotations

from typing import Final

EPOCH_US: Final = 1_800_000_000_000_000
"""What a true clock reads when a run begins, µs since 1970."""
HOUR_US: Final = 3_600_000_000
LEAP_US: Final = 50_000
"""A clock that gains more than this between two readings, beyond the time that passed, was set forward, µs."""


class WallClock:
    """One node's clock."""

    __slots__ = ("_offset_us", "_ppm")

    def __init__(self, offset_us: int = 0, drift_ppm: int = 0) -> None:
        """Args: offset_us: ahead of the truth. drift_ppm: µs gained in every second."""
        self._offset_us = EPOCH_US + offset_us
        self._ppm = drift_ppm

    def read(self, now_us: int) -> int:
        """What it shows at a moment of virtual time, µs since 1970."""
        return self._offset_us + now_us + now_us * self._ppm // 1_000_000

    def step(self, by_us: int) -> None:
        """Sets it forward, or back."""
        self._offset_us += by_us

    def set(self, reading_us: int, now_us: int) -> None:
        """Sets it to a reading."""
        self._offset_us += reading_us - self.read(now_us)
