"""What the user of a handler can choose; each is a trade-off, and is checked at construction."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from atmost.errors import OptionError
from atmost.logs.reasons import DropPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """The options of `LogHandler`, the structlog processor and the loguru sink."""

    subject: str = "logs"
    """The first tokens of the subjects; the logger's name is the rest."""
    drop: str = DropPolicy.NEWEST
    """Which record goes when the sender has no room: the `newest`, the `oldest`, or one of the `lowest` level.
    With `newest` nothing is kept beside the sender's own buffer, and no lock taken."""
    max_queue: int = 1000
    """Records kept back for the other two while the sender has no room. Larger survives longer stalls, and sends older
    records after them."""
    max_record: int = 65_536
    """Bytes of texts and fields of one record; beyond it head and tail are kept."""
    mark_interval: float = 5.0
    """Seconds between marks, which say how many records there were. Shorter finds losses at the end of a burst sooner,
    and costs a message each while something is logged."""
    flush_level: int = logging.ERROR
    """Records of this level and above leave at once, without waiting for company."""

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        if self.drop not in tuple(DropPolicy):
            raise OptionError("drop", self.drop, "newest, oldest or lowest")
        for name, least, most, unit in (
            ("max_queue", 1, 1_000_000, "records"),
            ("max_record", 512, 1 << 20, "bytes"),
            ("flush_level", 0, 1_000_000, "as a level's number, like logging.ERROR"),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise OptionError(name, value, f"{least:,} to {most:,} {unit}")
        interval = self.mark_interval
        if not isinstance(interval, int | float) or not 0.05 <= interval <= 3600:
            raise OptionError("mark_interval", interval, "0.05 to 3600 seconds")
