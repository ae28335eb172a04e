"""Buckets are those of OpenTelemetry and Prometheus; quantiles are within the documented error, merging is exact, memory bounded."""

import math
import random
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.metrics.buckets import (
    ERROR,
    MAX_BOUNDS,
    MAX_BUCKETS,
    MIN_SCALE,
    SCALE,
    Buckets,
    OpenTelemetryHistogram,
    OpenTelemetrySide,
    PrometheusHistogram,
    PrometheusSide,
    bucket_of,
    count_values,
    default_bounds,
    upper_bound,
    value_of,
)

VALUES = st.floats(min_value=-1e12, max_value=1e12, allow_nan=False).map(lambda v: v if abs(v) > 1e-9 else 0.0)
SIDES = st.dictionaries(st.integers(-2000, 2000), st.integers(1, 2**40), max_size=40)


def filled(values, scale: int = SCALE) -> Buckets:
    """Buckets that saw these."""
    buckets = Buckets(scale)
    for value in values:
        buckets.observe(value)
    return buckets


def same(one: Buckets, other: Buckets) -> bool:
    """Whether both hold the same observations at the same scale."""
    sides = (one.positive, one.negative) == (other.positive, other.negative)
    return sides and (one.scale, one.zero, one.zero_threshold) == (other.scale, other.zero, other.zero_threshold)


def exact(values, share: float) -> float:
    """The element of the sorted values that the quantile stands for."""
    return sorted(values)[math.floor(share * (len(values) - 1))]


def close(estimate: float | None, truth: float, error: float = ERROR) -> bool:
    """Whether an estimate is within the documented error."""
    return estimate is not None and abs(estimate - truth) <= error * abs(truth) * (1 + 1e-9)


def test_the_documented_error():
    """1.083 % at scale 5, as for a native histogram of schema 5."""
    assert round(ERROR * 100, 3) == 1.083


@given(st.lists(VALUES, min_size=1, max_size=200), st.floats(0, 1))
def test_quantile_is_within_the_error_of_the_exact_one(values, share):
    """For any values of either sign and any share."""
    assert close(filled(values).quantile(share), exact(values, share))


@pytest.mark.parametrize(
    "draw",
    [
        lambda r: r.expovariate(10),
        lambda r: r.lognormvariate(0, 3),
        lambda r: r.gauss(0, 100),
        lambda r: float(r.randrange(1000)),
        lambda r: r.paretovariate(1.1),
    ],
    ids=["exponential", "lognormal", "normal", "whole", "pareto"],
)
@pytest.mark.parametrize("scale", [8, SCALE, 3, 0])
def test_quantiles_of_ten_thousand_values(draw, scale):
    """Several distributions at several scales, each within the error of its scale."""
    chance = random.Random(7)
    values = [draw(chance) for _ in range(10_000)]
    buckets = filled(values, scale)
    assert buckets.scale == scale or buckets.size > MAX_BUCKETS // 2  # lower where there were too many
    base = 2 ** (2**-buckets.scale)
    for share in (0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0):
        assert close(buckets.quantile(share), exact(values, share), (base - 1) / (base + 1))
    assert buckets.count == 10_000
    assert buckets.sum == pytest.approx(sum(values))


# Boundaries of schema 5 as Prometheus documents them: upper inclusive bound of index 1 is 2**(1/32).
@pytest.mark.parametrize(
    ("value", "index"),
    [(1.0, -1), (1.0000000000000002, 0), (2.0, 31), (2.0000000000000004, 32), (0.5, -33), (4.0, 63), (1e-300, -31891),
     (5e-324, -34369), (1.7976931348623157e308, 32767)],
)  # fmt: skip
def test_index_is_that_of_opentelemetry(value, index):
    """Bucket i holds base^i < v ≤ base^(i+1); powers of two are upper bounds, exactly."""
    assert bucket_of(value) == index
    assert value <= upper_bound(index)


@given(st.floats(min_value=1e-300, max_value=1e300), st.integers(-4, 8))
def test_bucket_holds_what_it_says(value, scale):
    """At any scale: between its bounds, and within the error of what it stands for."""
    bucket = bucket_of(value, scale)
    assert upper_bound(bucket - 1, scale) * (1 - 1e-12) <= value <= upper_bound(bucket, scale) * (1 + 1e-12)
    base = 2 ** (2**-scale)
    assert close(value_of(bucket, scale), value, (base - 1) / (base + 1) + 1e-9)


@given(
    st.lists(st.lists(VALUES, max_size=50), min_size=1, max_size=5), st.lists(st.integers(0, 8), min_size=5, max_size=5)
)
def test_merging_is_what_one_histogram_of_the_lowest_scale_would_hold(lists, scales):
    """Whatever the scales are."""
    parts = [filled(values, scale) for values, scale in zip(lists, scales, strict=False)]
    merged = Buckets(8)
    for part in parts:
        merged.merge(part)
    whole = filled([value for values in lists for value in values], min(scales[: len(lists)]))
    assert same(merged, whole)
    assert merged.sum == pytest.approx(whole.sum, rel=1e-12, abs=0.01)


@given(st.lists(VALUES, max_size=60), st.integers(0, 8), st.integers(-4, 8))
def test_downscaling_is_what_the_lower_scale_would_have_held(values, scale, lower):
    """In one step or several; it never refines."""
    buckets = filled(values, scale)
    buckets.downscale(lower)
    assert same(buckets, filled(values, min(scale, lower)))


@given(SIDES, SIDES, st.integers(0, 9), st.integers(-4, 8))
def test_conversions_lose_nothing(positive, negative, zero, scale):
    """To either system's form and back."""
    buckets = Buckets(scale)
    buckets.positive, buckets.negative, buckets.zero, buckets.sum = positive, negative, zero, 12.5
    assert same(Buckets.from_opentelemetry(buckets.to_opentelemetry()), buckets)
    assert same(Buckets.from_prometheus(buckets.to_prometheus()), buckets)
    assert buckets.to_prometheus().sum == buckets.to_opentelemetry().sum == 12.5
    assert buckets.to_prometheus().count == buckets.to_opentelemetry().count == buckets.count


def test_prometheus_numbers_the_same_bucket_one_higher():
    """1.0 is in OpenTelemetry's -1 and Prometheus' 0; deltas and spans are those of its protocol."""
    buckets = filled([1.0, 1.0, 2.0, 2.01, 0.0])
    assert buckets.to_opentelemetry() == OpenTelemetryHistogram(
        5, 5, 6.01, 1, 0.0, OpenTelemetrySide(-1, [2, *[0] * 31, 1, 1]), OpenTelemetrySide(0, [])
    )
    assert buckets.to_prometheus() == PrometheusHistogram(
        5, 5, 6.01, 1, 0.0, PrometheusSide([(0, 1), (31, 2)], [2, -1, 0]), PrometheusSide([], [])
    )


def test_scales_that_prometheus_does_not_know():
    """A finer one is lowered to 8, a coarser one is refused."""
    fine = filled([1.5, 3.0], 20)
    assert fine.to_prometheus().schema == 8
    assert fine.scale == 20
    coarse = filled([1.5], -5)
    with pytest.raises(ValueError, match="-4 to 8, not -5"):
        coarse.to_prometheus()


def test_zero_threshold_of_others_is_kept_and_joins():
    """What lies below another system's threshold cannot be told from zero any more."""
    theirs = Buckets.from_prometheus(
        PrometheusHistogram(5, 3, 0.0, 3, 0.001, PrometheusSide([], []), PrometheusSide([], []))
    )
    merged = filled([0.0005, -0.0005, 1.0]).merge(theirs)
    assert (merged.zero, merged.count) == (5, 6)
    assert merged.zero_threshold >= 0.001
    assert merged.quantile(0.0) is None
    assert close(merged.quantile(1.0), 1.0)


def test_number_of_buckets_is_bounded_and_nothing_is_lost():
    """Values over 600 decades lower the scale; the error is that of the scale."""
    values = [10.0 ** (power / 8) for power in range(-2400, 2400)]
    buckets = filled(values)
    assert buckets.size <= MAX_BUCKETS
    assert buckets.count == len(values)
    base = 2 ** (2**-buckets.scale)
    for share in (0.0, 0.3, 0.8, 1.0):
        assert close(buckets.quantile(share), exact(values, share), (base - 1) / (base + 1))


@given(
    st.lists(st.floats(0, 1e300), max_size=30),
    st.lists(st.lists(st.one_of(st.floats(0, 1e300), st.sampled_from([0.0, 1.0, 2.0, 5e-324, 1e300])), max_size=30)),
    st.integers(1, 1000),
    st.integers(1, 40),
)
def test_counting_together_is_counting_one_by_one(before, batches, count, most):
    """In several histograms at once, also where they are of different scales, and where the bound lowers them."""
    with mock.patch.object(Buckets.bound, "__defaults__", (most,)):
        together, apart = [Buckets(), filled(before)], [Buckets(), filled(before)]
        for values in batches:
            count_values(together, values, count)
            for each in apart:
                for value in values:
                    each.count_value(value, count)
                    each.bound()
    assert all(same(*pair) for pair in zip(together, apart, strict=True))


def test_the_least_scale_holds_every_float_in_a_few_buckets():
    """So that a bound on buckets never has to forget any."""
    buckets = filled([5e-324, 1e-100, 1.0, 1e100, 1.7976931348623157e308])
    buckets.downscale(MIN_SCALE)
    assert buckets.size <= 5
    assert buckets.count == 5
    assert all(math.isfinite(value_of(bucket, MIN_SCALE)) for bucket in buckets.positive)


def test_merging_bounded_ones_stays_bounded():
    """Each spans another part of the range."""
    merged = Buckets()
    for start in range(-300, 300, 50):
        merged.merge(filled([10.0 ** (start + step / 20) for step in range(1000)]))
    assert merged.size <= MAX_BUCKETS
    assert merged.count == 12_000


def test_nothing_observed_has_no_quantile():
    """Unknown, not 0; a share outside 0 to 1 neither."""
    assert Buckets().quantile(0.5) is None
    assert filled([1.0]).quantile(1.5) is None
    assert filled([1.0]).quantile(math.nan) is None


@pytest.mark.parametrize("value", [5e-324, 1.7976931348623157e308])
def test_extremes_of_floats_have_a_bucket(value):
    """The smallest and the largest number, without an exception."""
    assert filled([value, -value]).quantile(1.0) == pytest.approx(value, rel=0.5)


@given(st.lists(VALUES, max_size=60), st.sampled_from(["seconds", "bytes", ""]), st.integers(0, 5))
def test_counts_up_to_bounds(values, unit, scale):
    """Every value at or below a bound is in, and none that is more than a bucket's width above; counts never fall with the scale."""
    bounds = (-5.0, 0.0, *default_bounds(unit))
    fine = filled(values)
    counts = fine.up_to(bounds)
    for bound, count in zip(bounds, counts, strict=True):
        at_most = bound + abs(bound) * 0.0221 if bound else 0.0
        assert sum(value <= bound for value in values) <= count <= sum(value <= at_most for value in values)
    assert counts == sorted(counts)
    coarse = fine.copy()
    coarse.downscale(scale)
    assert all(less <= more for less, more in zip(counts[1:], coarse.up_to(bounds)[1:], strict=True))


@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "bytes", "", "apples"])
def test_default_bounds_ascend_and_are_few(unit):
    """One documented choice for each unit."""
    bounds = default_bounds(unit)
    assert list(bounds) == sorted(set(bounds))
    assert len(bounds) <= MAX_BOUNDS


def test_values_of_10_ms_are_up_to_10_ms():
    """The value at a bound belongs to it, as with every other histogram."""
    bounds = default_bounds("seconds")
    counts = dict(zip(bounds, filled([0.01] * 7).up_to(bounds), strict=True))
    assert (counts[0.005], counts[0.01], counts[100.0]) == (0, 7, 7)
