"""Long silences: what was lost in them is counted as one run, the same as if each snapshot were booked, and a leap costs nothing."""

import tracemalloc

import pytest

from atmost import MetricsReader
from atmost.core.events import Arrival, Message
from atmost.metrics.life import MAX_JUMP
from tests.metrics.scene import deliver, make, session, snapshot


def part(life, number, families=(), sender="s"):
    """A whole snapshot in one part."""
    return [1, life.to_bytes(8, "big"), sender, number, 0, 1, False, float(number), 1.0, {}, list(families)]


def feed(reader, payload, now, by):
    """One message of a sender."""
    reader.feed(Message("metrics.s", payload, Arrival(by, 0, 0, 0)), now)


@pytest.mark.parametrize("outage", [3, 8, 9, 10, 40, 250])
def test_an_outage_is_lost_snapshot_by_snapshot(outage):
    """Slots, windows and completeness say the same, however long it was."""
    metrics, sender = make()
    counter, reader = metrics.counter("a_total"), MetricsReader(coarse_slots=100, now=0.0)
    now = 0.0
    for number in range(2 * outage + 20):
        counter.inc()
        sent = snapshot(metrics, sender, now)
        if not 10 <= number < 10 + outage:
            deliver(reader, sent, now)
        now += 1.0
    reader.tick(now + 5)
    seconds = 2 * outage + 30
    window = reader.window("a_total", seconds, now)
    assert (window.received, window.lost) == (outage + 20, outage)
    assert reader.window("a_total", outage + 10, now).lost == 0
    slots = {slot.start: slot.lost for slot in reader.slots("a_total", seconds, now) if slot.lost}
    assert slots == dict.fromkeys(map(float, range(10, 10 + outage)), 1)
    coarse = reader.slots("a_total", 10 * (seconds // 10 + 1), now, width=10.0)
    assert sum(slot.lost for slot in coarse) == outage
    [source] = reader.sources(now)
    assert source.lost == outage
    assert [each.snapshot for each in source.missing] == list(range(10, 10 + outage))


def test_a_series_lost_nothing_before_it_was_born():
    """One that began in the middle of an outage lost the second half only."""
    metrics, sender = make()
    metrics.counter("a_total").inc()
    reader = MetricsReader(now=0.0)
    for number in range(50):
        if number == 20:
            metrics.counter("b_total").inc()
        sent = snapshot(metrics, sender, float(number))
        if not 10 <= number < 30:
            deliver(reader, sent, float(number))
        metrics.counter("a_total").inc()
        metrics.counter("b_total").inc() if number >= 20 else None
    reader.tick(60.0)
    assert reader.window("a_total", 60, 50.0).lost == 20
    assert reader.window("b_total", 60, 50.0).lost == 10


def test_late_snapshots_of_an_outage_are_not_lost():
    """What comes within the grace is known, wherever in the run it stands."""
    metrics, sender = make()
    counter, reader = metrics.counter("a_total"), MetricsReader(grace=5.0, now=0.0)
    sent = []
    for number in range(61):
        counter.inc()
        sent.append(snapshot(metrics, sender, float(number)))
    deliver(reader, sent[0], 0.0)
    deliver(reader, sent[60], 60.0)
    for number in (5, 30, 31):
        deliver(reader, sent[number], 61.0)
    [life] = reader.sources(61.0)
    assert (life.complete, life.pending, life.lost) == (5, 56, 0)
    [life] = reader.sources(70.0)
    assert (life.complete, life.pending, life.lost) == (5, 0, 56)
    assert reader.window("a_total", 70, 61.0).lost == 56


def test_many_outages_are_joined_and_their_number_stays():
    """A life keeps a bounded number of runs; older ones become one, and what is lost in all of them stays exact."""
    metrics, sender = make()
    counter, reader = metrics.counter("a_total"), MetricsReader(slots=3000, now=0.0)
    for number in range(2000):
        counter.inc()
        sent = snapshot(metrics, sender, float(number))
        if number % 40 < 20:
            deliver(reader, sent, float(number))
    reader.tick(2010.0)
    [source] = reader.sources(2010.0)
    assert source.lost == 49 * 20  # nobody knows yet that the last twenty were sent
    assert reader.window("a_total", 2500, 2010.0).lost == 49 * 20


def test_strangers_leaps_take_no_memory():
    """Five hundred processes that never were, each with a leap as far as is looked at: they fit into one datagram."""
    reader = MetricsReader(max_lives=500, now=0.0)
    for number in range(500):
        feed(reader, part(number, 0), 0.0, session(f"s{number}", number + 1))
    tracemalloc.start()
    try:
        for number in range(500):
            feed(reader, part(number, MAX_JUMP), 0.0, session(f"s{number}", number + 1))
        grown, _ = tracemalloc.get_traced_memory()
        reader.tick(10.0)
        settled, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 500 * 2000
    assert settled < 500 * 6000
