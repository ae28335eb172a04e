"""What a guarantee does to each use, from the sequence in which its receiver processed the messages, and when.

The same messages are read in five ways: as readings that are averaged and deltas that are added up, as heartbeats, as
cache-invalidation hints, as log lines, as payments. Each is the plain use, without the means this library adds against
loss (cumulative readings, patience by measured loss, gaps that invalidate): what the guarantee alone does is the question.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from random import Random
from typing import Final

from atmost.lab.compare.options import CompareOptions
from atmost.lab.compare.tally import Tally

MISSES: Final = 3
"""Heartbeats missed in a row before a plain monitor raises an alarm, half an interval after the last was due."""
KEYS: Final = 100
"""Keys in the cache; they change in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Of one arm, on each use."""

    average_skew: float | None
    """Average of the readings processed against the true average, relative; None when nothing was processed."""
    total_skew: float
    """Sum of the deltas processed against the true sum, relative: lost ones lower it, repeated ones raise it."""
    false_alerts: int
    """Times a monitor called the living sender down."""
    stale_reads: int
    """Of one read for each change of a key: those that found the old value in the cache."""
    missing_lines: int
    """Lines that are not in the log."""
    repeated_lines: int
    """Lines that are in it once more than they were written."""
    misplaced_lines: int
    """Lines that stand after one that was written later."""
    lost_payments: int
    """Payments never made."""
    double_charges: int
    """Charges beyond the first of each payment."""


class GroundTruth:
    """What the messages of one run really meant; the same for every arm."""

    def __init__(self, options: CompareOptions, messages: int) -> None:
        """Args: options: the seed and the interval. messages: how many were offered."""
        random = Random(f"{options.seed} uses")
        draw = random.random
        self._interval = options.interval
        # Response times have long tails, which is what makes an average easy to skew.
        self.readings = array("d", (random.lognormvariate(0.0, 1.0) for _ in range(messages)))
        # A key is read once between two of its changes, at any moment.
        self.reads = array("d", (draw() * KEYS * options.interval for _ in range(messages)))
        self._total = math.fsum(self.readings)

    def effects(self, tally: Tally, first: array[float]) -> Effects:
        """What the arm made of it.

        Args:
            tally: the arm's book.
            first: when each message was first processed, negative for never.
        """
        readings = self.readings
        count = len(tally.order)
        total = math.fsum(readings[message] for message in tally.order)
        true = self._total
        missing = sum(time < 0 for time in first)
        return Effects(
            average_skew=(total / count) / (true / len(readings)) - 1 if count else None,
            total_skew=total / true - 1,
            false_alerts=self._false_alerts(tally),
            stale_reads=sum(
                not 0 <= time <= sent + read for time, sent, read in zip(first, tally.offered, self.reads, strict=True)
            ),
            missing_lines=missing,
            repeated_lines=count - (len(first) - missing),
            misplaced_lines=_misplaced(tally.order),
            lost_payments=missing,
            double_charges=count - (len(first) - missing),
        )

    def _false_alerts(self, tally: Tally) -> int:
        """Silences longer than the misses explain; each beat processed ends one, be it old or repeated."""
        if not tally.offered:
            return 0
        longest = (MISSES + 0.5) * self._interval
        alerts, last = 0, tally.offered[0]
        for time in tally.times:
            alerts += time - last > longest
            last = time
        return alerts + (tally.offered[-1] + self._interval - last > longest)


def _misplaced(order: array[int]) -> int:
    newest, count = -1, 0
    for message in order:
        if message < newest:
            count += 1
        else:
            newest = message
    return count
