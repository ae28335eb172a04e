"""What a `LogReader` yields: records, gaps where records are missing, and how both are shown to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from atmost.core.events import Session
from atmost.core.names import harmless


class GapReason(StrEnum):
    """What is known of the cause of a gap."""

    LOST = "lost"
    """They left the handler and did not arrive: the network, the kernels, or the sender's socket."""
    DROPPED = "dropped"
    """The sender had no room, or was closed: they never left."""
    PARTLY_DROPPED = "partly_dropped"
    """Some of both; `dropped` says how many."""
    UNATTRIBUTED = "unattributed"
    """Messages of a sender whose log messages carry no counts: they may have been of any use."""
    OVERFLOW = "overflow"
    """The same, and they arrived: the receiver's queue was full."""


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


FURTHER: Final = "    | "
"""What stands before each line of a text but its first."""
_GRAVE: Final = {"ERROR", "CRITICAL"}
_WHY: Final = {
    GapReason.LOST: "lost here",
    GapReason.DROPPED: "lost here, for the sender had no room",
    GapReason.PARTLY_DROPPED: "lost here, {dropped:,} of them for the sender had no room",
    GapReason.UNATTRIBUTED: "lost here; whether they were log messages is not known",
    GapReason.OVERFLOW: "lost here, for this receiver is too slow",
}


def lines(found: LogRecord | LogGap) -> list[str]:
    """A record or a gap as lines of text without anything that could steer a terminal.

    A text keeps its line breaks, but each further line is indented, so that none can pass for a record of its own. The
    first line has no time and no sender: these are the caller's to show.
    """
    return [_gap(found)] if isinstance(found, LogGap) else _record(found)


def _record(record: LogRecord) -> list[str]:
    notes = [
        *(["late"] if record.late else ()),
        *([f"head and tail of {record.original_bytes:,} bytes"] if record.truncated else ()),
        *([f"{len(record.hole)} of {record.parts} parts lost"] if record.hole else ()),
        *([harmless(record.error)] if record.error else ()),
    ]
    first, *rest = record.message.split("\n")
    facts = "".join(f" {harmless(name)}={_value(value)}" for name, value in record.fields.items())
    head = f"{harmless(record.level or '-')} {harmless(record.logger)}: {harmless(first)}"
    after = facts + "".join(f" ({note})" for note in notes)
    further = [*rest, *(record.exception.split("\n") if record.exception else ())]
    return [head + after, *(FURTHER + harmless(line) for line in further)]


def _gap(gap: LogGap) -> str:
    unit = "message" if gap.by_level is None else "record"
    if not gap.lost:
        return f"-- {_count(gap.late, unit)} of {harmless(gap.sender)} came late: nothing lost after all"
    levels = ""
    if gap.by_level is not None:
        told = {level: count for level, count in gap.by_level.items() if count or level in _GRAVE}
        if not _GRAVE & told.keys():
            told["ERROR"] = 0
        levels = ": " + ", ".join(f"{count:,} {harmless(level)}" for level, count in told.items())
    why = _WHY[gap.reason].format(dropped=gap.dropped)
    late = f" ({gap.late:,} that were counted so came late)" if gap.late else ""
    return f"-- {_count(gap.lost, unit)} of {harmless(gap.sender)} {why}{levels}{late}"


def _value(value: object) -> str:
    return harmless(value if isinstance(value, str) else repr(value))


def _count(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"
