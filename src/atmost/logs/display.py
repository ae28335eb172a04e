"""Shows records and gaps to people: text from strangers made harmless, and every line of it recognisable as theirs.

A text keeps its line breaks, but each further line is indented, so that none can pass for a record of its own.
"""

from __future__ import annotations

from typing import Final

from atmost.core.escapes import harmless
from atmost.logs.reasons import GapReason
from atmost.logs.records import LogGap, LogRecord

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
    """A record or a gap as lines without anything that could steer a terminal; the first has no time and no sender."""
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
