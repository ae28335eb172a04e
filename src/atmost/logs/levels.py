"""`Tally`: how many records of each level a handler has numbered, all in one integer, so that counting takes no lock.

Each level has 64 bits of its own. Reading the integer and storing the greater one has no call and no jump backward in
between, and only there does CPython change threads or run signal handlers; on an interpreter without a global lock the
same step takes a lock.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from typing import Final

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
    """The counts of one life of a handler."""

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
