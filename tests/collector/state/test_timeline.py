"""A time that follows the wall clock and never steps back, whatever is done to that clock."""

from hypothesis import given
from hypothesis import strategies as st

from atmost.collector.state.timeline import TRIAL, Timeline
from tests.collector.scene import T0


def run(timeline, mono, seconds, offset):
    """Goes on second by second with a wall clock that is off by so much; returns the last time."""
    for second in range(1, seconds + 1):
        now = timeline.now(mono + second, T0 + mono + second + offset)
    return now


def test_it_follows_the_wall_clock():
    """Small corrections forwards at once."""
    timeline = Timeline(0.0, T0)
    assert timeline.now(1.0, T0 + 1) == T0 + 1
    assert timeline.now(2.0, T0 + 7) == T0 + 7


def test_a_clock_that_leaps_an_hour_and_comes_back_leaves_nothing():
    """Neither a second that holds two seconds' messages, nor a warning."""
    timeline = Timeline(0.0, T0)
    assert run(timeline, 0.0, 30, 3600.0) == T0 + 30
    assert run(timeline, 30.0, 30, 0.0) == T0 + 60
    assert timeline.ahead(T0 + 60) == 0.0


def test_a_leap_that_lasts_is_followed():
    """As after a suspension, or where the clock was wrong at the start."""
    timeline = Timeline(0.0, T0)
    assert run(timeline, 0.0, round(TRIAL) + 2, 3600.0) == T0 + TRIAL + 2 + 3600


def test_a_step_back_slows_it_by_a_twentieth():
    """So rates are 5 % too high at most, until the wall clock has caught up; it says how far it is ahead."""
    timeline = Timeline(0.0, T0)
    timeline.now(10.0, T0 + 10)
    assert timeline.now(20.0, T0 + 10) == T0 + 19.5
    assert timeline.ahead(T0 + 10) == 9.5
    assert run(timeline, 20.0, 300, -1.0) == T0 + 319
    assert timeline.ahead(T0 + 319) == 0.0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-1e6, 1e6)), max_size=50))
def test_it_never_steps_back(steps):
    """Whatever both clocks say."""
    timeline, mono, last = Timeline(0.0, T0), 0.0, T0
    for elapsed, wall in steps:
        mono += elapsed
        now = timeline.now(mono, T0 + wall)
        assert now >= last
        last = now
