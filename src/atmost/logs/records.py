"""What a `LogReader` yields: records, and gaps where records are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from atmost.core.events import Session
from atmost.logs.reasons import GapReason


class LogRecord(msgspec.Struct, kw_only=True, eq=False):
    """One record; texts are as they were logged, see `display` for showing them on a terminal."""

    t: float
    """When it was logged, by the sender's clock, seconds since 1970."""
    sender: str
    """The sender's name, or its identity while no beacon has told the name."""
    host: str
    session: Session
    subject: str
    logger: str
    level: str | None
    """None where the sender did not say."""
    message: str
    exception: str = ""
    """The traceback, and the stack where one was asked for."""
    fields: Mapping[str, Any]
    """What the caller added, by name."""
    thread: str = ""
    process: int = 0
    error: str = ""
    """What went wrong in making this record of what was logged."""
    late: bool = False
    """It came after it had been reported missing: it belongs before what was yielded already, by `number`."""
    truncated: bool = False
    """Of its texts only head and tail, or of its fields only some, are here."""
    original_bytes: int = 0
    """Of texts and fields, where it is truncated."""
    hole: tuple[int, ...] = ()
    """Parts of it that were lost, from 0; the texts say so where they are missing."""
    parts: int = 1
    """Messages it was sent in."""
    life: str = ""
    """The life of the handler that numbered it; empty for a plain log message."""
    number: int | None = None
    """Its number in that life, from 0, without holes; None for a plain log message."""


@dataclass(frozen=True, slots=True)
class LogGap:
    """Records that are missing, where they are missing.

    A later gap of the same `life` and `first` replaces this one: it has been lowered by late arrivals, or raised where
    nothing came between two overflows.
    """

    sender: str
    host: str
    session: Session
    life: str
    """The life of the handler; of plain log messages the session."""
    first: int
    """The first missing number; for plain log messages the first missing datagram's."""
    last: int
    """The last one. What came of the numbers between them is not in `lost`."""
    lost: int
    """Records; for plain log messages messages of any use."""
    reason: GapReason
    by_level: Mapping[str, int] | None
    """`lost` divided; every level of which this life had logged anything is there. None for plain log messages."""
    dropped: int
    """Of `lost`, those that never left the sender."""
    late: int
    """Records of this gap that came after all."""
    from_t: float | None
    """When the record before it was logged, seconds since 1970; None where that is unknown."""
    to_t: float | None
    """When what came after it was sent."""


@dataclass(frozen=True, slots=True)
class LogSource:
    """One life of one handler, and what came of it."""

    sender: str
    host: str
    pid: int
    life: str
    numbered: int
    """Records known to have been logged."""
    received: int
    lost: int
    by_level: Mapping[str, int]
    """`lost` divided."""
    late: int
    pending: int
    """Missing, and still within the grace."""
    before_join: int
    """Logged before this reader could have had them: neither received nor lost."""
    holes: int
    """Records with a hole."""
    dropped: int
    """Records dropped at the sender, as it says."""
    closed: bool
    last_t: float
    """When it was last heard of, by the sender's clock, seconds since 1970."""
