"""How a record travels: one message, or several when it is larger than a datagram, each naming the record it is part of.

Every record carries how many of each level its handler had numbered before it. That is its number and the account of
all before it at once: what is missing between two that came is the difference, level by level, whatever else shares the
sender. What arrives is checked here completely; nothing here raises because of it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec

from atmost.core.limits import MAX_TIME

LevelKey = int | str
"""A level on the wire: its number where it is a standard level of the standard name, else its name."""

STANDARD: Final[dict[str, int]] = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
NAMES: Final[dict[LevelKey, str]] = {number: name for name, number in STANDARD.items()}
OTHER: Final = "OTHER"
"""What levels beyond `MAX_LEVELS` are counted as."""
MAX_LEVELS: Final = 16
"""Levels counted apart; so few that the counts stay a few bytes."""
MAX_TOTALS: Final = 256
"""Levels of all lives counted apart."""
MAX_LEVEL: Final = 32
"""A level's name, characters."""


class LevelTotals:
    """Counts by level over many lives, of which each may have levels of its own."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        """Begins at 0."""
        self.counts: Counter[LevelKey] = Counter()

    def count(self, level: LevelKey, count: int) -> None:
        """Counts a level, beyond `MAX_TOTALS` of them as `OTHER`: a level that once was counted so always is."""
        if level not in self.counts and len(self.counts) >= MAX_TOTALS:
            level = OTHER
        self.counts[level] += count


def level_key(level: str) -> LevelKey:
    """Returns a level's name as the counts have it."""
    return STANDARD.get(level, level)


def level_name(key: LevelKey) -> str:
    """Returns a level of the counts for people."""
    return NAMES.get(key) or str(key)


LIFE: Final = 12
"""Bytes that distinguish one life of a handler from all others: when it began, µs since 1970 (8), and 4 random ones."""
MAX_PARTS: Final = 4096
MAX_FIELDS: Final = 256
"""Fields of one record; more are left out, and the record is `truncated`."""
MAX_NUMBER: Final = 1 << 63
"""Above every record's number."""

encode: Final = msgspec.msgpack.Encoder().encode


class Body(msgspec.Struct, omit_defaults=True):
    """A record, a part of one, or a mark; what has its default is not sent."""

    handler: bytes
    """The life of the handler."""
    prior: dict[LevelKey, int]
    """Records of each level that this life numbered before this one; of a mark, so far."""
    time: float
    """When it was logged, seconds since 1970."""
    level: str = ""
    message: str = ""
    logger: str = ""
    """Where the subject does not tell it."""
    thread: str = "MainThread"
    process: int = 0
    exception: str = ""
    """The traceback, and the stack where one was asked for."""
    fields: Any = None
    """What the caller added, by name."""
    error: str = ""
    """What went wrong in making this record of what was logged."""
    truncated: bool = False
    original_bytes: int = 0
    """Of texts and fields, where the record was truncated."""
    dropped: int = 0
    """Records of this life that were dropped at the sender before this was sent."""
    part: int = 0
    parts: int = 1
    mark: bool = False
    """Not a record: only the counts so far."""
    final: bool = False
    """The last mark of a life."""

    @property
    def number(self) -> int:
        """Records of this life before this one."""
        return sum(self.prior.values())

    @property
    def began_us(self) -> int:
        """When this life began, by its own clock, µs since 1970."""
        return int.from_bytes(self.handler[:8], "big")


def is_ours(payload: Any) -> bool:
    """Whether a message says that it comes from a handler; others are plain log messages."""
    return payload.__class__ is dict and "handler" in payload and "prior" in payload


def read_body(payload: Any, sent_at: float) -> Body | None:
    """Returns what a message of a handler carries, or None when it is malformed.

    Args:
        payload: of the message.
        sent_at: when the message was sent, seconds since 1970: stands in for a time that cannot be one, with a note.
    """
    try:
        body = msgspec.convert(payload, Body)
    except Exception:  # noqa: BLE001  whatever a stranger's payload provokes means malformed
        return None
    sound = (
        len(body.handler) == LIFE
        and len(body.prior) <= MAX_LEVELS
        and all(0 <= count < MAX_NUMBER for count in body.prior.values())
        and all(isinstance(level, int) or len(level) <= MAX_LEVEL for level in body.prior)
        and 0 <= body.part < body.parts <= MAX_PARTS
        and (body.mark or 0 < len(body.level) <= MAX_LEVEL)
        and (body.fields is None or isinstance(body.fields, dict))
        and body.number < MAX_NUMBER
        and body.dropped >= 0
        and body.original_bytes >= 0
    )
    if not sound:
        return None
    if not 0 <= body.time <= MAX_TIME:  # NaN is not either
        body.time, note = time_or(sent_at, body.time)
        body.error = f"{body.error}; {note}" if body.error else note
    return body


def read_next(payload: dict[Any, Any], prior: dict[LevelKey, int]) -> Body | None:
    """Returns what a message of a handler carries when it is a sound and whole record with these counts before it.

    Args:
        payload: of the message.
        prior: sound themselves, but for their number.

    Returns:
        The same as `read_body`; None for anything else, sound or not.
    """
    try:
        body = msgspec.convert(payload, Body)
    except Exception:  # noqa: BLE001  as above
        return None
    fields = body.fields
    if (
        body.prior != prior
        or body.parts != 1
        or body.part
        or body.mark
        or body.final
        or not 0 <= body.time <= MAX_TIME
        or not 0 < len(body.level) <= MAX_LEVEL
        or (fields is not None and fields.__class__ is not dict)
        or body.dropped < 0
        or body.original_bytes < 0
        or len(prior) > MAX_LEVELS
    ):
        return None
    return body


def time_or(sent_at: float, time: object) -> tuple[float, str]:
    """Returns a time as it is, or the time of sending and a note in its place when it cannot be a time.

    Args:
        sent_at: seconds since 1970.
        time: what was given as one; None is nothing, and needs no note.
    """
    if time is None:
        return sent_at, ""
    if isinstance(time, int | float) and not isinstance(time, bool) and 0 <= time <= MAX_TIME:
        return float(time), ""
    shown = repr(time)[:32] if isinstance(time, int | float | str) else type(time).__name__
    return sent_at, f"its time is not in seconds since 1970 ({shown}): the time of sending is shown"
