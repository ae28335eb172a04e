"""What one beat carries, and how it is read from a message that anybody may have sent.

Pure functions, safe from any thread. Reading never raises.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from atmost.core.names import check_subject
from atmost.errors import OptionError

SUBJECT: Final = "heartbeats"
"""The first token of the subject; the rest is the heartbeat's name."""
MIN_INTERVAL: Final = 0.01
MAX_INTERVAL: Final = 86_400.0
"""Seconds between two beats, at least and at most."""
MAX_TIMEOUT: Final = 366 * 86_400.0
"""Seconds of silence that may be tolerated, at most: a year. Every deadline stays a number one can count with."""
MAX_REASON: Final = 128
"""Characters of the reason in a goodbye."""
_MAX_NUMBER: Final = 1 << 62
_MAX_LIFE: Final = 128
_MAX_UPTIME: Final = 1e10


class HeartbeatEnding(StrEnum):
    """How a heartbeat said goodbye."""

    STOPPED = "stopped"
    """Its work is done, or it was told to stop."""
    FAILED = "failed"
    """An error ended it."""


class Beat(msgspec.Struct, gc=False, omit_defaults=True):
    """One sign of life; all counts are cumulative. Beats without the fields that have defaults are beats too."""

    number: int
    """From 0, one more each time; contiguous numbers prove that nothing in between was lost."""
    interval: float
    """Seconds until the next."""
    life: str = ""
    """Which life of the heartbeat; another one began at 0 again. Without it the session is the life."""
    uptime: float = 0.0
    """Seconds since this life began."""
    offered: int = 0
    """Messages given to the sender, in its session."""
    dropped: int = 0
    """Messages the sender dropped."""
    refused: int = 0
    """Messages the sender's socket refused."""
    errors: int = 0
    """Beats that could not be made."""
    timeout: float | None = None
    """Seconds of silence that mean `down`; None leaves it to the loss that is measured."""
    alone: bool = False
    """Each beat comes from a process of its own, as from `atmost beat`: the number only orders them, and does not count."""
    ending: HeartbeatEnding | None = None
    """Set in a goodbye."""
    reason: str = ""
    """What ended it, in a goodbye of what failed: the exception's class, or the exit status."""


def read_beat(payload: Any) -> Beat | None:
    """Returns the beat in a message's payload, or None when the payload is not a beat."""
    try:
        beat = msgspec.convert(payload, Beat)
    except Exception:  # noqa: BLE001  whatever a stranger's payload makes of the decoder
        return None
    if not (0 <= beat.number < _MAX_NUMBER and MIN_INTERVAL <= beat.interval <= MAX_INTERVAL):
        return None
    if not 0 <= beat.uptime <= _MAX_UPTIME or min(beat.offered, beat.dropped, beat.refused, beat.errors) < 0:
        return None
    if len(beat.life) > _MAX_LIFE or len(beat.reason) > MAX_REASON:
        return None
    if beat.timeout is not None and not (2 * beat.interval <= beat.timeout <= MAX_TIMEOUT):
        return None
    return beat


def subject_of(prefix: str, name: object) -> str:
    """Returns the subject of a heartbeat's messages.

    Raises:
        OptionError: the name is not text.
        SubjectError: the first tokens cannot be used, or the name cannot be part of a subject.
    """
    if not isinstance(name, str):
        raise OptionError("name", name, "a string")
    return check_subject(f"{check_subject(prefix)}.{name}")


def check_rhythm(interval: float, timeout: float | None) -> tuple[float, float | None]:
    """Returns both as floats.

    Raises:
        OptionError: the interval is out of range, or the timeout tolerates not even one lost beat.
    """
    number = isinstance(interval, int | float) and not isinstance(interval, bool)
    if not number or not MIN_INTERVAL <= interval <= MAX_INTERVAL:
        raise OptionError("interval", interval, f"{MIN_INTERVAL:g} to {MAX_INTERVAL:,.0f} seconds")
    if timeout is None:
        return float(interval), None
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 2 * interval <= timeout <= MAX_TIMEOUT:
        raise OptionError(
            "timeout",
            timeout,
            f"at least 2 × interval = {2 * interval:g} seconds, because otherwise one lost or delayed beat would count as death, and "
            f"at most {MAX_TIMEOUT:,.0f}; None adapts to the measured loss",
        )
    return float(interval), float(timeout)
