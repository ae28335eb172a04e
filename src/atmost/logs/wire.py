"""How a record travels: one message, or several when it is larger than a datagram, each telling what it is part of.

Every record carries how many of each level its handler had numbered before it. That is its number and the account of
all before it at once: what is missing between two that came is the difference, level by level, whatever else shares the
sender. What arrives is checked here completely; nothing here raises for it.
"""

from __future__ import annotations

import math
import sys
import threading
from collections import Counter
from typing import Any, Final

import msgspec

Key = int | str
"""A level on the wire: its number where it is a standard level of the standard name, else its name."""

STANDARD: Final[dict[str, int]] = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
NAMES: Final[dict[Key, str]] = {number: name for name, number in STANDARD.items()}
OTHER: Final = "OTHER"
"""What levels beyond `MAX_LEVELS` are counted as."""
MAX_LEVELS: Final = 16
"""Levels counted apart; so few, that the counts stay a few bytes."""
MAX_TOTALS: Final = 256
"""Levels of all lives counted apart."""
MAX_LEVEL: Final = 32
"""A level's name, characters."""
_FIRST: Final[tuple[Key, ...]] = (20, 30, 40, 10, 50, OTHER)
"""The order of the bits: the usual levels low, so that the integer stays small and is spread quickly."""
_BITS: Final = 64
_MASK: Final = (1 << _BITS) - 1

LOCK_FREE: Final = sys.implementation.name == "cpython" and bool(getattr(sys, "_is_gil_enabled", lambda: True)())


class Tally:
    """How many records of each level one life of a handler has numbered, all in one integer, so that counting takes no lock.

    Each level has 64 bits of its own. Between reading the integer and storing the greater one there is no call and no
    jump backward, and only there does CPython switch threads or run signal handlers. On an interpreter without a global
    lock the same step takes a lock.
    """

    __slots__ = ("_keys", "_lock", "_steps", "packed")

    def __init__(self) -> None:
        """Begins at 0."""
        self.packed = 0
        self._keys: list[Key] = list(_FIRST)
        self._steps: dict[str, tuple[int, str]] = {}
        self._lock = threading.RLock()

    def step(self, level: str) -> tuple[int, str]:
        """What `take` adds for a level, and the name under which it counts."""
        try:
            known = self._steps.get(level)
        except TypeError:  # not even hashable
            known = None
        return self._admit(level) if known is None else known

    def take(self, step: int) -> int:
        """Numbers a record: returns the counts prior to it, packed."""
        prior = self.packed
        self.packed = prior + step
        return prior

    def take_guarded(self, step: int) -> int:
        """The same, where nothing else makes it one step for other threads."""
        with self._lock:
            prior = self.packed
            self.packed = prior + step
        return prior

    def spread(self, packed: int) -> dict[Key, int]:
        """Counts by level; levels without records are left out."""
        counts: dict[Key, int] = {}
        for key in self._keys:
            if not packed:
                break
            count = packed & _MASK
            if count:
                counts[key] = count
            packed >>= _BITS
        return counts

    def _admit(self, level: str) -> tuple[int, str]:
        name = (level[:MAX_LEVEL].encode(errors="replace").decode() or OTHER) if isinstance(level, str) else OTHER
        key = STANDARD.get(name, name)
        if key not in self._keys:
            if len(self._keys) < MAX_LEVELS:
                self._keys.append(key)  # two threads may append the same one: the second stays unused
            else:
                key = name = OTHER
        known = 1 << _BITS * self._keys.index(key), name
        if isinstance(level, str) and len(self._steps) < 4 * MAX_LEVELS:
            self._steps[level] = known
        return known


class LevelTotals:
    """Counts by level over many lives, of which each may have levels of its own."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        """Begins at 0."""
        self.counts: Counter[Key] = Counter()

    def add(self, level: Key, count: int) -> None:
        """Counts a level, beyond `MAX_TOTALS` of them as `OTHER`: a level that once was counted so always is."""
        if level not in self.counts and len(self.counts) >= MAX_TOTALS:
            level = OTHER
        self.counts[level] += count


def key_of(level: str) -> Key:
    """A level's name as the counts have it."""
    return STANDARD.get(level, level)


def name_of(key: Key) -> str:
    """A level of the counts for people."""
    return NAMES.get(key) or str(key)


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
