"""Histograms of a process that needs more buckets than there are: the reader follows the scale, whatever was lost and in whatever order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atmost import MetricsReader
from atmost.metrics import instruments
from atmost.metrics.buckets import Buckets, default_bounds
from tests.metrics.scene import deliver, make, session, snapshot

BOUNDS = default_bounds("x")


@settings(max_examples=60)
@given(st.data())
def test_the_reader_has_what_the_process_has(data):
    """A process with room for ten buckets, any values, snapshots lost, doubled and late: once it heals, every bucket is right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instruments, "MAX_BUCKETS", 10)
        metrics, sender = make()
        histogram, reader = metrics.histogram("h"), MetricsReader(now=-1.0)
        truth, held = Buckets(0), []
        values = st.floats(1e-6, 1e6) | st.floats(-1e3, -1e-3) | st.just(0.0)
        for number in range(data.draw(st.integers(1, 12))):
            for value in data.draw(st.lists(values, max_size=6)):
                histogram.observe(value)
                truth.observe(value)
            sent = snapshot(metrics, sender, float(number))
            held.append(sent)
            for old in data.draw(st.lists(st.sampled_from(range(len(held))), max_size=3)):
                deliver(reader, held[old], float(number))
            before = [reader.total("h") or 0]
        deliver(reader, snapshot(metrics, sender, 20.0), 20.0)
        for late in data.draw(st.permutations(held)):
            deliver(reader, late, 20.5)
            before.append(reader.total("h"))
        metrics._registry.snapshot(21.0, metrics._send_part, full=True)
        deliver(reader, sender.take(), 21.0)
    assert before == sorted(before)
    assert reader.total("h") == truth.count
    [(_, found)] = reader.found("h")
    seen = found.series.buckets.copy()
    assert seen.scale == (0 if histogram.coarse_positive or histogram.coarse_negative else 5)
    seen.downscale(0)
    assert (seen.positive, seen.negative, seen.zero) == (truth.positive, truth.negative, truth.zero)
    assert seen.sum == pytest.approx(truth.sum)


def test_a_late_finer_reading_adds_nothing():
    """It is of before the scale was lowered: joined first, it is a part of what is known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instruments, "MAX_BUCKETS", 10)
        metrics, sender = make()
        histogram, reader = metrics.histogram("h"), MetricsReader(now=-1.0)
        for power in range(8):
            histogram.observe(1.03**power)
        fine = snapshot(metrics, sender, 0.0)
        for power in range(8, 100):
            histogram.observe(1.03**power)
        deliver(reader, snapshot(metrics, sender, 1.0), 1.0)
        assert reader.total("h") == 100
        deliver(reader, fine, 1.5)
    assert reader.total("h") == 100
    assert reader.window("h", 10, 2.0).buckets.count == 100


def test_totals_of_forgotten_histograms_are_bounded_and_never_fall():
    """Scales are lowered, of what nothing was added to for longest; counts up to a bound only grow by that."""
    reader = MetricsReader(now=0.0, max_lives=2)
    shown = {}
    for number in range(100):
        metrics, sender = make(f"s{number % 90}")
        histogram = metrics.histogram("h")
        for power in range(-1000, 1000):
            histogram.observe(1.0219**power)
        deliver(reader, snapshot(metrics, sender, 0.0), float(number), session(f"s{number % 90}", number))
        for key, buckets in reader.retired().items():
            counts = buckets.up_to(BOUNDS)
            assert all(now >= then for now, then in zip(counts, shown.get(key, counts), strict=True))
            assert buckets.count % 2000 == 0
            shown[key] = counts
    assert reader.total("h") == 200_000
    assert sum(buckets.size for buckets in reader.retired().values()) <= 131_072
