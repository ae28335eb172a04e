"""Reports a kind of trouble once, then at most every ten seconds with its count (R23).

A flood of refused datagrams must not become a flood of log lines.
Bounded: beyond `MAX_EPISODES` kinds at once, the rest is counted in the ledger but not reported.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from atmost.core.limits import EPISODE, MAX_EPISODES

Kind = TypeVar("Kind", bound=Hashable)


class Episodes(Generic[Kind]):
    """When each kind was last reported, and how often it has occurred since."""

    __slots__ = ("_kinds", "_quiet_until")

    def __init__(self) -> None:
        """Begins with nothing to report."""
        self._kinds: dict[Kind, list[float]] = {}
        self._quiet_until = float("inf")

    def note(self, kind: Kind, now: float, count: int = 1) -> int:
        """Counts an occurrence; returns how many to report now, 0 while the kind is to stay quiet."""
        entry = self._kinds.get(kind)
        if entry is None:
            if len(self._kinds) >= MAX_EPISODES:
                return 0
            # The deadline first: an exception that a signal raises in between must not leave a kind without one.
            self._quiet_until = min(self._quiet_until, now + EPISODE)
            self._kinds[kind] = [now, 0]
            return count
        entry[1] += count
        return 0

    def next_deadline(self) -> float | None:
        """When `due` should be called, monotonic seconds; None when nothing was noted lately."""
        return self._quiet_until if self._kinds else None

    def due(self, now: float) -> Iterator[tuple[Kind, int]]:
        """Yields the kinds whose quiet time is over and that occurred meanwhile, with their counts; forgets the others."""
        for kind, entry in list(self._kinds.items()):
            if now < entry[0] + EPISODE:
                continue
            if entry[1]:
                yield kind, int(entry[1])
                self._kinds[kind] = [now, 0]
            else:
                del self._kinds[kind]
        self._quiet_until = min((entry[0] + EPISODE for entry in self._kinds.values()), default=float("inf"))
