"""`Changes`: everything that makes entries stale without naming their keys, and what it says of one entry.

Suspicions by shard of keys and of tags, and of everything; prefixes and tags that were invalidated, each with its epoch.
Memory is bounded: what is older than `max_ttl` concerns no entry any more, and beyond the limit the oldest tags count
for all of their shard, the oldest prefixes for everything.
Pure; time is an argument. Not thread-safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import Final

from atmost.hints.suspicion import Doubt, Reason, Suspicion
from atmost.hints.wire import shard_of

MAX_TAGS: Final = 8192
MAX_PREFIXES: Final = 256

Tagged = tuple[tuple[str, int], ...]
"""The tags of an entry, each with its shard."""


class Changes:
    """What is known to have changed, or may have."""

    def __init__(self, shards: int, max_ttl: float, soft: float) -> None:
        """Begins with nothing.

        Args:
            shards: of keys, and of tags.
            max_ttl: seconds after which no entry is left.
            soft: how long what is only suspected may be served, seconds.
        """
        self.epoch = 1
        """Grows with everything that may concern entries: an entry belongs to the epoch in which its load began."""
        self.version = 0
        """Another one when entries must be judged again."""
        self.counts: Counter[str] = Counter()
        self._shards, self._max_ttl, self._soft = shards, max_ttl, soft
        self._keys = [Suspicion() for _ in range(shards)]
        self._tag_shards = [Suspicion() for _ in range(shards)]
        self._all = Suspicion()
        self._tag_floors = [0] * shards
        self._floor = 0
        """Entries from before it may have a prefix that is no longer remembered: they count as stale."""
        self._tags: dict[str, tuple[int, float]] = {}
        self._prefixes: dict[str, tuple[int, float]] = {}
        self._lengths: tuple[int, ...] = ()

    def next_epoch(self) -> int:
        """What is loaded from now on is newer than what is known by now."""
        self.epoch += 1
        return self.epoch

    def suspect_keys(self, shards: Sequence[int], epoch: int, reason: Reason, since: float) -> None:
        """Entries of these shards from before `epoch` may be stale."""
        self._suspect([self._keys[shard] for shard in shards], epoch, reason, since)

    def suspect_tags(self, shards: Sequence[int], epoch: int, reason: Reason, since: float) -> None:
        """Entries with a tag in these shards from before `epoch` may be stale."""
        self._suspect([self._tag_shards[shard] for shard in shards], epoch, reason, since)

    def suspect_all(self, epoch: int, reason: Reason, since: float) -> None:
        """Every entry from before `epoch` may be stale."""
        self._suspect([self._all], epoch, reason, since)

    def invalidate_tag(self, tag: str, now: float) -> None:
        """Entries with this tag are stale."""
        self._tags.pop(tag, None)  # the order of the dictionary is that of the epochs
        self._tags[tag] = (self.next_epoch(), now)
        self.version += 1
        while len(self._tags) > MAX_TAGS:
            oldest = next(iter(self._tags))
            epoch, at = self._tags.pop(oldest)
            if at + self._max_ttl > now:
                self.counts["tag_limit"] += 1
                self._tag_floors[shard_of(oldest, self._shards)] = epoch

    def invalidate_prefix(self, prefix: str, now: float) -> None:
        """Entries whose keys begin with this are stale."""
        self._prefixes.pop(prefix, None)
        self._prefixes[prefix] = (self.next_epoch(), now)
        self.version += 1
        while self._prefixes:
            oldest = next(iter(self._prefixes))
            epoch, at = self._prefixes[oldest]
            if at + self._max_ttl > now:
                if len(self._prefixes) <= MAX_PREFIXES:
                    break
                self.counts["prefix_limit"] += 1
                self._floor = epoch
            del self._prefixes[oldest]
        self._lengths = tuple({len(each) for each in self._prefixes})

    def judge(self, key: str, shard: int, tags: Tagged, born: int, now: float) -> Doubt | None:
        """What is to be said of an entry; None when it is as good as new.

        Args:
            key: its key.
            shard: of the key.
            tags: its tags.
            born: the epoch in which its load began.
            now: seconds.
        """
        if self._hinted(key, tags, born):
            return Doubt(Reason.HINT, -inf)
        about = [self._all, self._keys[shard], *[self._tag_shards[tag_shard] for _, tag_shard in tags]]
        doubts = [doubt for one in about if (doubt := one.judge(born, now, self._soft)) is not None]
        return min(doubts, key=_since, default=None)

    def _hinted(self, key: str, tags: Tagged, born: int) -> bool:
        if self._floor > born:
            return True
        never = (0, 0.0)
        if any(self._prefixes.get(key[:length], never)[0] > born for length in self._lengths):
            return True
        return any(self._tags.get(tag, never)[0] > born or self._tag_floors[shard] > born for tag, shard in tags)

    def _suspect(self, those: Sequence[Suspicion], epoch: int, reason: Reason, since: float) -> None:
        for suspicion in those:
            suspicion.add(epoch, reason, since, self._soft)
        self.version += 1


def _since(doubt: Doubt) -> float:
    return doubt.since
