"""Totals and distributions are right whatever was lost, doubled or reordered, and through restarts."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atmost import MetricsReader
from atmost.metrics.buckets import ERROR
from tests.metrics.scene import deliver, make, session, snapshot

FATES = st.lists(st.tuples(st.sampled_from(["lost", "came", "twice"]), st.integers(0, 3)), min_size=1, max_size=40)


@settings(max_examples=60)
@given(FATES, st.integers(0, 5))
def test_totals_are_right_once_the_link_heals(fates, step):
    """Any loss, duplication and reordering; then ten seconds in which every series is repeated."""
    metrics, sender = make()
    counter, histogram = metrics.counter("a_total", "", ("x",)), metrics.histogram("h")
    gauge = metrics.gauge("g")
    reader, late = MetricsReader(), []
    number = 0
    truth: list[float] = []
    for fate, delay in fates:
        counter.labels(number % 3).inc(number % (step + 1))
        if number % 4 == 0:
            histogram.observe(number + 1.0)
            truth.append(number + 1.0)
        gauge.set(number)
        sent = snapshot(metrics, sender, float(number))
        copies = {"lost": 0, "came": 1, "twice": 2}[fate]
        late += [(number + delay, sent)] * copies
        for due, old in [each for each in late if each[0] <= number]:
            deliver(reader, old, float(number))
            late.remove((due, old))
        number += 1
    for _, old in late:
        deliver(reader, old, float(number))
    for _ in range(11):
        deliver(reader, snapshot(metrics, sender, float(number)), float(number))
        number += 1
    for label in range(min(3, len(fates))):
        assert reader.total("a_total", {"x": str(label)}) == counter.labels(label).value
    assert reader.total("h") == len(truth)
    assert reader.window("g", 1, number - 1.0).last == gauge.value
    [source] = reader.sources(number + 5.0)
    assert source.snapshots == source.complete + source.lost == number
    assert source.lost + source.late >= [fate for fate, _ in fates].count("lost")


def test_restarts_add_up():
    """Each life counts from 0, and the total is that of all lives."""
    reader = MetricsReader()
    for life in range(4):
        metrics, sender = make()
        counter, histogram = metrics.counter("a_total"), metrics.histogram("h")
        for number in range(3):
            counter.inc(10)
            histogram.observe(1.0)
            deliver(reader, snapshot(metrics, sender, float(number)), life * 5.0 + number, session(number=life))
    assert reader.total("a_total") == 120
    assert reader.total("h") == 12
    assert reader.window("a_total", 60, 20.0).increase == 120
    assert reader.total("a_total", sender="web-1") == 120
    assert reader.total("a_total", sender="other") is None


def test_new_session_of_the_same_life_changes_nothing():
    """A rotated key or a clock set back begins a session, not a count."""
    metrics, sender = make()
    counter, reader = metrics.counter("a_total"), MetricsReader()
    for number in range(6):
        counter.inc()
        deliver(reader, snapshot(metrics, sender, float(number)), float(number), session(number=number // 3))
    assert reader.total("a_total") == 6
    assert len(reader.sources(6.0)) == 1


def test_reader_that_joins_late_has_the_total_and_no_leap():
    """What was counted before it came is in the total, not in the increase."""
    metrics, sender = make()
    counter, reader = metrics.counter("a_total"), MetricsReader()
    counter.inc(1000)
    began = metrics._registry._began
    for number in range(100):
        counter.inc()
        sent = snapshot(metrics, sender, began + number)
        if number >= 90:
            deliver(reader, sent, 500.0 + number)
    assert reader.total("a_total") == 1100
    assert reader.window("a_total", 60, 599.0).increase == 9
    [source] = reader.sources(599.0)
    assert (source.snapshots, source.lost) == (10, 0)


def test_lost_beginning_is_known():
    """The reader was there, the first snapshots were not: they are counted, and so is what they hid."""
    metrics, sender = make()
    counter, reader = metrics.counter("a_total"), MetricsReader()
    deliver(reader, [("hello", None)], 0.0)
    began = metrics._registry._began
    for number in range(5):
        counter.inc()
        sent = snapshot(metrics, sender, began + number)
        if number >= 3:
            deliver(reader, sent, 10.0 + number)
    window = reader.window("a_total", 60, 20.0)
    assert (window.increase, window.received, window.lost) == (5, 2, 3)


def test_quantiles_of_a_window_over_many_senders():
    """Buckets merge: within 1.1 % of the exact quantile of everything observed."""
    reader, values = MetricsReader(), []
    for name in ("a", "b", "c"):
        metrics, sender = make(name)
        histogram = metrics.histogram("h_seconds", unit="seconds")
        for number in range(500):
            value = (number + 1) * {"a": 0.001, "b": 0.01, "c": 0.1}[name]
            histogram.observe(value)
            values.append(value)
        deliver(reader, snapshot(metrics, sender, 0.0), 5.0, session(name, ord(name)))
    window = reader.window("h_seconds", 60, 6.0)
    for share in (0.01, 0.5, 0.9, 0.99):
        exact = sorted(values)[math.floor(share * (len(values) - 1))]
        assert window.quantile(share) == pytest.approx(exact, rel=ERROR + 1e-9)
    assert reader.window("h_seconds", 60, 6.0, sender="a").quantile(1.0) == pytest.approx(0.5, rel=ERROR + 1e-9)
    assert window.rate == 25.0
    assert reader.window("h_seconds", 60, 200.0).quantile(0.5) is None


def test_quantile_of_a_window_forgets_what_was_before():
    """A slow minute ago is not slow now."""
    metrics, sender = make()
    histogram, reader = metrics.histogram("h"), MetricsReader()
    deliver(reader, [("hello", None)], 0.0)
    for number in range(120):
        histogram.observe(100.0 if number < 50 else 1.0)
        deliver(reader, snapshot(metrics, sender, float(number)), float(number))
    assert reader.window("h", 30, 119.0).quantile(0.99) == pytest.approx(1.0, rel=ERROR + 1e-9)
    assert reader.window("h", 120, 119.0).quantile(0.99) == pytest.approx(100.0, rel=ERROR + 1e-9)


def test_labels_and_senders_are_told_apart():
    """Any subset of labels may be asked for."""
    metrics, sender = make()
    counter, reader = metrics.counter("a_total", "Help", ("route", "code")), MetricsReader()
    for route, code, count in (("/", 200, 5), ("/", 500, 2), ("/x", 200, 1)):
        counter.labels(route, code).inc(count)
    deliver(reader, snapshot(metrics, sender, 0.0), 0.0)
    assert reader.total("a_total") == 8
    assert reader.total("a_total", {"route": "/"}) == 7
    assert reader.total("a_total", {"route": "/", "code": "500"}) == 2
    assert reader.total("a_total", {"nothing": "x"}) is None
    assert ("web-1", {"route": "/x", "code": "200"}, 1) in reader.series("a_total")
    assert (reader.metrics["a_total"].help, reader.metrics["a_total"].kind) == ("Help", "counter")


def test_forgotten_lives_keep_their_totals():
    """Beyond `max_lives` the longest silent is folded; should it return, it is not counted twice."""
    reader = MetricsReader(max_lives=3)
    kept = []
    for life in range(10):
        metrics, sender = make()
        metrics.counter("a_total", "", ("x",)).labels("y").inc(5)
        metrics.gauge("g").set(1)
        sent = snapshot(metrics, sender, 0.0)
        kept.append(sent)
        deliver(reader, sent, float(life), session(number=life))
    assert reader.total("a_total") == 50
    assert reader.total("a_total", {"x": "y"}, "web-1") == 50
    assert len(reader.sources(10.0)) == 3
    deliver(reader, kept[0], 11.0)
    assert reader.total("a_total") == 50
    assert (reader.stats().lives_folded, reader.stats().retired) == (7, 1)


def test_late_part_heals_the_total():
    """After it was called lost: counted as late, its news taken."""
    metrics, sender = make()
    counter, reader = metrics.counter("a_total"), MetricsReader(grace=1.0)
    held = []
    for number in range(8):
        counter.inc()
        held.append(snapshot(metrics, sender, float(number)))
    for number in (0, 1, 3, 4, 5, 6):
        deliver(reader, held[number], float(number))
    assert reader.sources(6.0)[0].lost == 1
    deliver(reader, held[2], 6.5)
    deliver(reader, held[7], 7.0)
    [source] = reader.sources(7.0)
    assert (source.late, source.lost, reader.total("a_total")) == (1, 1, 8)
