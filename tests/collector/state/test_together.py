"""Events that come together are taken as they would be one by one, whatever stands beside them, and a fault costs only its event."""

import math
from operator import length_hint

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atmost.core.events import Arrival, LateArrival, Loss, Message, Place, SessionClosed
from tests.collector.scene import T0, make_state, message, session

PAYLOADS = st.one_of(
    st.floats(-1e6, 1e6),
    st.integers(-5, 5),
    st.sampled_from([math.nan, math.inf, 1.7e308, -1.69e308, 1e308, True, None, "x", [1, 2], {"a": 1}, 2**70]),
)
SUBJECTS = st.sampled_from(
    ["metrics.a", "metrics.b", "metrics.b", "metricsx", "orders.x", "orders.y", "logs.x", "metrics.é"]
)


@st.composite
def batches(draw):
    """Batches of events of two sessions, each with the time since the one before."""
    sessions, sequence, made = [session("one", 1), session("two", 2)], 0, []
    for _ in range(draw(st.integers(1, 6))):
        events = []
        for _ in range(draw(st.integers(0, 4))):
            sequence += draw(st.integers(1, 3))
            by = draw(st.sampled_from(sessions))
            if draw(st.integers(0, 9)) == 0:
                lost = Loss(by, draw(st.integers(1, 5)), Place.IN_FLIGHT, sequence - 1, sequence - 1)
                events.append(draw(st.sampled_from([lost, LateArrival(by, 1), SessionClosed(by)])))
                continue
            arrival = Arrival(by, sequence, int(T0 * 1e6), int(T0 * 1e6))
            pairs = draw(st.lists(st.tuples(SUBJECTS, PAYLOADS), min_size=1, max_size=8))
            events += [Message(subject, payload, arrival) for subject, payload in pairs]
        made.append((draw(st.sampled_from([0.0, 0.01, 0.3, 1.0, 11.0])), events))
    return made


def seen(state):
    """What can be asked about series, subjects, logs and counts."""
    series = [
        (
            name,
            (found.sender, found.labels, repr(found.last), found.series.set_at, found.series.updated),
            repr(found.series.ring.rows(T0 - 10, T0 + 100)),
            repr(found.series.ring.for_width(10.0).rows(T0 - 10, T0 + 100)),
            (found.owner.latest_at, found.owner.interval, repr(found.owner.all.rows(T0 - 10, T0 + 100))),
        )
        for name, found in state.metrics.found()
    ]
    stats, rows = state.metrics.stats(), state.subjects.rows()
    return series, repr(stats), repr(rows), repr(state.metrics.metrics), len(state.logs)


@settings(max_examples=60)
@given(batches())
def test_together_is_one_by_one(turns):
    """Series with their slots and rhythm, subjects with their samples, refusals, losses and log entries."""
    together, apart = make_state(), make_state()
    now = T0
    for after, events in turns:
        now += after
        left = iter(events)
        while length_hint(left):
            together.feed_all(left, now, now - T0)
        for event in events:
            apart.feed(event, now, now - T0)
        assert seen(together) == seen(apart)


def test_taps_see_each_message():
    """In the order of arrival within a subject."""
    state, seen_by_tap = make_state(), []

    class Tap:
        matches = staticmethod(lambda _: True)
        feed = staticmethod(seen_by_tap.append)

    state.subjects.taps.append(Tap())
    sent = [message("orders.x", number) for number in range(5)]
    state.feed_all(iter(sent), T0, 0.0)
    assert seen_by_tap == sent


def test_a_fault_costs_only_what_it_came_with(monkeypatch):
    """What stood before it is taken, and what stands behind it is taken by the next call."""
    state = make_state()
    sent = [message("orders.x", 1), message("logs.x", "fault"), *(message(f"orders.{name}", 2) for name in "xyz")]
    events = iter(sent)
    with monkeypatch.context() as broken:
        broken.setattr(state.our_logs, "feed", None)
        with pytest.raises(TypeError):
            state.feed_all(events, T0, 0.0)
        broken.setattr(state.metrics, "feed_together", None)
        with pytest.raises(TypeError):
            state.feed_all(events, T0, 0.0)
    state.feed_all(events, T0, 0.0)
    assert {row.subject: row.count for row in state.subjects.rows()} == {
        "orders.x": 1,
        "logs.x": 1,
        "orders.y": 1,
        "orders.z": 1,
    }


def test_the_lock_is_free_in_between():
    """After each part of a snapshot, and after some of everything else; nothing is taken twice."""
    state = make_state()
    subjects = ["orders.x", "metrics.x", "orders.x", "metrics.x", *["logs.x"] * 40, "orders.y"]
    events = iter([message(subject, []) for subject in subjects])
    taken = []
    while length_hint(events):
        state.feed_all(events, T0, 0.0)
        taken.append(sum(row.count for row in state.subjects.rows()))
    assert taken == [2, 4, 36, 45]
