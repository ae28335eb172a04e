"""What is known of one series, slot by slot, for a while: bounded memory, and nothing invented between arrivals."""

from __future__ import annotations

from array import array
from typing import NamedTuple


class Slot(NamedTuple):
    """One slot of a series."""

    start: float
    """Seconds on the reader's clock."""
    value: float | None
    """A gauge's mean, a counter's increase, a histogram's observations; None when nothing is known, which is not 0."""
    received: int
    """Snapshots in which the value was known."""
    lost: int
    """Snapshots in which it is not known, for something was lost."""

    @property
    def completeness(self) -> float | None:
        """received / (received + lost); None when nothing was to come."""
        due = self.received + self.lost
        return self.received / due if due else None


class Ring:
    """The last `size` slots of `width` seconds."""

    __slots__ = ("_lost", "_received", "_sum", "_width", "newest", "size")

    def __init__(self, width: float, size: int) -> None:
        """Args: width: seconds. size: slots."""
        self._width = width
        self.size = size
        self.newest = -1
        """The last slot anything is known of."""
        self._received = array("L", bytes(array("L").itemsize * size))
        self._lost = array("L", bytes(array("L").itemsize * size))
        self._sum = array("d", bytes(8 * size))

    def receive(self, when: float, amount: float) -> None:
        """Books a snapshot in which the value was known, and what it adds to the slot."""
        at = self._at(when)
        if at is not None:
            self._received[at] += 1
            self._sum[at] += amount

    def add(self, when: float, amount: float) -> None:
        """Adds to a slot without booking a snapshot."""
        at = self._at(when)
        if at is not None:
            self._sum[at] += amount

    def lose(self, when: float, count: int = 1) -> None:
        """Books snapshots in which it was not."""
        at = self._at(when)
        if at is not None:
            self._lost[at] += count

    def window(self, start: float, end: float) -> tuple[int, int, float]:
        """Received, lost and the sum, of the slots that begin in [start, end)."""
        received, lost, total = 0, 0, 0.0
        for number in self._slots(start, end):
            at = number % self.size
            received += self._received[at]
            lost += self._lost[at]
            total += self._sum[at]
        return received, lost, total

    def rows(self, start: float, end: float) -> list[tuple[float, int, int, float]]:
        """The slots that begin in [start, end): start, received, lost, sum."""
        return [
            (number * self._width, self._received[at], self._lost[at], self._sum[at])
            for number in self._slots(start, end)
            for at in (number % self.size,)
        ]

    def _slots(self, start: float, end: float) -> range:
        first = max(-int(-start // self._width), self.newest - self.size + 1, 0)
        return range(first, min(-int(-end // self._width), self.newest + 1))

    def _at(self, when: float) -> int | None:
        """Where a slot stands, clearing those that came into being; None when it is too long ago."""
        number = int(when // self._width)
        if number <= self.newest - self.size or number < 0:
            return None
        if number > self.newest:
            for fresh in range(max(self.newest + 1, number - self.size + 1), number + 1):
                at = fresh % self.size
                self._received[at] = self._lost[at] = 0
                self._sum[at] = 0.0
            self.newest = number
        return number % self.size
