"""The parameters of the guarantee, each a trade-off, checked at construction."""

from __future__ import annotations

from dataclasses import dataclass

from atmost.core.limits import GRACE, MAX_SESSIONS, WINDOW
from atmost.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverOptions:
    """The parameters of the guarantee; each is a trade-off."""

    future_bound: float
    """F, seconds: how far a sender's clock may be ahead. Larger accepts worse clocks and lengthens the start by as much."""
    clock_guard: float
    """G, seconds: how far this clock may be set back between two starts, in total. Larger survives more and lengthens the start."""
    window: int = WINDOW
    """W, datagrams: how far behind the highest number one may arrive. Larger tolerates more reordering; W/8 bytes a lossy session."""
    max_sessions: int = MAX_SESSIONS
    """N: sessions remembered. Larger keeps more senders apart; about 1 KB each."""
    grace: float = GRACE
    """Seconds before missing is called lost, at the earliest. Larger calls fewer reordered datagrams lost, and tells of loss later."""
    max_age: float | None = None
    """L, seconds: older datagrams are refused as `expired`; None accepts any age. A policy of freshness, not of safety."""

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        for name, low in (("future_bound", 0.0), ("clock_guard", 0.0), ("grace", 0.0)):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and low <= value <= 86_400):
                raise OptionError(name, value, f"seconds from {low:g} to 86400")
        for name in ("window", "max_sessions"):
            value = getattr(self, name)
            if not (isinstance(value, int) and 1 <= value <= 1 << 24):
                raise OptionError(name, value, f"a whole number from 1 to {1 << 24}")
        if self.max_age is not None and not 0 < self.max_age <= 1e9:
            raise OptionError("max_age", self.max_age, "seconds above 0, or None")
