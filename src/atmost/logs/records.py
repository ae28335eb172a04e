"""What a `LogReader` yields: records, gaps where records are missing, and how both are shown to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from atmost.core.events import Session
from atmost.core.names import harmless


class LogGapReason(StrEnum):
    """What is known of the cause of a gap."""

    LOST = "lost"
    """They left the handler and did not arrive: the network, the kernels, or the sender's socket."""
    DROPPED = "dropped"
    """The sender had no room, or was closed: they never left."""
    PARTLY_DROPPED = "partly_dropped"
    """Both: some were lost, and `dropped` of them dropped."""
    UNATTRIBUTED = "unattributed"
    """Messages of a sender whose log messages carry no counts: they may have been of any use."""
    OVERFLOW = "overflow"
    """Messages of such a sender that arrived and found the receiver's queue full."""


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
    """None if the sender gave none."""
    message: str
    exception: str = ""
    """The traceback, and the stack where one was asked for."""
    fields: Mapping[str, Any]
    """What the caller added, by name."""
    thread: str = ""
    process: int = 0
    error: str = ""
    """The error that occurred while this record was made."""
    late: bool = False
    """It came after it had been reported missing: it belongs before what was yielded already, by `number`."""
    truncated: bool = False
    """Whether its texts were cut to head and tail, or some fields left out."""
    original_bytes: int = 0
    """Size of texts and fields before they were cut (bytes)."""
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
    """The last missing number. Records between the two that did arrive are not in `lost`."""
    lost: int
    """Records; for plain log messages messages of any use."""
    reason: LogGapReason
    by_level: Mapping[str, int] | None
    """`lost` by level, with every level that this life has used. None for plain log messages."""
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
    """Records dropped at the sender, as it reports."""
    tail_lost: int
    """Messages of its session that are missing after the last one heard of it: perhaps records, perhaps not."""
    closed: bool
    """Whether its final mark came, so that `numbered` is exact."""
    last_t: float
    """When it was last heard of, by the sender's clock, seconds since 1970."""


FURTHER: Final = "    | "
"""What stands before each line of a text but its first."""
MAX_DISPLAY: Final = 65_536
"""Characters that a record takes on a display, at most: a kilobyte of compressed control characters would take a million."""
_MAX_FACT: Final = 4_096
"""Of a name, a field or a note."""
_GRAVE: Final = {"ERROR", "CRITICAL"}
_WHY: Final = {
    LogGapReason.LOST: "lost here",
    LogGapReason.DROPPED: "lost here, because the sender had no room",
    LogGapReason.PARTLY_DROPPED: "lost here, {dropped:,} of them because the sender had no room",
    LogGapReason.UNATTRIBUTED: "lost here; whether they were log messages is not known",
    LogGapReason.OVERFLOW: "lost here, because this receiver is too slow",
}


def display_lines(found: LogRecord | LogGap) -> list[str]:
    """Returns a record or a gap as lines of text without control characters that a terminal would obey. It never raises.

    A text keeps its line breaks, but each further line is indented, so that no line looks like a record of its own. The
    first line has no time and no sender: these are the caller's to show. All lines together have at most `MAX_DISPLAY`
    characters; what is left out is counted in the last one.
    """
    return [_gap(found)] if isinstance(found, LogGap) else _record(found)


def _record(record: LogRecord) -> list[str]:
    notes = [
        *(["late"] if record.late else ()),
        *([f"head and tail of {record.original_bytes:,} bytes"] if record.truncated else ()),
        *([f"{len(record.hole)} of {record.parts} parts lost"] if record.hole else ()),
        *([_shown(record.error)] if record.error else ()),
    ]
    room = _Room(MAX_DISPLAY)
    first, *rest = record.message[:MAX_DISPLAY].split("\n")
    head = f"{_shown(record.level or '-')} {_shown(record.logger)}: {room.take(first)}"
    facts = "".join(room.take(f" {_shown(name)}={_value(value)}", shown=True) for name, value in record.fields.items())
    further = [*rest, *(record.exception[:MAX_DISPLAY].split("\n") if record.exception else ())]
    lines = [head + facts + "".join(f" ({note})" for note in notes)]
    lines += [FURTHER + room.take(line) for line in further if room.has_line(line)]
    left_out = room.left_out + max(0, len(record.message) - MAX_DISPLAY) + max(0, len(record.exception) - MAX_DISPLAY)
    if left_out:
        lines.append(f"{FURTHER}[more than is shown here: {left_out:,} characters]")
    return lines


class _Room:
    """What is left of a display's characters."""

    def __init__(self, characters: int) -> None:
        self.left = characters
        self.left_out = 0

    def has_line(self, text: str) -> bool:
        """Whether there is room for a further line, which costs its margin too; one that has none is counted."""
        if self.left <= len(FURTHER):
            self.left_out += len(text) + 1
            return False
        self.left -= len(FURTHER)
        return True

    def take(self, text: str, *, shown: bool = False) -> str:
        """Returns as much of a text as there is room for, made harmless."""
        if self.left <= 0:
            self.left_out += len(text)
            return ""
        harmless_text = text if shown else harmless(text[: self.left])
        kept = harmless_text[: self.left]
        self.left -= len(kept)
        self.left_out += max(0, len(text) - len(kept))
        return kept


def _gap(gap: LogGap) -> str:
    unit = "message" if gap.by_level is None else "record"
    if not gap.lost:
        return f"-- {_count(gap.late, unit)} of {_shown(gap.sender)} came late: nothing lost after all"
    levels = ""
    if gap.by_level is not None:
        counted = {level: count for level, count in gap.by_level.items() if count or level in _GRAVE}
        if not _GRAVE & counted.keys():
            counted["ERROR"] = 0
        levels = ": " + ", ".join(f"{count:,} {_shown(level)}" for level, count in counted.items())
    why = _WHY[gap.reason].format(dropped=gap.dropped)
    late = f" ({gap.late:,} that were counted here came late)" if gap.late else ""
    return f"-- {_count(gap.lost, unit)} of {_shown(gap.sender)} {why}{levels}{late}"


def _value(value: object) -> str:
    if isinstance(value, str):
        return _shown(value)
    try:
        return _shown(repr(value))
    except Exception as error:  # noqa: BLE001  deeper than the interpreter can go
        return f"<not shown: {type(error).__name__}>"


def _shown(text: str) -> str:
    return harmless(text[:_MAX_FACT])[:_MAX_FACT]


def _count(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"
