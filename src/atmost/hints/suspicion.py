"""`Suspicion`: since when entries of one shard may be stale although no hint named them.

A suspicion has an epoch: it is about every entry whose load began before it. Epochs only grow, and are counted by the cache.
Pure; not thread-safe.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import Final, NamedTuple

_MAX_RECENT: Final = 8


class Reason(StrEnum):
    """Why an entry is not served, or a fill not kept."""

    ABSENT = "absent"
    """Never cached, evicted, or removed by a hint for its key."""
    EXPIRED = "expired"
    """Older than its time to live."""
    HINT = "hint"
    """A hint for the key, a prefix of it, or one of its tags."""
    GAP = "gap"
    """A hint of its shard was lost."""
    NEW_SESSION = "new_session"
    """An invalidator was heard for the first time, and had given hints of this shard before."""
    ENDED = "ended"
    """An invalidator ended without a goodbye: what it said last may be lost."""
    BLIND = "blind"
    """A known invalidator is silent."""
    FILL_LIMIT = "fill_limit"
    """Too many fills at once."""


class Doubt(NamedTuple):
    """An entry may be stale, or is."""

    reason: Reason
    since: float
    """Seconds; -inf when it is certainly not to be served any more."""


class Suspicion:
    """Of one shard."""

    __slots__ = ("_recent", "epoch", "reason")

    def __init__(self) -> None:
        """Begins without any."""
        self.epoch = 0
        """Entries from before it are not served, whatever the policy."""
        self.reason = Reason.GAP
        self._recent: list[tuple[int, Reason, float]] = []

    def add(self, epoch: int, reason: Reason, since: float, soft: float) -> None:
        """Entries from before `epoch` may be stale.

        Args:
            epoch: of the reader.
            reason: why.
            since: seconds; may be past, when it is found out late.
            soft: how long they may be served nevertheless, seconds.
        """
        if soft <= 0:
            self._make_hard(epoch, reason)
            return
        self._recent.append((epoch, reason, since))
        if len(self._recent) > _MAX_RECENT:  # on the safe side: all that either was about, since the earlier
            first, second = self._recent[:2]
            self._recent[:2] = [(max(first[0], second[0]), second[1], min(first[2], second[2]))]

    def judge(self, born: int, now: float, soft: float) -> Doubt | None:
        """What is to be said of an entry whose load began in the epoch `born`."""
        if self._recent:
            self._harden(now, soft)
        if self.epoch > born:
            return Doubt(self.reason, -inf)
        about = [(since, reason) for epoch, reason, since in self._recent if epoch > born]
        if not about:
            return None
        since, reason = min(about)
        return Doubt(reason, since)

    def _harden(self, now: float, soft: float) -> None:
        over = [one for one in self._recent if one[2] + soft <= now]
        if over:
            self._recent = [one for one in self._recent if one[2] + soft > now]
            for epoch, reason, _ in over:
                self._make_hard(epoch, reason)

    def _make_hard(self, epoch: int, reason: Reason) -> None:
        if epoch > self.epoch:
            self.epoch, self.reason = epoch, reason
