"""What can be measured, and how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

THROUGHPUT: Final = "throughput"
LATENCY: Final = "latency"
RECEIVING: Final = "receiving"
COLLECTING: Final = "collecting"
SMALL: Final = "one process"
TABLES: Final = (THROUGHPUT, LATENCY, RECEIVING, COLLECTING, SMALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How long and how often."""

    seconds: float
    """Of sending flat out in each measurement."""
    repetitions: int
    full: bool
    """Whether the slow systems are measured too."""
    sessions: int
    """Senders of the receiver's figures."""
    remembered: int
    """Sessions of the figure of memory."""


QUICK: Final = Preset(seconds=0.3, repetitions=2, full=False, sessions=100, remembered=2_000)
"""Meant to take one to two minutes on two idle cores."""
FULL: Final = Preset(seconds=2.0, repetitions=7, full=True, sessions=1_000, remembered=100_000)
