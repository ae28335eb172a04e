"""`LossMeter`: how much of one sender's beats is lost, from the numbers of those that came.

Two memories: a long one, for a precise figure, and a recent one, which takes over when it shows that things got worse.
Figures err to the safe side: of few beats the upper end of what they allow is taken (E. B. Wilson, *Probable inference,
the law of succession, and statistical inference*, JASA 22, 1927), so that a newcomer gets more patience, not less.

Pure; not thread-safe.
"""

from __future__ import annotations

import math
from typing import Final

LONG: Final = 16_384
"""Beats in each half of the long memory: 4½ to 9 hours at one a second."""
RECENT: Final = 64
"""Beats in each half of the recent memory."""
_SAFE: Final = 1.0
"""Standard deviations above the long memory's figure."""
_SURE: Final = 2.0
"""Standard deviations below the recent memory's figure that must still be above the long one's."""
_INDEPENDENT: Final = 2.0
"""Lost beats' worth of belief that losses are independent, until this sender's own show that they come in bursts."""


class Span:
    """A memory of the last `size` to 2 × `size` beats, in two halves."""

    __slots__ = (
        "_burst",
        "_burst_before",
        "_lost",
        "_lost_before",
        "_runs",
        "_runs_before",
        "_seen",
        "_seen_before",
        "_size",
    )

    def __init__(self, size: int) -> None:
        """Args: size: beats in each half."""
        self._size = size
        self._seen = self._lost = self._burst = self._runs = 0
        self._seen_before = self._lost_before = self._burst_before = self._runs_before = 0

    @property
    def seen(self) -> int:
        """Beats, lost ones included."""
        return self._seen + self._seen_before

    @property
    def lost(self) -> int:
        """Beats lost."""
        return self._lost + self._lost_before

    @property
    def burst(self) -> int:
        """The longest run of lost beats."""
        return max(self._burst, self._burst_before)

    @property
    def continued(self) -> int:
        """Lost beats that followed a lost one."""
        return max(0, self.lost - self._runs - self._runs_before)

    def add(self, received: int, lost: int, burst: int) -> None:
        """Takes lost beats, at most `burst` of them in a row, and those received after them."""
        self._seen += lost
        self._lost += lost
        self._runs += -(-lost // burst) if lost else 0
        self._burst = max(self._burst, burst)
        while received >= (room := max(0, self._size - self._seen)):
            received -= room
            self._seen_before, self._lost_before = self._seen + room, self._lost
            self._burst_before, self._runs_before = self._burst, self._runs
            self._seen = self._lost = self._burst = self._runs = 0
        self._seen += received

    def take_back(self) -> None:
        """One that was taken for lost came after all."""
        if self._lost:
            self._lost -= 1
        elif self._lost_before:
            self._lost_before -= 1

    def bound(self, deviations: float) -> float:
        """The Wilson bound of the share lost: above it by so many standard deviations, below it when negative."""
        seen, lost = self.seen, self.lost
        square = deviations * deviations
        spread = math.sqrt(max(0.0, lost - lost * lost / seen) + square / 4) if seen else abs(deviations) / 2
        return min(1.0, max(0.0, (lost + square / 2 + deviations * spread) / (seen + square)))


class LossMeter:
    """The loss of one sender's beats."""

    __slots__ = ("_long", "_recent")

    def __init__(self) -> None:
        self._long = Span(LONG)
        self._recent = Span(RECENT)

    @property
    def burst(self) -> int:
        """The longest run of lost beats that is remembered."""
        return self._long.burst

    def add(self, received: int, lost: int, burst: int) -> None:
        """Takes lost beats, at most `burst` of them in a row, and those received after them."""
        self._long.add(received, lost, burst)
        self._recent.add(received, lost, burst)

    def take_back(self) -> None:
        """One that was taken for lost came after all."""
        self._long.take_back()
        self._recent.take_back()

    def share(self) -> float | None:
        """The share lost as it was measured, 0 to 1; None before the first beat."""
        return self._long.lost / self._long.seen if self._long.seen else None

    def figure(self) -> float:
        """The loss to reckon with, 0 to 1; 1 while nothing was measured."""
        figure = self._long.bound(_SAFE)
        recent = self._recent
        if recent.lost and recent.bound(-_SURE) > figure:
            return recent.lost / recent.seen
        return figure

    def continuation(self) -> float:
        """The share of lost beats after which the next is lost too, 0 to 1: the loss itself where losses are independent.

        E. N. Gilbert's channel (Capacity of a burst-noise channel, 1960) has this one number more than independent loss.
        """
        long, loss = self._long, self.figure()
        return max(loss, (long.continued + _INDEPENDENT * loss) / (long.lost + _INDEPENDENT))
