"""Exponential buckets: which bucket a value falls into, and which value a quantile is.

The mapping of DDSketch (C. Masson, J. E. Rim, H. K. Lee: *DDSketch*, PVLDB 12, 2019, section 2.1): bucket i holds
G^(i−1) < |v| ≤ G^i with G = (1 + A)/(1 − A), and answers with 2·G^i/(G + 1), which is off by A at most, relatively.
The bound on their number is that of OpenTelemetry's exponential histogram: beyond it the smallest join the zero bucket.

Promise: pure; merging is exact, in any order; a quantile is within A, 1 %, of the exact one, or None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Self

ALPHA: Final = 0.01
"""Relative error of a quantile, at most."""
GAMMA: Final = (1 + ALPHA) / (1 - ALPHA)
PER_E: Final = 1 / math.log(GAMMA)
"""Buckets for each factor of e, 50."""
MAX_BUCKETS: Final = 2048
"""Of one histogram, both signs together: they span a factor of 10^17, from 80 µs to the age of the universe in days."""
_FREED: Final = MAX_BUCKETS // 16
"""Buckets freed at once when there are too many."""
_MIDDLE: Final = 2 / (GAMMA + 1)


def bucket_of(magnitude: float) -> int:
    """The bucket of a value without its sign; it must be finite and above 0."""
    return math.ceil(math.log(magnitude) * PER_E)


def value_of(bucket: int) -> float:
    """The value a bucket stands for, within `ALPHA` of all it holds."""
    try:
        return _MIDDLE * math.exp(bucket / PER_E)
    except OverflowError:  # the last bucket's middle is beyond the largest float
        return math.inf


class Buckets:
    """How many observations fell into which bucket."""

    __slots__ = ("negative", "positive", "sum", "threshold", "zero")

    def __init__(self) -> None:
        self.positive: dict[int, int] = {}
        """Observations by bucket."""
        self.negative: dict[int, int] = {}
        """The same for values below 0, by the bucket of their magnitude."""
        self.zero = 0
        """Observations of 0, and of all up to the threshold."""
        self.threshold: int | None = None
        """The highest bucket that joined the zero bucket; None while that holds zeros only."""
        self.sum = 0.0
        """Of the observed values."""

    @property
    def count(self) -> int:
        """Observations."""
        return self.zero + sum(self.positive.values()) + sum(self.negative.values())

    @property
    def size(self) -> int:
        """Buckets in use."""
        return len(self.positive) + len(self.negative)

    def add(self, value: float) -> None:
        """Counts one finite value; not for several threads at once."""
        self.sum += value
        if value == 0:
            self.zero += 1
        else:
            side, bucket = self.positive if value > 0 else self.negative, bucket_of(abs(value))
            self.add_to(side, bucket, 1)
            self.bound()

    def add_to(self, side: dict[int, int], bucket: int, count: int) -> None:
        """Counts observations of one bucket of one sign."""
        if self.threshold is not None and bucket <= self.threshold:
            self.zero += count
        else:
            side[bucket] = side.get(bucket, 0) + count

    def bound(self) -> None:
        """Joins the smallest buckets with the zero bucket when there are too many."""
        if len(self.positive) + len(self.negative) > MAX_BUCKETS:
            self.raise_threshold(threshold_for(self.positive, self.negative))

    def raise_threshold(self, threshold: int | None) -> None:
        """Joins all buckets up to this one with the zero bucket; a lower threshold than the present one changes nothing."""
        if threshold is None or (self.threshold is not None and threshold <= self.threshold):
            return
        self.threshold = threshold
        for side in (self.positive, self.negative):
            for bucket in [bucket for bucket in side if bucket <= threshold]:
                self.zero += side.pop(bucket)

    def merge(self, other: Buckets) -> Self:
        """Adds the observations of another; the result is what one histogram would hold that saw them all."""
        self.raise_threshold(other.threshold)
        self.zero += other.zero
        self.sum += other.sum
        for side, more in ((self.positive, other.positive), (self.negative, other.negative)):
            for bucket, count in more.items():
                self.add_to(side, bucket, count)
        self.bound()
        return self

    def quantile(self, share: float) -> float | None:
        """The value that this share of the observations does not exceed, as a sorted list's element share·(count − 1).

        Args:
            share: 0 to 1.

        Returns:
            None without observations, and where the value is one of those that joined the zero bucket.
        """
        rank = share * (self.count - 1)
        if not 0 <= share <= 1 or rank < 0:
            return None
        seen = 0
        for bucket in sorted(self.negative, reverse=True):
            seen += self.negative[bucket]
            if seen > rank:
                return -value_of(bucket)
        seen += self.zero
        if seen > rank:
            return 0.0 if self.threshold is None else None
        for bucket in sorted(self.positive):
            seen += self.positive[bucket]
            if seen > rank:
                return value_of(bucket)
        return None  # pragma: no cover  the counts add up to more than the rank


def threshold_for(positive: Mapping[int, int], negative: Mapping[int, int]) -> int:
    """The bucket up to which to join, so that the number of buckets is within its bound again, with some to spare."""
    ordered = sorted([*positive, *negative])
    return ordered[len(ordered) - MAX_BUCKETS + _FREED - 1]
