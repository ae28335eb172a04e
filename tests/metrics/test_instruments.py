"""Counters, gauges and histograms in memory: exact under threads, and never an exception for a value."""

import dis
import math
import signal
import sys
import threading
from decimal import Decimal
from fractions import Fraction

import pytest

from atmost import MetricError
from atmost.atomic import LOCK_FREE, locked
from atmost.metrics.buckets import MAX_BUCKETS, SCALE, Buckets
from atmost.metrics.instruments import Counter, Gauge, Histogram
from tests.metrics.scene import make

THREADS, EACH = 4, 20_000
NOT_NUMBERS = [math.nan, math.inf, -math.inf, "1", b"1", None, [], {}, object(), 1j, 10**400, Decimal("NaN")]


class Raising:
    """What no arithmetic should touch."""

    def __float__(self):
        raise RuntimeError("no")

    __lt__ = __le__ = __ge__ = __gt__ = __add__ = __radd__ = __float__


@pytest.fixture
def metrics():
    """Metrics that send nothing by themselves."""
    return make()[0]


@pytest.fixture
def switching():
    """Threads change as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(work):
    """Runs it in several threads at once."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_counter_adds_up(metrics):
    """Whole numbers stay whole; other numbers count by their value."""
    counter = metrics.counter("a_total")
    counter.inc()
    counter.inc(2)
    counter.inc(0)
    assert counter.value == 3
    assert type(counter.value) is int
    for amount in (0.5, Decimal("0.25"), Fraction(1, 4), True, 2**70):
        counter.inc(amount)
    assert counter.value == 5.0 + 2**70


@pytest.mark.parametrize("value", [*NOT_NUMBERS, Raising(), -1, -0.5], ids=lambda value: repr(value)[:20])
def test_bad_increment_is_counted_and_changes_nothing(metrics, value):
    """`inc` does not raise."""
    counter = metrics.counter("a_total")
    counter.inc(value)
    assert counter.value == 0
    assert metrics.dropped == {"bad_value": 1}


@pytest.mark.parametrize("value", [*NOT_NUMBERS, Raising()], ids=lambda value: repr(value)[:20])
def test_bad_values_are_counted_and_change_nothing(metrics, value):
    """Neither `set`, `observe`, nor a gauge's steps raise."""
    gauge, histogram = metrics.gauge("g"), metrics.histogram("h")
    gauge.set(value)
    gauge.inc(value)
    gauge.dec(value)
    histogram.observe(value)
    assert gauge.value is None
    assert histogram.read(0.0) == (0.0, 0, SCALE, {}, {})
    assert metrics.dropped == {"bad_value": 4}


def test_gauge_goes_up_and_down_and_begins_unset(metrics):
    """Steps begin at 0."""
    gauge = metrics.gauge("g")
    assert gauge.read(0.0) is None
    gauge.inc()
    gauge.dec(3)
    assert gauge.value == -2
    gauge.set(5)
    gauge.inc(0.5)
    assert gauge.read(0.0)[0] == 5.5


def test_histogram_takes_every_finite_number(metrics):
    """Zeros, negative, tiny, huge and whole ones."""
    histogram = metrics.histogram("h")
    values = [0, 0.0, -0.0, 1, 2, -3.5, 5e-324, 1e300, -1e300, 7, Decimal("0.5")]
    for value in values:
        histogram.observe(value)
    total, zero, scale, positive, negative = histogram.read(0.0)
    assert zero == 3
    assert scale == SCALE
    assert sum(positive.values()) == 6
    assert sum(negative.values()) == 2
    assert math.isfinite(total)


def test_histogram_stays_bounded_and_counts_all(metrics):
    """Values over hundreds of decades are told at a lower scale, each in its bucket."""
    histogram = metrics.histogram("h")
    for power in range(-2400, 2300):
        histogram.observe(10.0 ** (power / 8))
        histogram.observe(1e-290)
    assert len(histogram.positive) + len(histogram.negative) <= MAX_BUCKETS
    _, zero, scale, positive, negative = histogram.read(0.0)
    assert (zero, scale, negative) == (0, 0, {})
    expected = Buckets(0)
    for power in range(-2400, 2300):
        expected.observe(10.0 ** (power / 8))
        expected.observe(1e-290)
    assert {bucket - 1: count for bucket, count in positive.items()} == expected.positive


def under_lock(kind):
    """The instrument as an interpreter without a global lock has it."""
    steps = {
        name: locked(getattr(kind, name), "owner.guard") for name in ("inc", "set", "observe") if hasattr(kind, name)
    }
    return type(kind.__name__, (kind,), {"__slots__": (), **steps})


KINDS = (Counter, Gauge, Histogram)


@pytest.mark.parametrize("kinds", [KINDS, tuple(map(under_lock, KINDS))], ids=["free", "guarded"])
def test_nothing_is_lost_under_threads(kinds, switching):
    """Counts are exact with threads changing all the time, also with a lock for interpreters that have none."""
    counter_kind, gauge_kind, histogram_kind = kinds
    owner = make()[0]._registry
    counter = counter_kind(owner, "c", b"", 0, 0)
    gauge = gauge_kind(owner, "g", b"", 0, 0)
    histogram = histogram_kind(owner, "h", b"", 0, 0)

    def work(number):
        for turn in range(EACH):
            counter.inc()
            gauge.inc(2)
            histogram.observe(0.5 + turn % 50)

    together(work)
    assert counter.value == THREADS * EACH
    assert gauge.value == 2 * THREADS * EACH
    total, _, _, positive, _ = histogram.read(0.0)
    assert sum(positive.values()) == THREADS * EACH
    assert total == THREADS * sum(0.5 + turn % 50 for turn in range(EACH))


def test_new_buckets_lose_nothing_under_threads(metrics, switching):
    """Buckets that come into being, and others that join coarser ones, while others are counted."""
    histogram = metrics.histogram("h")

    def work(number):
        for turn in range(4000):
            histogram.observe(1.03 ** (turn % 4000 - 2000))

    together(work)
    _, zero, scale, positive, _ = histogram.read(0.0)
    assert zero + sum(positive.values()) == THREADS * 4000
    assert len(histogram.positive) <= MAX_BUCKETS
    assert scale == 0


@pytest.mark.skipif(not LOCK_FREE, reason="the instruments have a lock here")
@pytest.mark.parametrize(("method", "names"), [(Counter.inc, {"value"}), (Histogram.observe, {"sum", "positive"})])
def test_no_thread_can_come_between_reading_and_storing(method, names):
    """The instructions from loading a number to storing it call no Python code and do not jump backward."""
    code = [one for one in dis.get_instructions(method) if one.opname not in {"CACHE", "EXTENDED_ARG"}]
    stores = [at for at, one in enumerate(code) if one.opname in {"STORE_ATTR", "STORE_SUBSCR"}]
    assert stores
    for at in stores:
        load = max(place for place in range(at) if code[place].argval in names and "LOAD_ATTR" in code[place].opname)
        between = {one.opname for one in code[load : at + 1]}
        assert not any(name.startswith(("CALL", "PRECALL", "JUMP", "RESUME", "SEND", "YIELD")) for name in between)


def test_signal_handler_may_count_inside_a_count(metrics):
    """A handler that interrupts the making of a bucket does not wait for itself."""
    histogram, counter = metrics.histogram("h"), metrics.counter("a_total")

    def handle(*_):
        histogram.observe(5.0)
        metrics.counter("b_total").inc()
        counter.inc()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with metrics._registry.guard:
            signal.raise_signal(signal.SIGUSR1)
            histogram.observe(6.0)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (counter.value, histogram.sum) == (1, 11.0)


def test_labels_of_a_metric_without_labels_is_the_callers_mistake(metrics):
    """A clear error with the metric's name."""
    with pytest.raises(MetricError, match="'a_total': declared without labels"):
        metrics.counter("a_total").labels("x")
