"""How long a silence means what, and what the loss is from which that follows."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost import HeartbeatMonitor
from atmost.heartbeats import LossMeter, misses_needed, patience
from atmost.heartbeats.patience import LONG, RECENT, Span
from tests.heartbeats.scene import FakeSender, kinds, run, steady


@pytest.mark.parametrize(
    ("loss", "burst", "misses"),
    [(0, 0, 3), (0.001, 0, 3), (0.01, 0, 4), (0.05, 0, 6), (0.2, 0, 10), (0.3, 0, 14), (0.01, 6, 7), (0, 3, 4)],
)
def test_the_threshold_follows_the_measured_loss(loss, burst, misses):
    """k = max(3, longest burst + 1, ln(0.01 / 86,400) / ln(p)) at a beat a second."""
    assert misses_needed(1.0, loss, burst) == misses


@given(st.floats(0.01, 86_400), st.floats(0, 1), st.integers(0, 10_000), st.floats(1e-9, 1e3))
def test_the_false_alarms_stay_below_the_target(interval, loss, burst, target):
    """At any loss, runs of k losses begin at most so often, unless the verdict is withheld."""
    bounds = patience(interval, loss, burst, target=target)
    assert 3 * interval <= bounds.suspect <= bounds.lossy <= bounds.down <= 20.5 * interval
    assert 3 <= bounds.misses <= 10
    if bounds.lossy == bounds.down and loss < 1:
        assert loss**bounds.misses * 86_400 / interval <= max(target, 0.5 * 86_400 / interval) * 1.000001


def test_beyond_the_cap_the_verdict_is_withheld():
    """Where ten misses prove too little: unknown (lossy) from there, and down at twice the cap."""
    monitor, chance = HeartbeatMonitor(), Random(3)
    one = FakeSender(monitor)
    lose = {turn for turn in range(1, 3000) if chance.random() < 0.4}
    steady(one, 3000, lose=lose | {2998} - {2999})
    last = 2999.0
    changes = run(monitor, last + 100)
    assert kinds(changes) == [("late", "silent"), ("suspect", "silent"), ("unknown", "lossy"), ("down", "silent")]
    assert [change.at - last for change in changes] == pytest.approx([1.5, 3.0, 10.5, 20.5])
    assert "lossy" in str(changes[2].verdict)
    assert changes[2].verdict.loss == pytest.approx(0.4, abs=0.05)


def test_a_sender_that_loses_is_given_longer():
    """At 5 % loss six or seven misses are needed, half an interval later it is down."""
    monitor, chance = HeartbeatMonitor(), Random(1)
    one = FakeSender(monitor)
    steady(one, 5000, lose={turn for turn in range(1, 4990) if chance.random() < 0.05})
    [status] = monitor.status(4999.0)
    assert status.misses in (6, 7)
    assert status.loss == pytest.approx(0.05, abs=0.01)
    assert run(monitor, 6000)[-1].at == pytest.approx(4999 + status.misses + 0.5)


def test_a_newcomer_is_given_the_benefit_of_the_doubt():
    """Of few beats the loss may be anything: patience shrinks as it is measured, down to three misses."""
    meter, needed = LossMeter(), []
    for _ in range(400):
        meter.record(1, 0, 0)
        needed.append(misses_needed(1.0, meter.figure(), meter.burst))
    assert needed == sorted(needed, reverse=True)
    assert needed[0] > 10
    assert needed[-1] == 3


def test_loss_that_begins_is_noticed_within_minutes():
    """Hours without loss do not hide that it began: the recent memory takes over while it shows more."""
    meter, chance = LossMeter(), Random(2)
    for _ in range(20_000):
        meter.record(1, 0, 0)
    assert meter.figure() < 0.001
    for _ in range(120):
        lost = chance.random() < 0.2
        meter.record(0 if lost else 1, int(lost), int(lost))
    assert meter.figure() > 0.1
    for _ in range(3 * RECENT):
        meter.record(1, 0, 0)
    assert meter.figure() < 0.01


def test_an_outage_is_no_burst():
    """A minute without network was a real silence; no threshold should learn to sleep through the next one."""
    monitor = HeartbeatMonitor()
    one = FakeSender(monitor)
    steady(one, 700, lose=set(range(600, 660)))
    [status] = monitor.status(700.0)
    assert (status.lost, status.burst, status.misses) == (60, 0, 3)


def test_a_burst_raises_the_threshold():
    """Five in a row were lost once: five missed are no death any more, nor the ten that such losses make possible."""
    monitor = HeartbeatMonitor()
    one = FakeSender(monitor)
    steady(one, 2000, lose=set(range(600, 605)))
    [status] = monitor.status(2000.0)
    assert (status.burst, status.misses) == (5, 10)
    assert status.down_after == 20.5


def test_losses_in_bursts_are_told_from_independent_ones():
    """As many beats lost, but three at a time: the next is lost with probability 2/3, and the threshold follows that."""
    scattered, bursts = LossMeter(), LossMeter()
    for _ in range(300):
        scattered.record(99, 1, 1)
        bursts.record(297, 3, 3)
    assert scattered.figure() == pytest.approx(bursts.figure(), abs=0.002)
    assert scattered.continuation() == pytest.approx(scattered.figure())
    assert bursts.continuation() == pytest.approx(2 / 3, abs=0.01)
    assert misses_needed(1.0, scattered.figure(), 1, continuation=scattered.continuation()) == 4
    assert misses_needed(1.0, bursts.figure(), 3, continuation=bursts.continuation()) > 20


@given(st.floats(1e-4, 0.9), st.floats(1e-4, 0.999), st.floats(1e-6, 10))
def test_runs_of_so_many_are_as_rare_as_they_should_be(loss, again, target):
    """k is the least number, from 3, whose runs begin at most `target` times a day on Gilbert's channel."""
    needed = misses_needed(1.0, loss, 0, target, continuation=again)

    def a_day(misses):
        return 86_400 * loss * again ** (misses - 1)

    assert needed == 3 or a_day(needed - 1) > target * 0.999999
    assert a_day(needed) <= target * 1.000001


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20)), max_size=300), st.integers(1, 200))
def test_a_span_remembers_between_one_and_two_sizes(steps, size):
    """Its memory is bounded, and never shorter than its size once that many were seen."""
    span, seen = Span(size), 0
    for received, lost in steps:
        span.record(received, lost, lost)
        seen += received + lost
        assert min(seen, size) <= span.seen <= 2 * (size + 70)
        assert 0 <= span.lost <= span.seen
        assert 0.0 <= span.bound(-2.0) <= span.lost / span.seen <= span.bound(1.0) <= 1.0


def test_the_long_memory_forgets():
    """What was lost two memories ago is past."""
    span = Span(LONG)
    span.record(0, 9, 9)
    span.found_one()
    assert (span.lost, span.burst) == (8, 9)
    for _ in range(2):
        span.record(LONG, 0, 0)
    assert (span.lost, span.burst) == (0, 0)
    span.found_one()
    assert span.lost == 0
