"""The simulated network between a sender and a receiver: virtual time, and datagrams that arrive by their fates.

An arm of the comparison is written against `Network`: it transmits, replies and sets timers, and is called when
something arrives. The same arm runs over sockets (`real`), where time is real and a link decides.

Promise: virtual time only moves in `run_until`; the same fates, the same order of events. Not thread-safe.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final, Protocol

from atmost.lab.compare.faults import Copy, Fates, Purpose

Receive = Callable[[bytes, Copy], None]
"""Called at the receiver with a datagram, and what is to happen because of this copy of it."""
Acknowledged = Callable[[bytes], None]
"""Called at the sender with an acknowledgement."""
REPLY: Final = "acknowledgement"
"""What replies are counted as, beside the purposes."""
EPOCH_US: Final = 1_767_225_600_000_000
"""The wall clock at virtual time 0, µs since 1970: the start of 2026."""


class Network(Protocol):
    """What an arm needs of the world."""

    @property
    def now(self) -> float:
        """Seconds, never going back."""
        ...

    @property
    def wall_us(self) -> int:
        """The wall clock both ends agree on, µs since 1970."""
        ...

    def connect(self, receive: Receive, acknowledged: Acknowledged) -> None:
        """Says who is called when a datagram or an acknowledgement arrives."""
        ...

    def transmit(self, datagram: bytes, purpose: Purpose) -> None:
        """Hands a datagram to the network at the sender."""
        ...

    def reply(self, datagram: bytes, copy: Copy) -> None:
        """Hands an acknowledgement of this copy to the network at the receiver."""
        ...

    def after(self, seconds: float, action: Callable[[Any], None], argument: Any = None) -> None:
        """Calls `action(argument)` so much later."""
        ...


class Traffic:
    """Datagrams and bytes handed to a network, by what they are for."""

    def __init__(self) -> None:
        self.datagrams: Counter[str] = Counter()
        self.bytes = 0
        self.refused = 0
        """Of these, how many this host's socket refused; a simulated one refuses nothing."""

    def count(self, kind: str, datagram: bytes) -> None:
        """Counts one datagram, whatever becomes of it."""
        self.datagrams[kind] += 1
        self.bytes += len(datagram)


class SimulatedNetwork:
    """Virtual time: what is to happen, in the order in which it happens."""

    def __init__(self, fates: Fates) -> None:
        """Args: fates: asked once for every datagram the sender transmits."""
        self.now = 0.0
        self.traffic = Traffic()
        self._fates = fates
        self._coming: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = 0

    @property
    def wall_us(self) -> int:
        """Both ends read one clock here: what clocks do to the guarantee is the simulator's to show."""
        return EPOCH_US + round(self.now * 1e6)

    def connect(self, receive: Receive, acknowledged: Acknowledged) -> None:
        """Says who is called when something arrives."""
        self._receive = receive
        self._acknowledged = acknowledged

    def transmit(self, datagram: bytes, purpose: Purpose) -> None:
        """Hands a datagram over; its fate is decided now."""
        self.traffic.count(purpose, datagram)
        for copy in self._fates.of(purpose):
            self.after(copy.delay, self._arrive, (datagram, copy))

    def reply(self, datagram: bytes, copy: Copy) -> None:
        """Hands an acknowledgement over; its fate came with the copy it acknowledges."""
        self.traffic.count(REPLY, datagram)
        if copy.ack_delay is not None:
            self.after(copy.ack_delay, self._acknowledged, datagram)

    def after(self, seconds: float, action: Callable[[Any], None], argument: Any = None) -> None:
        """Calls `action(argument)` so much later; what is due at one moment keeps the order in which it was asked for."""
        self._order += 1
        heappush(self._coming, (self.now + seconds, self._order, action, argument))

    def run_until(self, time: float) -> None:
        """Lets everything happen that is due by then, and moves on to it."""
        coming = self._coming
        while coming and coming[0][0] <= time:
            self.now, _, action, argument = heappop(coming)
            action(argument)
        if time < math.inf:
            self.now = max(self.now, time)

    def run_while(self, condition: Callable[[], bool]) -> None:
        """Lets things happen one by one while the condition holds and something is to come."""
        coming = self._coming
        while coming and condition():
            self.now, _, action, argument = heappop(coming)
            action(argument)

    def _arrive(self, arrival: tuple[bytes, Copy]) -> None:
        self._receive(*arrival)
