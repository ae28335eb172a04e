"""`Numbering`: the numbers of one life of an invalidator, and the payloads that carry them.

Pure but for the lock that makes taking a number one step; safe from any thread. Time is an argument.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from atmost.hints.wire import Kind, Mark, shard_of

_RECENT: Final = 8
_RECENT_BYTES: Final = 256
_RECENT_INTERVALS: Final = 4
"""A prefix hint is repeated by so many marks: the gap that its loss left is filled by whatever shows it."""

Payload = list[object]


class Numbering:
    """One life."""

    def __init__(self, life: bytes, name: str, host: str, interval: float, shards: int) -> None:
        """Begins at zero.

        Args:
            life: 8 random bytes.
            name, host: who this is, so that a life that takes over from a dead one is known as such.
            interval: seconds between marks.
            shards: of keys, and of tags.
        """
        self.life = life
        self._name, self._host = name, host
        self._interval = interval
        self._shards = shards
        self._keys = [0] * shards
        self._tags = [0] * shards
        self._prefixes = 0
        self._recent: deque[tuple[int, str, float]] = deque(maxlen=_RECENT)
        self._guard = threading.RLock()  # a signal handler may invalidate in the middle of an invalidation

    def hint(self, kind: Kind, text: str, uptime: float, digest: int | None = None) -> Payload:
        """Spends a number; from here on every mark tells that there is such a hint.

        Args:
            kind: of the text.
            text: the key, prefix or tag.
            uptime: seconds of this life.
            digest: of the new value.
        """
        shard = 0
        with self._guard:
            if kind is Kind.PREFIX:
                self._prefixes = number = self._prefixes + 1
                self._recent.append((number, text, uptime))
            else:
                numbers = self._keys if kind is Kind.KEY else self._tags
                shard = shard_of(text, self._shards)
                numbers[shard] = number = numbers[shard] + 1
        head: Payload = [self.life, shard, number, text]
        return head if digest is None else [*head, digest]

    def mark(self, uptime: float, *, closed: bool = False) -> Mark:
        """The highest number of every sequence.

        Args:
            uptime: seconds of this life, read *before* this call: every number taken until then is in it.
            closed: whether it is the goodbye.
        """
        with self._guard:
            return Mark(
                life=self.life,
                name=self._name,
                host=self._host,
                interval=self._interval,
                uptime=uptime,
                closed=closed,
                keys=self._keys.copy(),
                tags=self._tags.copy(),
                prefixes=self._prefixes,
                recent=self._repeated(uptime),
            )

    def _repeated(self, uptime: float) -> list[tuple[int, str]]:
        room, chosen = _RECENT_BYTES, []
        for number, text, at in reversed(self._recent):  # the latest first: a gap is filled from its end
            room -= len(text.encode()) + 8
            if room < 0 or at + _RECENT_INTERVALS * self._interval < uptime:
                break
            chosen.append((number, text))
        return chosen[::-1]
