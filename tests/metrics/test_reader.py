"""What the reader knows to be missing: completeness, null where nothing arrived, and bounds on what it keeps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atmost import Loss, MetricsReader, OptionError, SessionClosed, SessionOpened, SubjectError
from atmost.core.events import DatagramRefused, LateArrival, Place, RefusalReason
from atmost.metrics.life import MAX_JUMP
from tests.metrics.scene import deliver, make, session, snapshot


@settings(max_examples=60)
@given(st.sets(st.integers(0, 38), max_size=30))
def test_completeness_is_exact(lost):
    """A gauge that changes all the time: what came over what was sent, the lost ones by number."""
    metrics, sender = make()
    gauge, reader = metrics.gauge("g"), MetricsReader(now=-1.0)
    metrics._registry._began = 0.0
    for number in range(40):
        gauge.set(number)
        sent = snapshot(metrics, sender, float(number))
        if number not in lost:
            deliver(reader, sent, float(number))
    window = reader.window("g", 60, 43.0)
    came = [number for number in range(40) if number not in lost]
    assert (window.received, window.lost) == (len(came), len(lost))
    assert window.mean == pytest.approx(sum(came) / len(came))
    [source] = reader.sources(43.0)
    assert [each.snapshot for each in source.missing] == sorted(lost)
    assert source.lost == len(lost)


def test_duplicates_and_order_do_not_skew():
    """Parts that come twice, and late ones, count once."""
    metrics, sender = make()
    gauge, reader = metrics.gauge("g"), MetricsReader()
    held = []
    for number, value in enumerate([1, 1, 1, 97]):
        gauge.set(value)
        sent = snapshot(metrics, sender, float(number))
        held.append(sent)
    for number in (0, 3, 3, 3, 2, 1, 1):
        deliver(reader, held[number], 3.0)
    window = reader.window("g", 10, 3.0)
    assert (window.mean, window.received, window.lost, window.last) == (25.0, 4, 0, 97)
    assert reader.stats().repeated == 3


def test_nothing_arrived_is_null():
    """Neither 0 nor what was before."""
    metrics, sender = make()
    gauge, reader = metrics.gauge("g"), MetricsReader()
    held = []
    for number in range(6):
        gauge.set(10 + number)
        held.append(snapshot(metrics, sender, float(number)))
    for number in (0, 1, 5):
        deliver(reader, held[number], float(number))
    slots = reader.slots("g", 6, 5.0)
    assert [slot.value for slot in slots] == [10, 11, None, None, None, 15]
    settled = {slot.start: slot.completeness for slot in reader.slots("g", 9, 8.0)}
    assert settled == {0: 1.0, 1: 1.0, 2: 0.0, 3: 0.0, 4: 0.0, 5: 1.0, 6: None, 7: None, 8: None}
    assert reader.window("unheard_of", 60, 8.0).mean is None
    assert reader.window("unheard_of", 60, 8.0).completeness is None
    assert reader.total("unheard_of") is None


def test_unchanged_series_is_known_by_its_absence():
    """A whole snapshot without it says that it did not change, also across one or two lost ones."""
    metrics, sender = make()
    metrics.gauge("still").set(7)
    moving, reader = metrics.counter("moving_total"), MetricsReader()
    for number in range(20):
        moving.inc()
        sent = snapshot(metrics, sender, float(number))
        if number not in {5, 6, 14}:
            deliver(reader, sent, float(number))
    window = reader.window("still", 20, 19.0)
    assert (window.mean, window.received, window.lost) == (7.0, 20, 0)
    assert reader.window("moving_total", 60, 22.0).lost == 3


def test_change_that_was_lost_is_not_taken_for_none():
    """Three lost in a row may hide a change: nothing is claimed until the series is told again."""
    metrics, sender = make()
    gauge, moving, reader = metrics.gauge("g"), metrics.counter("moving_total"), MetricsReader()
    gauge.set(1)
    for number in range(24):
        moving.inc()
        if number == 5:
            gauge.set(2)
        sent = snapshot(metrics, sender, float(number))
        if number not in {5, 6, 7}:
            deliver(reader, sent, float(number))
    values = {slot.start: slot.value for slot in reader.slots("g", 24, 23.0)}
    assert [values[number] for number in range(24)] == [1.0] * 5 + [None] * 5 + [2.0] * 14


def test_missing_parts_are_named():
    """Which part of which snapshot."""
    metrics, sender = make()
    counter, reader = metrics.counter("a_total", "", ("n",)), MetricsReader()
    for number in range(60):
        counter.labels(f"label value number {number}").inc()
    for number in range(4):
        sent = snapshot(metrics, sender, float(number))
        if number == 0:
            parts = len(sent)
        deliver(reader, [each for each in sent if (each[1][3], each[1][4]) != (1, 1)], float(number))
    assert parts > 1
    [source] = reader.sources(10.0)
    assert [tuple(each) for each in source.missing] == [(1, 1)]
    assert (source.complete, source.lost, source.parts_lost) == (3, 0, 1)


def test_silent_sender_is_overdue_until_it_says_goodbye():
    """Nobody knows whether it sent: not lost, and not complete."""
    metrics, sender = make()
    metrics.gauge("g").set(1)
    reader = MetricsReader()
    for number in range(10):
        deliver(reader, snapshot(metrics, sender, float(number)), float(number))
    assert reader.window("g", 20, 9.0).completeness == 1.0
    assert reader.window("g", 20, 14.0).completeness == pytest.approx(10 / 15)
    metrics.close()
    deliver(reader, sender.take(), 14.0)
    assert reader.sources(19.0)[0].overdue == 0


def test_series_are_bounded():
    """What the limit refuses is counted, and the rest goes on."""
    metrics, sender = make()
    counter, reader = metrics.counter("a_total", "", ("n",)), MetricsReader(max_series=10)
    for number in range(50):
        counter.labels(number).inc()
    deliver(reader, snapshot(metrics, sender, 0.0), 0.0)
    assert reader.total("a_total") == 10
    assert reader.stats().refused["series_limit"] == 40


def test_two_meanings_of_one_name_are_a_conflict():
    """The first is kept, the other counted."""
    reader = MetricsReader()
    first, one = make("a")
    first.counter("a_total").inc()
    second, other = make("b")
    second.counter("a_total", "", ("x",)).labels("y").inc(9)
    deliver(reader, snapshot(first, one, 0.0), 0.0)
    deliver(reader, snapshot(second, other, 0.0), 0.0)
    assert reader.total("a_total") == 1
    assert reader.stats().conflicts == 1


def test_huge_jump_of_the_number_is_counted_and_bounded():
    """A number far ahead takes no memory in proportion."""
    metrics, sender = make()
    metrics.counter("a_total").inc()
    reader = MetricsReader()
    deliver(reader, snapshot(metrics, sender, 0.0), 0.0)
    for number in (10**9, 2 * 10**9, 2**62):
        metrics._registry.number = number
        deliver(reader, snapshot(metrics, sender, 1.0), 1.0)
    [life] = reader._state.lives.values()
    assert len(life._waiting) <= 2 * MAX_JUMP + 1
    [source] = reader.sources(100.0)
    assert source.complete + source.lost == source.snapshots == 2**62 + 1
    assert reader.total("a_total") == 1


def test_what_registries_refused_is_shown():
    """Cumulative, as they say."""
    metrics, sender = make()
    metrics.counter("a_total").inc(-1)
    reader = MetricsReader()
    deliver(reader, snapshot(metrics, sender, 0.0), 0.0)
    assert reader.sources(0.0)[0].dropped == {"bad_value": 1}


@pytest.mark.parametrize(
    "options",
    [{"slot": 0}, {"slots": 1}, {"slots": 2.5}, {"coarse_slots": 2.5}, {"grace": -1}, {"grace": float("nan")},
     {"max_lives": 0}, {"max_series": 1.5}],
)  # fmt: skip
def test_options_outside_their_range(options):
    """Refused at construction."""
    with pytest.raises(OptionError):
        MetricsReader(**options)


@pytest.mark.parametrize("subject", ["", "metrics.>", None])
def test_a_subject_that_nothing_is_sent_on(subject):
    """Refused at construction, as by `Metrics`."""
    with pytest.raises(SubjectError):
        MetricsReader(subject=subject)


def test_slots_are_bounded():
    """Old ones make room, and a question further back finds nothing."""
    metrics, sender = make()
    gauge, reader = metrics.gauge("g"), MetricsReader(slots=10)
    for number in range(50):
        gauge.set(number)
        deliver(reader, snapshot(metrics, sender, float(number)), float(number))
    slots = reader.slots("g", 30, 49.0)
    assert [slot.value for slot in slots] == [None] * 20 + [float(number) for number in range(40, 50)]


def test_mixed_events_are_taken():
    """Whatever a receiver yields."""
    reader = MetricsReader()
    one = session()
    for event in (
        SessionOpened(one, 0),
        Loss(one, 3, Place.IN_FLIGHT, 1, 2),
        LateArrival(one, 1),
        DatagramRefused(RefusalReason.DUPLICATE, 1, one),
        SessionClosed(one),
    ):
        reader.feed(event, 0.0)
    deliver(reader, [("metrics.x", "text"), ("metrics.x", {"a": 1}), ("metrics.x", [1]), ("metrics.x", True)], 0.0)
    assert (reader.stats().late_messages, reader.stats().malformed) == (1, 4)


def test_completeness_over_everything():
    """Of all series of a sender, or of all senders."""
    metrics, sender = make()
    gauge, reader = metrics.gauge("g"), MetricsReader(now=-1.0)
    metrics._registry._began = 0.0
    assert reader.completeness(60, 0.0) is None
    for number in range(10):
        gauge.set(number)
        sent = snapshot(metrics, sender, float(number))
        if number != 4:
            deliver(reader, sent, float(number))
    assert reader.completeness(60, 11.0) == 0.9
    assert reader.completeness(60, 11.0, sender="web-1") == 0.9
    assert reader.completeness(60, 11.0, sender="other") is None
    assert reader.completeness(60, 20.0) == 9 / 21  # eleven are overdue


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("a_total", 2, -1),
        ("a_total", 2, float("nan")),
        ("g", 2, float("inf")),
        ("h", 2, float("inf")),
        ("h", 5, [1]),
        ("h", 5, [1, 0]),
        ("h", 5, [1, -3]),
        ("h", 5, [10**10, 3]),
        ("h", 3, -1),
        ("h", 4, 21),
        ("h", 4, -10),
        ("h", 4, None),
        ("g", 3, -1.0),
        ("g", 3, float("nan")),
        ("a_total", 0, ["one too many"]),
    ],
)
def test_readings_that_cannot_be_are_refused(name, place, value):
    """Counted as malformed, and nothing of them is kept."""
    metrics, sender = make()
    metrics.counter("a_total").inc()
    metrics.gauge("g").set(1)
    metrics.histogram("h").observe(1.0)
    [(subject, payload)] = snapshot(metrics, sender, 0.0)
    [family] = [family for family in payload[10] if family[1] == name]
    family[5][0][place] = value
    reader = MetricsReader()
    deliver(reader, [(subject, payload)], 0.0)
    assert reader.stats().malformed == 1
    assert reader.total("h") in {None, 1, 0}
    assert reader.window(name, 10, 0.0).received == 0


@pytest.mark.parametrize("interval", [0.0, 5e-324, 1e-9, 1e8, -1.0, float("nan")])
def test_an_interval_that_no_sender_has_is_malformed(interval):
    """As a divisor of silence it would end in an error, or in snapshots overdue without number."""
    metrics, sender = make()
    metrics.gauge("g").set(1)
    sent = snapshot(metrics, sender, 0.0)
    sent[0][1][8] = interval
    reader = MetricsReader()
    deliver(reader, sent, 0.0)
    assert (reader.stats().malformed, reader.stats().parts) == (1, 0)
    assert reader.window("g", 60, 50.0).overdue == 0


def test_kinds_of_one_series_cannot_change():
    """A stranger's histogram under the name of a counter is a conflict, and harms nothing."""
    metrics, sender = make()
    metrics.counter("a_total").inc(3)
    sent = snapshot(metrics, sender, 0.0)
    other, another = make()
    other.histogram("a").observe(1.0)
    [(subject, payload)] = snapshot(other, another, 0.0)
    payload[10][0][1] = "a_total"
    reader = MetricsReader()
    deliver(reader, [*sent, (subject, payload)], 0.0)
    assert (reader.total("a_total"), reader.stats().conflicts) == (3, 1)
