"""Exponential buckets, as OpenTelemetry and Prometheus have them: which bucket a value falls into, and which value a quantile is.

At scale n the base is b = 2^(2^-n), and bucket i holds b^i < |v| ≤ b^(i+1).
This is the exponential histogram of OpenTelemetry's data model (section "ExponentialHistogram"), whose index travels on our wire.
Prometheus calls the scale *schema* and numbers the same bucket i + 1 (specification of native histograms, section "Data model").
A scale lower by one joins each pair of neighbours exactly, so histograms of different scales merge without an error.

Promise: pure, and not thread-safe; conversions and merges lose nothing; a quantile is off by (b − 1)/(b + 1) at most, relatively: 1.083 % at
scale 5. Memory is bounded: beyond `MAX_BUCKETS` the scale is lowered until they fit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple, Self

SCALE: Final = 5
"""Of what our instruments record: 32 buckets for each factor of 2."""
ERROR: Final = (2 ** (2**-SCALE) - 1) / (2 ** (2**-SCALE) + 1)
"""Relative error of a quantile at this scale, at most."""
MIN_SCALE: Final = -9
"""Five buckets for all positive floats: nothing is ever too much for it. OpenTelemetry has one coarser still."""
MAX_SCALE: Final = 20
"""The finest that OpenTelemetry knows."""
MAX_BUCKETS: Final = 2048
"""Of one histogram, both signs together: at scale 5 they span a factor of 10^19."""
PROMETHEUS_SCALES: Final = range(-4, 9)
"""The schemas of native histograms."""


class OpenTelemetrySide(NamedTuple):
    """The buckets of one sign in an `ExponentialHistogramDataPoint`."""

    offset: int
    """Index of the first count."""
    counts: list[int]
    """Of neighbouring buckets."""


@dataclass(frozen=True, slots=True)
class OpenTelemetryHistogram:
    """The fields of OpenTelemetry's `ExponentialHistogramDataPoint`."""

    scale: int
    count: int
    sum: float
    zero_count: int
    zero_threshold: float
    positive: OpenTelemetrySide
    negative: OpenTelemetrySide


class PrometheusSide(NamedTuple):
    """The buckets of one sign in a native histogram."""

    spans: list[tuple[int, int]]
    """Distance from the end of the span before (the first: the index), and number of neighbouring buckets."""
    deltas: list[int]
    """Each count less the one before it."""


@dataclass(frozen=True, slots=True)
class PrometheusHistogram:
    """A native histogram."""

    schema: int
    count: int
    sum: float
    zero_count: int
    zero_threshold: float
    positive: PrometheusSide
    negative: PrometheusSide


def bucket_of(magnitude: float, scale: int = SCALE) -> int:
    """The index of the bucket that holds a value without its sign, finite and above 0."""
    # Both steps are exact for powers of two, which are bounds at every scale from 0 on: `math.log2` is, and so is scaling by 2^n.
    return math.ceil(math.ldexp(math.log2(magnitude), scale)) - 1


def upper_bound(bucket: int, scale: int = SCALE) -> float:
    """The greatest value of a bucket; infinity beyond the largest float."""
    try:
        return math.pow(2.0, math.ldexp(bucket + 1, -scale))
    except OverflowError:
        return math.inf


def value_of(bucket: int, scale: int = SCALE) -> float:
    """The value a bucket stands for: relatively as far from its least as from its greatest."""
    # From the lower bound, which is finite also where the upper one is beyond the largest float.
    least, base = upper_bound(bucket - 1, scale), upper_bound(0, scale)
    return least * (2 / (1 + 1 / base)) or upper_bound(bucket, scale)


class Buckets:
    """How many observations fell into which bucket."""

    __slots__ = ("negative", "positive", "scale", "sum", "zero", "zero_threshold")

    def __init__(self, scale: int = SCALE) -> None:
        self.scale = scale
        self.positive: dict[int, int] = {}
        """Observations by index."""
        self.negative: dict[int, int] = {}
        """The same for values below 0, by the index of their magnitude."""
        self.zero = 0
        """Observations whose magnitude is at most the threshold."""
        self.zero_threshold = 0.0
        """Above 0 only where another system said so: ours counts exact zeros."""
        self.sum = 0.0
        """Of the observed values."""

    @property
    def count(self) -> int:
        """How many observations it holds."""
        return self.zero + sum(self.positive.values()) + sum(self.negative.values())

    @property
    def size(self) -> int:
        """Buckets in use."""
        return len(self.positive) + len(self.negative)

    def observe(self, value: float, count: int = 1) -> None:
        """Counts a finite value, or several of the same."""
        self.sum += value * count
        self.count_value(value, count)
        self.bound()

    def count_value(self, value: float, count: int) -> None:
        """Counts observations of a value without adding them to the sum, and without a look at the number of buckets."""
        if abs(value) <= self.zero_threshold:
            self.zero += count
        else:
            side, bucket = self.positive if value > 0 else self.negative, bucket_of(abs(value), self.scale)
            side[bucket] = side.get(bucket, 0) + count

    def copy(self) -> Buckets:
        """The same observations, to be changed apart."""
        return self._with_sides(self.positive.copy(), self.negative.copy(), self.scale)

    def bound(self, most: int = MAX_BUCKETS) -> None:
        """Lowers the scale until there are not more buckets than this."""
        while self.size > most and self.scale > MIN_SCALE:
            self.downscale(self.scale - 1)

    def downscale(self, scale: int) -> None:
        """Joins neighbouring buckets until the scale is at most this one; exact."""
        if scale < self.scale:
            self.positive = joined(self.positive, self.scale - scale)
            self.negative = joined(self.negative, self.scale - scale)
            self.scale = scale

    def merge(self, other: Buckets) -> Self:
        """Adds the observations of another; the result is what one histogram of the lower scale would hold that saw them all."""
        self.downscale(other.scale)
        shift = other.scale - self.scale
        self.zero += other.zero
        self.sum += other.sum
        for side, more in ((self.positive, other.positive), (self.negative, other.negative)):
            for bucket, count in more.items():
                side[bucket >> shift] = side.get(bucket >> shift, 0) + count
        self._raise_zero_threshold(max(self.zero_threshold, other.zero_threshold))
        self.bound()
        return self

    def quantile(self, share: float) -> float | None:
        """The value that this share of the observations does not exceed, as a sorted list's element share·(count − 1).

        Args:
            share: 0 to 1.

        Returns:
            None without observations, and where the value is in a zero bucket with a threshold above 0.
        """
        rank = share * (self.count - 1)
        if not 0 <= share <= 1 or rank < 0:
            return None
        seen = 0
        for bucket in sorted(self.negative, reverse=True):
            seen += self.negative[bucket]
            if seen > rank:
                return -value_of(bucket, self.scale)
        seen += self.zero
        if seen > rank:
            return None if self.zero_threshold else 0.0
        for bucket in sorted(self.positive):
            seen += self.positive[bucket]
            if seen > rank:
                return value_of(bucket, self.scale)
        return None  # pragma: no cover  the counts add up to more than the rank

    def up_to(self, bounds: Sequence[float]) -> list[int]:
        """The observations up to each bound, as `le` has them.

        A bucket that a bound lies in counts as a whole, so a value at the bound is always in, and a value above it may be in when it is
        less than one bucket's width above: 2.2 % at scale 5. Powers of two are bounds of ours, and exact.
        A lower scale never lowers what is counted up to a bound.

        Args:
            bounds: ascending.
        """
        ordered = sorted(self.positive)
        sums = [0, *accumulate(self.positive[bucket] for bucket in ordered)]
        below = self.zero + sum(self.negative.values())
        counts, place = [], 0
        for bound in bounds:
            if bound > 0:
                last = bucket_of(bound, self.scale)
                while place < len(ordered) and ordered[place] <= last:
                    place += 1
                counts.append(below + sums[place])
            else:
                counts.append(self._up_to_negative(bound))
        return counts

    def to_opentelemetry(self) -> OpenTelemetryHistogram:
        """The same observations in OpenTelemetry's form."""
        sides = (_dense(self.positive), _dense(self.negative))
        return OpenTelemetryHistogram(self.scale, self.count, self.sum, self.zero, self.zero_threshold, *sides)

    @classmethod
    def from_opentelemetry(cls, point: OpenTelemetryHistogram) -> Self:
        """The observations of OpenTelemetry's form; lossless up to `MAX_BUCKETS`."""
        made = cls(point.scale)
        made.zero, made.zero_threshold, made.sum = point.zero_count, point.zero_threshold, point.sum
        for side, dense in ((made.positive, point.positive), (made.negative, point.negative)):
            side.update({dense.offset + place: count for place, count in enumerate(dense.counts) if count})
        made.bound()
        return made

    def to_prometheus(self) -> PrometheusHistogram:
        """The same observations as a native histogram; scales above 8 are lowered to it.

        Raises:
            ValueError: the scale is below -4, the coarsest that Prometheus knows.
        """
        if self.scale < PROMETHEUS_SCALES[0]:
            raise ValueError(f"a native histogram has a schema from -4 to 8, not {self.scale}")
        shown = self
        if self.scale > PROMETHEUS_SCALES[-1]:
            shown = self.copy()
            shown.downscale(PROMETHEUS_SCALES[-1])
        sides = (_spans(shown.positive), _spans(shown.negative))
        return PrometheusHistogram(shown.scale, shown.count, shown.sum, shown.zero, shown.zero_threshold, *sides)

    @classmethod
    def from_prometheus(cls, histogram: PrometheusHistogram) -> Self:
        """The observations of a native histogram; lossless up to `MAX_BUCKETS`."""
        made = cls(histogram.schema)
        made.zero, made.zero_threshold, made.sum = histogram.zero_count, histogram.zero_threshold, histogram.sum
        for side, spans in ((made.positive, histogram.positive), (made.negative, histogram.negative)):
            counts, index = accumulate(spans.deltas), 0
            for distance, length in spans.spans:
                index += distance
                for place, count in zip(range(index, index + length), counts, strict=False):
                    if count:
                        side[place - 1] = count
                index += length
        made.bound()
        return made

    def _with_sides(self, positive: dict[int, int], negative: dict[int, int], scale: int) -> Buckets:
        made = Buckets(scale)
        made.positive, made.negative = positive, negative
        made.zero, made.zero_threshold, made.sum = self.zero, self.zero_threshold, self.sum
        return made

    def _raise_zero_threshold(self, threshold: float) -> None:
        """Joins what lies below the threshold with the zero bucket, and raises it to the bound of the bucket it lies in."""
        if not threshold:
            return
        self.zero_threshold = threshold
        last = bucket_of(threshold, self.scale)
        for side in (self.positive, self.negative):
            for bucket in [bucket for bucket in side if bucket <= last]:
                self.zero += side.pop(bucket)
                self.zero_threshold = max(self.zero_threshold, upper_bound(last, self.scale))

    def _up_to_negative(self, bound: float) -> int:
        if bound == 0:
            return self.zero + sum(self.negative.values())
        last = bucket_of(-bound, self.scale)
        return sum(count for bucket, count in self.negative.items() if bucket >= last)


def count_values(into: Iterable[Buckets], values: Sequence[float], count: int) -> None:
    """Counts values of at least 0, each so often, in several histograms, and keeps to the bound: the same as one by one.

    The scale depends only on which buckets are in use, and joining them is exact.
    """
    ceil, log2 = math.ceil, math.log2
    found: Mapping[int, int] = {}
    scale: int | None = None
    positive = values if all(values) else [value for value in values if value]
    zeros = len(values) - len(positive)
    for each in into:
        assert not each.zero_threshold
        if each.scale != scale:
            scale, factor = each.scale, 2.0**each.scale  # as `bucket_of`: a product with a power of two is exact
            found = Counter([ceil(log2(value) * factor) - 1 for value in positive])
        each.zero += zeros * count
        side = each.positive
        for bucket, times in found.items():
            side[bucket] = side.get(bucket, 0) + times * count
        each.bound()


def joined(side: Mapping[int, int], shift: int) -> dict[int, int]:
    """The buckets of one sign at a scale that is lower by `shift`."""
    made: dict[int, int] = {}
    for bucket, count in side.items():
        made[bucket >> shift] = made.get(bucket >> shift, 0) + count
    return made


def _dense(side: Mapping[int, int]) -> OpenTelemetrySide:
    if not side:
        return OpenTelemetrySide(0, [])
    first, last = min(side), max(side)
    return OpenTelemetrySide(first, [side.get(bucket, 0) for bucket in range(first, last + 1)])


def _spans(side: Mapping[int, int]) -> PrometheusSide:
    spans: list[tuple[int, int]] = []
    deltas, end, before = [], 0, 0
    for bucket in sorted(side):
        if spans and bucket + 1 == end:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((bucket + 1 - end, 1))
        end = bucket + 2
        deltas.append(side[bucket] - before)
        before = side[bucket]
    return PrometheusSide(spans, deltas)


# What `le` a histogram has at /metrics: a choice of the family, never of its data.

MAX_BOUNDS: Final = 32
"""Of one family: each costs a line of every series at every scrape."""
_MANTISSAS: Final = (1.0, 2.5, 5.0)


def default_bounds(name: str) -> tuple[float, ...]:
    """The bounds of a family that was declared without `buckets=`, by the last word of its name; they never depend on what was observed.

    Seconds have those of Prometheus' clients, extended to 100 µs and 100 s; milliseconds the same in their unit; bytes powers of four
    from 64 B to 16 GiB; everything else 1, 2.5 and 5 in each decade from 0.001 to 1,000,000.
    """
    return _DEFAULTS.get(name.rpartition("_")[2], _PLAIN)


def _decades(first: int, last: int) -> Iterable[float]:
    """1, 2.5 and 5 in each decade, as written, so that 0.1 is the float nearest to it."""
    return (float(f"{mantissa}e{decade}") for decade in range(first, last) for mantissa in _MANTISSAS)


_PLAIN: Final = (*_decades(-3, 6), 1e6)
_SECONDS: Final = (
    *_decades(-4, -2),
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 25.0, 50.0, 100.0),
)
_MILLISECONDS: Final = (
    *_decades(-1, 1),
    *(10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1e3, 2.5e3, 5e3, 7.5e3),
    *(1e4, 2.5e4, 5e4, 1e5),
)
_BYTES: Final = tuple(float(64 * 4**power) for power in range(15))
_DEFAULTS: Final = {"seconds": _SECONDS, "milliseconds": _MILLISECONDS, "bytes": _BYTES}
