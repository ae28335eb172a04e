"""Holds the chunks of messages that are not complete, within bounds on each peer and on all.

Pure; one thread at a time. The promise: what is held never exceeds the limits, and every message given up is reported.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

from atmost.ingest.gelf.values import (
    CHUNK_COST,
    MAX_CHUNKS,
    SET_COST,
    GelfEnding,
    GelfIncomplete,
    GelfLimits,
    GelfReason,
    GelfRefusal,
)

MAGIC: Final = b"\x1e\x0f"
_HEADER: Final = 12
"""Bytes: the magic ones, eight of the message's id, the chunk's number from 0, and their count."""
_MAX_FINISHED: Final = 4096
"""Messages lately finished that are remembered, so that a repeated chunk does not begin a new one."""

Key = tuple[str, bytes]


class _Set:
    """The chunks of one message."""

    __slots__ = ("chunks", "count", "first_at", "size")

    def __init__(self, count: int, now: float) -> None:
        self.count = count
        self.first_at = now
        self.chunks: dict[int, bytes] = {}
        self.size = 0

    @property
    def cost(self) -> int:
        return SET_COST + self.size + CHUNK_COST * len(self.chunks)


class _Peer:
    """What one peer has waiting, the oldest first."""

    __slots__ = ("chunks", "keys")

    def __init__(self) -> None:
        self.chunks = 0
        self.keys: dict[Key, None] = {}


class Chunks:
    """All messages that are not complete."""

    def __init__(self, limits: GelfLimits) -> None:
        self._limits = limits
        self._sets: OrderedDict[Key, _Set] = OrderedDict()
        self._peers: dict[str, _Peer] = {}
        self._finished: OrderedDict[Key, tuple[float, bool]] = OrderedDict()
        self.counts: Counter[str] = Counter()
        self.held = 0
        """Bytes."""
        self.given_up: list[GelfIncomplete] = []
        """Taken by the reader."""

    def __len__(self) -> int:
        return len(self._sets)

    def accept(self, datagram: bytes, peer: str, now: float) -> tuple[bytes, int] | None:
        """Takes a chunk.

        Returns:
            The message's bytes and the number of its chunks, when this was the last; else None.

        Raises:
            GelfRefusal: it is not a chunk, or does not go with the others.
        """
        if len(datagram) < _HEADER:
            raise GelfRefusal(GelfReason.MALFORMED_CHUNK)
        number, count = datagram[10], datagram[11]
        if not number < count <= MAX_CHUNKS:
            raise GelfRefusal(GelfReason.MALFORMED_CHUNK)
        data = datagram[_HEADER:]
        key = peer, datagram[2:10]
        self._forget_finished(now)
        if key in self._finished:
            self.counts["repeated_chunks" if self._finished[key][1] else "late_chunks"] += 1
            return None
        found = self._sets.get(key)
        if found is not None and found.count != count:
            raise GelfRefusal(GelfReason.CONFLICTING_COUNT)
        if found is not None and number in found.chunks:
            self.counts["repeated_chunks"] += 1
            return None
        if found is None:
            found = self._begin(key, count, now)
        found.chunks[number] = data
        found.size += len(data)
        self.held += len(data) + CHUNK_COST
        self._peers[peer].chunks += 1
        self.counts["chunks"] += 1
        if len(found.chunks) == count:
            self._remove(key, now, complete=True)
            return b"".join(found.chunks[index] for index in range(count)), count
        self._keep_bounds(key, now)
        return None

    def expire(self, now: float) -> None:
        """Gives up the messages whose time is over."""
        while self._sets:
            key, oldest = next(iter(self._sets.items()))
            if now < oldest.first_at + self._limits.timeout:
                break
            self._give_up(key, GelfEnding.TIMEOUT, now)

    def close(self, now: float) -> None:
        """Gives up all."""
        while self._sets:
            self._give_up(next(iter(self._sets)), GelfEnding.CLOSED, now)

    def next_deadline(self) -> float | None:
        """When `expire` has something to do; None while nothing waits."""
        return next(iter(self._sets.values())).first_at + self._limits.timeout if self._sets else None

    def _begin(self, key: Key, count: int, now: float) -> _Set:
        if len(self._sets) >= self._limits.max_sets:
            self._give_up(next(iter(self._sets)), GelfEnding.SET_LIMIT, now)
        self._sets[key] = begun = _Set(count, now)
        self._peers.setdefault(key[0], _Peer()).keys[key] = None
        self.held += SET_COST
        return begun

    def _keep_bounds(self, key: Key, now: float) -> None:
        peer = self._peers[key[0]]
        while peer.chunks > self._limits.max_chunks_per_peer:
            self._give_up(next(iter(peer.keys)), GelfEnding.PEER_LIMIT, now)
        while self.held > self._limits.max_bytes:
            self._give_up(next(iter(self._sets)), GelfEnding.BYTE_LIMIT, now)

    def _give_up(self, key: Key, reason: GelfEnding, now: float) -> None:
        gone = self._remove(key, now, complete=False)
        received = len(gone.chunks)
        self.given_up.append(
            GelfIncomplete(key[0], key[1].hex(), received, gone.count - received, gone.size, gone.first_at, reason)
        )
        self.counts[reason] += 1

    def _remove(self, key: Key, now: float, *, complete: bool) -> _Set:
        gone = self._sets.pop(key)
        self.held -= gone.cost
        peer = self._peers[key[0]]
        peer.chunks -= len(gone.chunks)
        del peer.keys[key]
        if not peer.keys:
            del self._peers[key[0]]
        self._finished[key] = now, complete
        if len(self._finished) > _MAX_FINISHED:
            self._finished.popitem(last=False)
        return gone

    def _forget_finished(self, now: float) -> None:
        while self._finished:
            key, (at, _) = next(iter(self._finished.items()))
            if now < at + self._limits.timeout:
                break
            del self._finished[key]
