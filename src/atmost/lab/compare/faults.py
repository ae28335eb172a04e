"""Decides the fate of each transmission: lost or not, when each copy arrives, and what happens there.

All arms meet the same network: the fates of first transmissions come from a stream of their own, one a message in the
order of the messages, and so do those of retransmissions and of beacons. A transmission always draws the same number of
random numbers, so that of two runs with one seed the one with the higher loss loses what the other loses, and more.

Promise: pure; the same options and seed, the same fates. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import NamedTuple, Protocol

from atmost.lab.compare.options import CompareOptions


class Crash(StrEnum):
    """When the receiver crashes over a message it has in hand; what it only kept in memory is gone."""

    NEVER = "never"
    BEFORE = "before processing"
    AFTER = "after processing"


class Purpose(StrEnum):
    """What a datagram from the sender is for."""

    FIRST = "first transmission"
    AGAIN = "retransmission"
    CONTROL = "beacon"


class Copy(NamedTuple):
    """One copy of a datagram that arrives, and what is to happen because of it."""

    delay: float
    """Seconds on its way."""
    crash: Crash
    """Of the receiver, if it processes a message because of this copy."""
    ack_delay: float | None
    """Seconds an acknowledgement of this copy is on its way; None when it is lost."""


Fate = tuple[Copy, ...]
"""Of one transmission: the copies that arrive, none when it is lost."""


class Fates(Protocol):
    """What the network does: drawn from a seed, or a script."""

    def of(self, purpose: Purpose) -> Fate:
        """The fate of the next transmission of this purpose."""
        ...


class RandomFates:
    """Fates by the probabilities of the options."""

    def __init__(self, options: CompareOptions) -> None:
        """Args: options: the faults, and the seed of every stream."""
        self._options = options
        # Seeded by text: one purpose's stream says nothing of another's.
        self._streams = {
            purpose: (Random(f"{options.seed} {purpose}").random, Random(f"{options.seed} {purpose} copies").random)
            for purpose in Purpose
        }
        self._until_after = options.crash_before + (1 - options.crash_before) * options.crash_after

    def of(self, purpose: Purpose) -> Fate:
        """Draws the next fate; six numbers whatever they say, and four more for a second copy."""
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
