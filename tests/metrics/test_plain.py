"""Plain readings, as the agent sends them: their session's completeness, null where nothing arrived."""

import pytest

from atmost import Loss, MetricsReader, SessionClosed
from atmost.core.events import Arrival, Message, Place
from tests.metrics.scene import session


def fed(values, one, reader=None, lost=()):
    """A reader after one reading a second by name `cpu.utilization`; the lost ones by number."""
    reader = reader or MetricsReader()
    for number, value in enumerate(values):
        if number not in lost:
            message = Message("metrics.cpu.utilization", value, Arrival(one, number, 0, 0))
            reader.feed(message, float(number))
    return reader


def test_readings_become_a_series():
    """With the sender's name, and no unit of their own."""
    reader = fed([0.5, 0.25, 0.75], session())
    window = reader.window("cpu.utilization", 10, 2.0)
    assert (window.mean, window.last, window.received, window.completeness) == (0.5, 0.75, 3, 1.0)
    assert reader.series("cpu.utilization") == [("web-1", {}, 0.75)]
    assert reader.metrics["cpu.utilization"].kind == "reading"
    assert reader.stats().readings == 3


def test_loss_of_the_session_shows_in_its_slots():
    """Where the missing datagrams were sent; values there are null."""
    one = session()
    reader = fed([1.0] * 10, one, lost={4, 5})
    reader.feed(Loss(one, 2, Place.IN_FLIGHT, 4, 5), 10.0)
    slots = {slot.start: slot for slot in reader.slots("cpu.utilization", 10, 9.0)}
    assert [slots[number].value for number in range(10)] == [1.0] * 4 + [None] * 2 + [1.0] * 4
    assert sum(slot.lost for slot in slots.values()) == 2
    assert [slots[number].lost for number in (4, 5)] == [1, 1]
    assert reader.window("cpu.utilization", 10, 9.0).completeness == pytest.approx(0.8)


def test_loss_without_neighbours_is_booked_now():
    """Before anything else of the session arrived nothing tells when it was sent."""
    one = session()
    reader = fed([1.0], one)
    reader.feed(Loss(one, 500, Place.IN_FLIGHT, 1, 400), 3.0)
    assert reader.window("cpu.utilization", 10, 3.0).lost >= 1


def test_silent_session_is_overdue_until_it_says_goodbye():
    """As far as its rhythm tells."""
    one = session()
    reader = fed([1.0] * 10, one)
    assert reader.window("cpu.utilization", 30, 19.0).overdue == 10
    reader.feed(SessionClosed(one), 19.0)
    assert reader.window("cpu.utilization", 30, 19.0).overdue == 0


def test_a_burst_tells_no_rhythm():
    """Readings that come together, as after a pause of the reader, make nothing overdue between those that follow."""
    one, reader = session(), MetricsReader()
    times = [0.0, 0.00001, 0.00002, *range(1, 20), 19.00001]
    for number, now in enumerate(times):
        reader.feed(Message("metrics.x", 1.0, Arrival(one, number, 0, 0)), float(now))
        assert reader.window("x", 10, now + 0.9).overdue == 0
    assert reader.window("x", 30, 25.0).overdue == 5


def test_a_fast_rhythm_is_one_too():
    """A hundred readings a second: their end shows, if not to the reading."""
    one, reader = session(), MetricsReader()
    for number in range(500):
        reader.feed(Message("metrics.x", 1.0, Arrival(one, number, 0, 0)), number / 100)
    assert reader.window("x", 60, 5.0).completeness == 1.0
    assert reader.window("x", 60, 15.0).completeness < 0.9


def test_sender_without_a_name_has_its_session_as_name():
    """Until a beacon brings one."""
    one = session("")
    reader = fed([1.0], one)
    assert reader.series("cpu.utilization")[0][0] == one.id
    one.name = "named"
    assert reader.window("cpu.utilization", 10, 1.0, sender="named").received == 1


def test_values_that_are_no_readings():
    """Counted, and not kept."""
    one, reader = session(), MetricsReader()
    for value in (float("nan"), float("inf"), 10**400, True, "1", None, b"1"):
        reader.feed(Message("metrics.x", value, Arrival(one, 0, 0, 0)), 0.0)
    assert reader.stats().malformed == 7
    assert reader.window("x", 10, 0.0).mean is None


def test_sessions_and_series_are_bounded():
    """Beyond the limits the longest silent session goes, and new series are counted."""
    reader = MetricsReader(max_lives=2, max_series=3)
    for number in range(5):
        reader.feed(Message("metrics.x", 1.0, Arrival(session(number=number), 0, 0, 0)), float(number))
    assert len(reader._state.plain) == 2
    for name in "abcd":
        reader.feed(Message(f"metrics.{name}", 1.0, Arrival(session(number=4), 0, 0, 0)), 5.0)
    assert reader.stats().refused["series_limit"] == 3


def test_other_subjects_count_for_completeness_only():
    """What else the session sends tells when a lost datagram was sent."""
    one = session()
    reader = fed([1.0] * 3, one)
    reader.feed(Message("logs.x", {"message": "hello"}, Arrival(one, 3, 0, 0)), 3.0)
    assert reader.stats().readings == 3


def test_completeness_is_the_sessions():
    """Over everything a session sent, not only readings."""
    one = session()
    reader = fed([1.0] * 9, one)
    reader.feed(Loss(one, 1, Place.IN_FLIGHT, 9, 9), 9.0)
    assert reader.completeness(60, 9.0) == 0.9
