"""The last samples of rejected input, escaped, with reason and peer.

Pure; not thread-safe.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

_SPACING: Final = 0.05
"""Least time between two samples of one kind once it is full, which bounds the cost of a flood (seconds)."""


class Sample(msgspec.Struct, kw_only=True):
    """One rejected line, record or datagram."""

    t: float
    listener: str
    """The protocol: statsd, syslog or gelf; atmost for what our senders sent; export for what /metrics left out."""
    address: str
    """The listener's address, because several listeners may share a protocol; metrics, logs or heartbeats for our senders."""
    peer: str
    """Who sent it: an address, or a sender's name."""
    reason: str
    sample: str


class RejectedSamples:
    """The last samples; one reason at one address may fill a tenth, so that a flood of one kind hides no other."""

    def __init__(self, size: int) -> None:
        """Args: size: the most samples kept."""
        self._each = max(1, size // 10)
        self._size = size
        self._by_reason: dict[tuple[str, str], deque[Sample]] = {}

    def append(self, sample: Sample) -> None:
        """Adds a sample; where there is no room, the oldest of its kind or of all goes."""
        kind = (sample.address, sample.reason)
        own = self._by_reason.get(kind)
        if own is None:
            own = self._by_reason[kind] = deque(maxlen=self._each)
        elif len(own) == self._each and sample.t - own[-1].t < _SPACING:
            return
        own.append(sample)
        if sum(map(len, self._by_reason.values())) > self._size:
            oldest = min(self._by_reason, key=lambda each: self._by_reason[each][0].t)
            self._by_reason[oldest].popleft()
            if not self._by_reason[oldest]:
                del self._by_reason[oldest]

    def latest(self) -> list[Sample]:
        """All samples, oldest first."""
        return sorted((sample for own in self._by_reason.values() for sample in own), key=lambda sample: sample.t)
