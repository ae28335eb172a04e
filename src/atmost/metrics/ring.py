"""What is known of one series, slot by slot, for a while: bounded memory, and nothing invented between arrivals.

A ring may have a coarser one behind it, which books the same and reaches further back. Memory is taken page by page, as
time passes: a series that was seen once costs two pages, not its whole history.
"""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple

PAGE: Final = 120
"""Slots of one page, 16 bytes each."""
_MOST: Final = 0xFFFF_FFFF
"""What a slot can count; a forged number beyond it is as good as this one."""


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


class _Page:
    """Some neighbouring slots."""

    __slots__ = ("lost", "received", "sum")

    def __init__(self) -> None:
        self.received = array("I", bytes(4 * PAGE))
        self.lost = array("I", bytes(4 * PAGE))
        self.sum = array("d", bytes(8 * PAGE))

    def clear(self, at: int) -> None:
        """Nothing is known of this slot."""
        self.received[at] = self.lost[at] = 0
        self.sum[at] = 0.0


class Ring:
    """The last `size` slots of `width` seconds."""

    __slots__ = ("_pages", "coarse", "newest", "size", "width")

    def __init__(self, width: float, size: int, coarse: Ring | None = None) -> None:
        """Args: width: seconds. size: slots. coarse: books the same in longer slots."""
        self.width = width
        self.size = size
        self.coarse = coarse
        self.newest = -1
        """The last slot anything is known of."""
        self._pages: list[_Page | None] = [None] * -(-size // PAGE)

    def receive(self, when: float, amount: float) -> None:
        """Books a snapshot in which the value was known, and what it adds to the slot."""
        found = self._at(when)
        if found is not None:
            page, at = found
            if page.received[at] < _MOST:
                page.received[at] += 1
            page.sum[at] += amount
        if self.coarse is not None:
            self.coarse.receive(when, amount)

    def add(self, when: float, amount: float) -> None:
        """Adds to a slot without booking a snapshot."""
        found = self._at(when)
        if found is not None:
            page, at = found
            page.sum[at] += amount
        if self.coarse is not None:
            self.coarse.add(when, amount)

    def lose(self, when: float, count: int = 1) -> None:
        """Books snapshots in which it was not."""
        found = self._at(when)
        if found is not None:
            page, at = found
            page.lost[at] = min(page.lost[at] + count, _MOST)
        if self.coarse is not None:
            self.coarse.lose(when, count)

    def for_width(self, width: float) -> Ring:
        """The ring with slots of this length, seconds: this one, or one behind it; this one where there is none."""
        ring: Ring | None = self
        while ring is not None and ring.width != width:
            ring = ring.coarse
        return ring or self

    def window(self, start: float, end: float) -> tuple[int, int, float]:
        """Received, lost and the sum, of the slots that begin in [start, end)."""
        received, lost, total = 0, 0, 0.0
        for _, came, gone, amount in self.rows(start, end):
            received += came
            lost += gone
            total += amount
        return received, lost, total

    def rows(self, start: float, end: float) -> list[tuple[float, int, int, float]]:
        """The slots that begin in [start, end): start, received, lost, sum; without those of which nothing was ever known."""
        rows = []
        for number in self._slots(start, end):
            position = number % self.size
            page = self._pages[position // PAGE]
            if page is not None:
                at = position % PAGE
                rows.append((number * self.width, page.received[at], page.lost[at], page.sum[at]))
        return rows

    def _slots(self, start: float, end: float) -> range:
        first = max(-int(-start // self.width), self.newest - self.size + 1, 0)
        return range(first, min(-int(-end // self.width), self.newest + 1))

    def _at(self, when: float) -> tuple[_Page, int] | None:
        """Where a slot stands, clearing those that came into being; None when it is too long ago."""
        number = int(when // self.width)
        if number <= self.newest - self.size or number < 0:
            return None
        if number > self.newest:
            for fresh in range(max(self.newest + 1, number - self.size + 1), number + 1):
                position = fresh % self.size
                stale = self._pages[position // PAGE]
                if stale is not None:
                    stale.clear(position % PAGE)
            self.newest = number
        position = number % self.size
        page = self._pages[position // PAGE]
        if page is None:
            page = self._pages[position // PAGE] = _Page()
        return page, position % PAGE
