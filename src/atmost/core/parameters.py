"""What users can choose at either end: each option is a trade-off, and is checked at construction."""

from __future__ import annotations

from dataclasses import dataclass

from atmost.core.limits import GRACE, MAX_DATAGRAM, MAX_SESSIONS, MIN_DATAGRAM, WINDOW
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
        if self.max_age is not None and not (isinstance(self.max_age, (int, float)) and 0 < self.max_age <= 1e9):
            raise OptionError("max_age", self.max_age, "seconds above 0, or None")


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderOptions:
    """What a sender's user can choose; each is a trade-off."""

    linger: float = 0.005
    """Seconds a message may wait for company. Larger fills datagrams better and delays more; 0: every message alone, at once."""
    max_datagram: int | None = None
    """Bytes of one datagram, headers included; None takes what the path allows. Larger costs less a message and loses more at once."""
    max_bytes_per_second: float | None = None
    """Pacing of the datagrams' bytes; None sends as fast as asked. What does not fit is dropped and counted as `pacing`."""
    max_buffer: int = 262_144
    """Bytes that may wait while the transport cannot take them. Larger survives longer stalls, and sends older messages after them."""
    max_hold: float = 1.0
    """Seconds a numbered datagram waits for a transport that says "not now"; then it is counted as refused."""

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        for name in ("linger", "max_hold"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and 0 <= value <= 60):
                raise OptionError(name, value, "seconds from 0 to 60")
        size, rate, buffer = self.max_datagram, self.max_bytes_per_second, self.max_buffer
        if size is not None and not (isinstance(size, int) and MIN_DATAGRAM <= size <= MAX_DATAGRAM):
            raise OptionError("max_datagram", size, f"bytes from {MIN_DATAGRAM} to {MAX_DATAGRAM}")
        if rate is not None and not (isinstance(rate, (int, float)) and rate >= 1):
            raise OptionError("max_bytes_per_second", rate, "bytes per second, at least 1, or None")
        if not (isinstance(buffer, int) and MIN_DATAGRAM <= buffer <= 1 << 30):
            raise OptionError("max_buffer", buffer, f"bytes from {MIN_DATAGRAM} to {1 << 30}")
