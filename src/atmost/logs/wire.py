"""How a record travels: one message, or several when it is larger than a datagram, each telling what it is part of.

Every record carries how many of each level its handler had numbered before it. That is its number and the account of
all before it at once: what is missing between two that came is the difference, level by level, whatever else shares the
sender. What arrives is checked here completely; nothing here raises for it.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from atmost.logs.levels import MAX_LEVEL, MAX_LEVELS, Key

LIFE: Final = 12
"""Bytes that tell one life of a handler from all others: when it began, µs since 1970 (8), and 4 random ones."""
MAX_PARTS: Final = 4096
MAX_FIELDS: Final = 256
"""Fields of one record; more are left out, and the record is `truncated`."""
_MAX_NUMBER: Final = 1 << 63

encode: Final = msgspec.msgpack.Encoder().encode


class Body(msgspec.Struct, omit_defaults=True):
    """A record, a part of one, or a mark; what has its default is not sent."""

    handler: bytes
    """The life of the handler."""
    prior: dict[Key, int]
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
    """No record: only the counts so far."""
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


def read_body(payload: Any) -> Body | None:
    """What a message of a handler carries, or None when it is malformed."""
    try:
        body = msgspec.convert(payload, Body)
    except Exception:  # noqa: BLE001  whatever a stranger's payload provokes means malformed
        return None
    sound = (
        len(body.handler) == LIFE
        and len(body.prior) <= MAX_LEVELS
        and all(0 <= count < _MAX_NUMBER for count in body.prior.values())
        and all(isinstance(level, int) or len(level) <= MAX_LEVEL for level in body.prior)
        and math.isfinite(body.time)
        and 0 <= body.part < body.parts <= MAX_PARTS
        and (body.mark or 0 < len(body.level) <= MAX_LEVEL)
        and (body.fields is None or isinstance(body.fields, dict))
        and body.dropped >= 0
        and body.original_bytes >= 0
    )
    return body if sound else None
