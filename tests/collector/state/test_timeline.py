"""A clock that follows the wall and never steps back."""

from hypothesis import given
from hypothesis import strategies as st

from atmost.collector.state.timeline import Timeline

STEPS = st.lists(st.tuples(st.floats(0, 100), st.floats(-500, 500)), max_size=40)


@given(STEPS)
def test_it_never_steps_back_and_never_falls_behind_the_wall(steps):
    """Whatever is done to the wall clock."""
    mono, wall, timeline, last = 10.0, 1e9, Timeline(10.0, 1e9), 1e9
    for elapsed, step in steps:
        mono += elapsed
        wall += elapsed + step
        now = timeline.now(mono, wall)
        assert now >= last
        assert now >= wall
        last = now


def test_it_waits_for_a_wall_clock_that_was_set_back():
    """At half its pace, so that both meet again, and it says how far it is ahead."""
    timeline = Timeline(0.0, 1000.0)
    assert timeline.now(10.0, 1000.0) == 1005.0
    assert timeline.ahead(1000.0) == 5.0
    assert timeline.now(20.0, 1010.0) == 1010.0
    assert timeline.now(30.0, 1020.0) == 1020.0
    assert timeline.ahead(1020.0) == 0.0


def test_it_follows_a_step_forwards():
    """As after a suspension, in which the monotonic clock stands."""
    timeline = Timeline(0.0, 1000.0)
    assert timeline.now(1.0, 9000.0) == 9000.0
