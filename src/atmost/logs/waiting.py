"""`Waiting`: what is kept back while the sender has no room, and which record goes when that is too much.

Its lock is held for as long as handing over takes, which never waits; a signal handler may log in the middle of it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, NamedTuple

from atmost.endpoint.sender import Sender
from atmost.logs.parcel import Parcel
from atmost.logs.reasons import DropPolicy

_IN_SENDER: Final = 64
"""Messages in a sender that is not rid of them; beyond it the policy of this queue decides what goes."""


class _Entry(NamedTuple):
    order: int
    parcel: Parcel


class Waiting:
    """At most so many records, sent in the order in which they were logged."""

    def __init__(self, sender: Sender, size: int, policy: DropPolicy) -> None:
        """Args: sender: takes them. size: records. policy: which goes when there are more."""
        self._sender = sender
        self._max = size
        self._policy = policy
        self._guard = threading.RLock()
        self._by_rank: dict[int, deque[_Entry]] = {}
        self._count = 0
        self._order = 0
        self._draining = False

    def __len__(self) -> int:
        """Records that wait."""
        return self._count

    def offer(self, rank: int, parcel: Parcel) -> int:
        """Sends a record, or keeps it back; returns how many were dropped for it, which may be itself.

        Args:
            rank: its level as a number.
            parcel: the record.
        """
        with self._guard:
            self.drain()
            if not self._count and self._has_room() and parcel.send(self._sender):
                return 0
            dropped = 0
            if self._count >= self._max:
                lowest = min(self._by_rank)
                if self._policy is DropPolicy.LOWEST and rank < lowest:
                    return 1
                self._remove(lowest if self._policy is DropPolicy.LOWEST else self._oldest())
                dropped = 1
            self._order += 1
            self._by_rank.setdefault(rank, deque()).append(_Entry(self._order, parcel))
            self._count += 1
            return dropped

    def drain(self) -> None:
        """Sends as much of it as there is room for."""
        if not self._count:
            return
        with self._guard:
            if self._draining:  # interrupted by a signal handler that logs
                return
            self._draining = True
            try:
                while self._count and self._has_room():
                    rank = self._oldest()
                    if not self._by_rank[rank][0].parcel.send(self._sender):
                        return
                    self._remove(rank)
            finally:
                self._draining = False

    def give_up(self) -> int:
        """Drops all of it; returns how many that were."""
        with self._guard:
            count, self._count = self._count, 0
            self._by_rank.clear()
            return count

    def _has_room(self) -> bool:
        if self._sender.stats().open < _IN_SENDER:
            return True
        self._sender.flush()
        return self._sender.stats().open < _IN_SENDER

    def _oldest(self) -> int:
        return min(self._by_rank, key=lambda rank: self._by_rank[rank][0].order)

    def _remove(self, rank: int) -> None:
        entries = self._by_rank[rank]
        entries.popleft()
        self._count -= 1
        if not entries:
            del self._by_rank[rank]
