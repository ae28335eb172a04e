"""The simulated network between a sender and a receiver: virtual time, and datagrams that arrive by their fates.

An arm of the comparison is written against `Network`: it transmits, replies and sets timers, and is called when
something arrives. The same arm also runs over sockets (`real`), where time is real and a link decides the fates.

Promise: virtual time moves only in `run_until`; the same fates give the same order of events. Not thread-safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from atmost.lab.compare.options import CompareOptions
from atmost.lab.world import Agenda, wall_us

# Decides the fate of each transmission: lost or not, when each copy arrives, and what happens there.
#
# All arms meet the same network: the fates of first transmissions come from a stream of their own, one a message in the
# order of the messages, and so do those of retransmissions and of beacons. A transmission always draws the same number of
# random numbers. So with one seed, a run with a higher loss loses all that a run with a lower one loses, and more.
#
# Promise: pure; the same options and seed give the same fates. Not thread-safe.


class Crash(StrEnum):
    """When the receiver crashes while it has a message in hand; it loses everything held only in memory."""

    NEVER = "never"
    BEFORE = "before processing"
    AFTER = "after processing"


class Purpose(StrEnum):
    """What a datagram from the sender is for."""

    FIRST = "first transmission"
    AGAIN = "retransmission"
    CONTROL = "beacon"


class Copy(NamedTuple):
    """One copy of a datagram that arrives, and what it causes."""

    delay: float
    """Travel time (s)."""
    crash: Crash
    """Crash of the receiver, if it processes a message because of this copy."""
    ack_delay: float | None
    """Travel time of an acknowledgement of this copy (s); None when it is lost."""


Fate = tuple[Copy, ...]
"""The copies of one transmission that arrive; empty when it is lost."""


class Fates(Protocol):
    """Decides what the network does, from a seed or a script."""

    def of(self, purpose: Purpose) -> Fate:
        """The fate of the next transmission of this purpose."""
        ...


class RandomFates:
    """Draws fates by the probabilities of the options."""

    def __init__(self, options: CompareOptions) -> None:
        """Args: options: the faults, and the seed of every stream."""
        self._options = options
        # Seeded by text, so that the streams of the purposes are independent.
        self._streams = {
            purpose: (Random(f"{options.seed} {purpose}").random, Random(f"{options.seed} {purpose} copies").random)
            for purpose in Purpose
        }
        self._until_after = options.crash_before + (1 - options.crash_before) * options.crash_after

    def of(self, purpose: Purpose) -> Fate:
        """Draws the next fate: always six random numbers, and four more for a second copy."""
        draw, draw_copy = self._streams[purpose]
        options = self._options
        lost, doubled = draw() < options.loss, draw() < options.duplicate
        copy = self._copy(draw)
        if lost:
            return ()
        return (copy, self._copy(draw_copy)) if doubled else (copy,)

    def _copy(self, draw: Callable[[], float]) -> Copy:
        options = self._options
        delay = options.latency + options.jitter * draw()
        chance = draw()
        crash = Crash.NEVER
        if chance < self._until_after:
            crash = Crash.BEFORE if chance < options.crash_before else Crash.AFTER
        ack_lost = draw() < options.ack_loss
        ack_delay = options.latency + options.jitter * draw()
        return Copy(delay, crash, None if ack_lost else ack_delay)


Receive = Callable[[bytes, Copy], None]
"""Called at the receiver with a datagram and this copy's fate."""
Acknowledged = Callable[[bytes], None]
"""Called at the sender with an acknowledgement."""
REPLY: Final = "acknowledgement"
"""The name under which replies are counted, beside the purposes."""


class Network(Protocol):
    """The network as an arm sees it."""

    @property
    def now(self) -> float:
        """Time that never goes back (s)."""
        ...

    @property
    def wall_us(self) -> int:
        """The wall clock both ends agree on, µs since 1970."""
        ...

    def connect(self, receive: Receive, acknowledged: Acknowledged) -> None:
        """Sets the functions that are called when a datagram or an acknowledgement arrives."""
        ...

    def transmit(self, datagram: bytes, purpose: Purpose) -> None:
        """Hands a datagram to the network at the sender."""
        ...

    def reply(self, datagram: bytes, copy: Copy) -> None:
        """Hands an acknowledgement of this copy to the network at the receiver."""
        ...

    def after(self, delay: float, action: Callable[..., object], *arguments: Any) -> None:
        """Calls `action(*arguments)` after a delay (s)."""
        ...


class Traffic:
    """Datagrams and bytes handed to a network, by purpose."""

    def __init__(self) -> None:
        self.datagrams: Counter[str] = Counter()
        self.bytes = 0
        self.refused = 0
        """Datagrams that this host's socket refused; a simulated network refuses nothing."""

    def count(self, kind: str, datagram: bytes) -> None:
        """Counts one datagram, even if it is lost later."""
        self.datagrams[kind] += 1
        self.bytes += len(datagram)


class SimulatedNetwork(Agenda[float]):
    """Virtual time (s), and datagrams that arrive by their fates."""

    def __init__(self, fates: Fates) -> None:
        """Args: fates: asked once for every datagram the sender transmits."""
        super().__init__(0.0)
        self.traffic = Traffic()
        self._fates = fates

    @property
    def wall_us(self) -> int:
        """Both ends read one clock: what clocks do to the guarantee is shown by the simulator instead."""
        return wall_us(self.now)

    def connect(self, receive: Receive, acknowledged: Acknowledged) -> None:
        """Sets the functions that are called when something arrives."""
        self._receive = receive
        self._acknowledged = acknowledged

    def transmit(self, datagram: bytes, purpose: Purpose) -> None:
        """Hands a datagram over; its fate is decided now."""
        self.traffic.count(purpose, datagram)
        for copy in self._fates.of(purpose):
            self.after(copy.delay, self._receive, datagram, copy)

    def reply(self, datagram: bytes, copy: Copy) -> None:
        """Hands an acknowledgement over; its fate came with the copy it acknowledges."""
        self.traffic.count(REPLY, datagram)
        if copy.ack_delay is not None:
            self.after(copy.ack_delay, self._acknowledged, datagram)
