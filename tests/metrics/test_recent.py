"""Ten minutes of a histogram, packed: the same observations as unpacked, and older ones forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from atmost.metrics.buckets import Buckets
from atmost.metrics.history import KEPT, RECENT, Recent

VALUES = st.floats(-1e12, 1e12).map(lambda value: value if abs(value) > 1e-9 else 0.0)


@given(
    st.lists(st.tuples(st.integers(0, 50), VALUES), max_size=80).map(lambda pairs: sorted(pairs, key=lambda p: p[0]))
)
def test_packing_changes_nothing(observations):
    """Every stretch of time has the buckets of the observations that were made in it."""
    recent = Recent()
    for slot, value in observations:
        recent.at(slot * RECENT + 3).observe(value)
    for start, end in ((0, 51), (10, 20), (50, 51)):
        expected = Buckets()
        for slot, value in observations:
            if start <= slot < end:
                expected.observe(value)
        found = recent.between(start * RECENT, end * RECENT)
        assert (found.positive, found.negative, found.zero) == (expected.positive, expected.negative, expected.zero)


def test_what_is_older_than_ten_minutes_is_forgotten():
    """Memory stays bounded, however long it runs."""
    recent = Recent()
    for slot in range(500):
        recent.at(slot * RECENT).observe(1.0)
    assert recent.between(0, 500 * RECENT).count == KEPT
    assert len(recent._packed) <= KEPT


def test_counts_and_buckets_of_any_size_are_packed():
    """The smallest array that holds them, up to 64 bits."""
    recent = Recent()
    recent.at(0.0).positive.update({-90_000: 1, 5: 70_000, 90_000: 1 << 62})
    recent.at(RECENT)
    assert recent.between(0, 1).positive == {-90_000: 1, 5: 70_000, 90_000: 1 << 62}
