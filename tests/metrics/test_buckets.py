"""Quantiles are within 1 %, merging is exact, and the number of buckets is bounded."""

import math
import random

import pytest
from ddsketch import DDSketch
from hypothesis import given
from hypothesis import strategies as st

from atmost.metrics.buckets import ALPHA, MAX_BUCKETS, Buckets, bucket_of, value_of

VALUES = st.floats(min_value=-1e12, max_value=1e12, allow_nan=False).map(lambda v: v if abs(v) > 1e-9 else 0.0)
SHARES = [0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0]


def filled(values) -> Buckets:
    """Buckets that saw these."""
    buckets = Buckets()
    for value in values:
        buckets.add(value)
    return buckets


def exact(values, share: float) -> float:
    """The element of the sorted values that the quantile stands for."""
    return sorted(values)[math.floor(share * (len(values) - 1))]


def close(estimate: float | None, truth: float) -> bool:
    """Whether an estimate is within 1 %."""
    return estimate is not None and abs(estimate - truth) <= ALPHA * abs(truth) * (1 + 1e-9)


@given(st.lists(VALUES, min_size=1, max_size=200), st.floats(0, 1))
def test_quantile_is_within_one_percent_of_the_exact_one(values, share):
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
def test_quantiles_agree_with_the_exact_ones_and_with_ddsketch(draw):
    """Ten thousand values of several distributions: both are within 1 % of the exact one, so 2 % of each other."""
    chance = random.Random(7)
    values = [draw(chance) for _ in range(10_000)]
    ours, theirs = filled(values), DDSketch(ALPHA)
    for value in values:
        theirs.add(value)
    for share in SHARES:
        truth = exact(values, share)
        assert close(ours.quantile(share), truth)
        other = theirs.get_quantile_value(share)
        assert ours.quantile(share) == pytest.approx(other, rel=2.03 * ALPHA, abs=1e-12)
    assert ours.count == theirs.count
    assert ours.sum == pytest.approx(theirs.sum)


@given(st.lists(st.lists(VALUES, max_size=50), min_size=1, max_size=5), st.randoms())
def test_merging_is_what_one_histogram_would_hold(lists, chance):
    """In any order."""
    parts = [filled(values) for values in lists]
    chance.shuffle(parts)
    merged = Buckets()
    for part in parts:
        merged.merge(part)
    whole = filled([value for values in lists for value in values])
    assert (merged.positive, merged.negative, merged.zero) == (whole.positive, whole.negative, whole.zero)
    assert merged.sum == pytest.approx(whole.sum, rel=1e-12, abs=0.01)


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_bucket_holds_what_it_says(value):
    """The value that stands for a bucket is within 1 % of each it holds."""
    assert value_of(bucket_of(value)) == pytest.approx(value, rel=ALPHA * (1 + 1e-6))


def test_number_of_buckets_is_bounded_and_nothing_is_lost_from_the_count():
    """Values over 600 decades: the smallest join the zero bucket, and quantiles there are unknown, not wrong."""
    values = [10.0 ** (power / 8) for power in range(-2400, 2400)]
    buckets = filled(values)
    assert len(buckets.positive) <= MAX_BUCKETS
    assert buckets.count == len(values)
    assert buckets.threshold is not None
    assert buckets.quantile(0.0) is None
    assert close(buckets.quantile(1.0), values[-1])
    assert close(buckets.quantile(0.8), exact(values, 0.8))


def test_merging_bounded_ones_stays_bounded():
    """Each spans another part of the range."""
    merged = Buckets()
    for start in range(-300, 300, 50):
        merged.merge(filled([10.0 ** (start + step / 20) for step in range(1000)]))
    assert len(merged.positive) <= MAX_BUCKETS
    assert merged.count == 12_000


def test_nothing_observed_has_no_quantile():
    """Unknown, not 0; a share outside 0 to 1 neither."""
    assert Buckets().quantile(0.5) is None
    assert filled([1.0]).quantile(1.5) is None
    assert filled([1.0]).quantile(math.nan) is None


def test_extremes_of_floats_have_a_bucket():
    """The smallest and the largest number, without an exception."""
    buckets = filled([5e-324, -5e-324, 1.7e308])
    assert buckets.count == 3
    assert buckets.quantile(1.0) == pytest.approx(1.7e308, rel=0.011)
