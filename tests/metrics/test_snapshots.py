"""What a snapshot says: cumulative state, what changed lately, everything every ten seconds, in parts that fit."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost import MetricsReader
from atmost.metrics import instruments
from atmost.metrics.wire import MAX_MESSAGE, flatten, read_part, unflatten
from tests.metrics.scene import deliver, make, snapshot


def families(sent) -> dict[str, list]:
    """Entries by name of a snapshot."""
    found: dict[str, list] = {}
    for _, payload in sent:
        for family in payload[10]:
            found.setdefault(family[1], []).extend(family[5])
    return found


def test_totals_are_cumulative():
    """Each reading has the whole of it: losing one loses nothing."""
    metrics, sender = make()
    counter = metrics.counter("a_total")
    for expected in (5, 10, 15):
        counter.inc(5)
        assert families(snapshot(metrics, sender, expected)) == {"a_total": [[[], 0, expected]]}


def test_subject_and_numbering():
    """Snapshots count from 0 without holes, also when nothing changed; the part says who and of how many."""
    metrics, sender = make(subject="team.metrics")
    metrics.counter("a_total")
    for number in range(20):
        [(subject, payload)] = snapshot(metrics, sender, float(number))
        assert subject == "team.metrics.snapshot"
        assert (payload[2], payload[3], payload[4], payload[5], payload[6]) == ("web-1", number, 0, 1, False)


def test_nothing_declared_sends_nothing():
    """Metrics that nobody uses cost nothing."""
    metrics, sender = make()
    assert snapshot(metrics, sender, 0.0) == []


def test_unset_gauge_is_not_sent():
    """It is unknown, not 0; a counter begins at 0 and is."""
    metrics, sender = make()
    metrics.gauge("g")
    metrics.counter("a_total")
    assert families(snapshot(metrics, sender, 0.0)) == {"a_total": [[[], 0, 0]]}


def test_gauge_has_an_age(monkeypatch):
    """Seconds since it was set."""
    monkeypatch.setattr(instruments, "monotonic", lambda: 9.5)
    metrics, sender = make()
    gauge = metrics.gauge("g")
    gauge.set(5)
    assert families(snapshot(metrics, sender, 10.0))["g"] == [[[], 0, 5, 0.5]]
    assert families(snapshot(metrics, sender, 11.5))["g"] == [[[], 0, 5, 2.0]]


def test_unchanged_series_is_repeated_every_ten_seconds_and_held_three_snapshots():
    """A change is in its snapshot and the next two, and every tenth tells it again."""
    metrics, sender = make()
    metrics.counter("a_total").inc()
    sent = [bool(families(snapshot(metrics, sender, float(number)))) for number in range(31)]
    assert [number for number, told in enumerate(sent) if told] == [0, 1, 2, 10, 20, 30]


@pytest.mark.parametrize(("interval", "every"), [(0.5, 20), (5.0, 2), (20.0, 1)])
def test_repeats_follow_the_interval(interval, every):
    """Ten seconds, or each snapshot where they are rarer."""
    metrics, sender = make(interval=interval)
    metrics.counter("a_total").inc()
    sent = [bool(families(snapshot(metrics, sender, float(number)))) for number in range(61)]
    told = [number for number, was in enumerate(sent) if was and number > 3]
    assert {later - earlier for earlier, later in pairwise(told)} == {every}


def test_repeats_do_not_burst():
    """A thousand unchanged series are told in ten even portions."""
    metrics, sender = make(max_series=1000)
    counter = metrics.counter("a_total", "", ("n",))
    for number in range(1000):
        counter.labels(number).inc()
    for number in range(5):
        snapshot(metrics, sender, float(number))
    told = [families(snapshot(metrics, sender, float(number))).get("a_total", []) for number in range(5, 15)]
    assert [len(entries) for entries in told] == [100] * 10
    assert len({entry[0][0] for entries in told for entry in entries}) == 1000


def test_help_is_told_at_first_and_with_the_repeats():
    """It is for people who come later."""
    metrics, sender = make()
    counter = metrics.counter("a_total", "What it is")
    told = []
    for number in range(21):
        counter.inc()
        [(_, payload)] = snapshot(metrics, sender, float(number))
        told.append(payload[10][0][4] == "What it is")
    assert [number for number, was in enumerate(told) if was] == [0, 1, 2, 10, 20]


def test_final_snapshot_says_everything():
    """At the end, changed or not."""
    metrics, sender = make()
    for number in range(5):
        metrics.counter(f"c{number}_total").inc(number)
    for number in range(5):
        snapshot(metrics, sender, float(number))
    metrics.close()
    sent = sender.take()
    assert len(families(sent)) == 5
    assert sent[0][1][6] is True


NAMES = st.from_regex(r"[a-z]{1,120}_total", fullmatch=True)


@given(st.lists(st.tuples(NAMES, st.text(max_size=200), st.lists(st.text(max_size=90), max_size=30)), max_size=12))
def test_every_part_fits_a_datagram_and_every_series_is_in_one(declared):
    """Whatever the names, helps and label values are."""
    metrics, sender = make()
    sender.name = "s" * 64
    expected: Counter[str] = Counter()
    for name, text, values in {name: (name, text, values) for name, text, values in declared}.values():
        counter = metrics.counter(name, text, ("label",))
        for value in values:
            counter.labels(value).inc()
        if values:
            expected[name] = len({value.encode(errors="replace") for value in values})
    sent = snapshot(metrics, sender, 0.0)
    assert all(size <= MAX_MESSAGE for size in sender.sizes)
    assert {name: len(entries) for name, entries in families(sent).items()} == expected
    assert sorted(payload[4] for _, payload in sent) == list(range(len(sent)))
    assert {payload[5] for _, payload in sent} <= {len(sent)}


def test_large_histogram_travels_in_pieces_that_merge():
    """Two thousand buckets do not fit one datagram; together they are the histogram."""
    metrics, sender = make()
    histogram, counter = metrics.histogram("h", "Help", ("x",)), metrics.counter("a_total")
    counter.inc()
    for power in range(-900, 900):
        histogram.labels("a" * 390).observe(1.021**power)
        histogram.labels("a" * 390).observe(-(1.021 ** (power / 10)))
    sent = snapshot(metrics, sender, 0.0)
    assert len(sent) > 3
    assert max(sender.sizes) <= MAX_MESSAGE
    reader = MetricsReader()
    deliver(reader, sent[::-1], 0.0)
    assert reader.total("h") == 3600
    window = reader.window("h", 10, 0.0)
    assert (window.increase, window.received, window.completeness) == (3600, 1, 1.0)
    assert window.buckets.count == 3600
    assert window.buckets.positive == {
        bucket - 1: count for bucket, count in histogram.labels("a" * 390).positive.items()
    }


def test_sender_with_small_datagrams_gets_smaller_parts():
    """The first refusal teaches the size, and nothing of the snapshot was sent before it."""
    metrics, sender = make()
    sender.max_message = 441
    counter = metrics.counter("a_total", "", ("n",))
    for number in range(100):
        counter.labels(number).inc()
    sent = snapshot(metrics, sender, 0.0)
    assert sum(map(len, families(sent).values())) == 100
    assert {payload[3] for _, payload in sent} == {0}
    assert {payload[5] for _, payload in sent} == {len(sent)}
    assert max(sender.sizes) <= 441


def test_series_too_large_for_a_small_datagram_is_counted():
    """The others are sent."""
    metrics, sender = make()
    sender.max_message = 441
    counter = metrics.counter("a_total", "", ("n",))
    counter.labels("x" * 350).inc()
    counter.labels("y").inc()
    assert families(snapshot(metrics, sender, 0.0)) == {"a_total": [[["y"], 0, 1]]}
    assert metrics.dropped["too_large"] >= 1


def test_callbacks_are_asked_at_each_snapshot():
    """A gauge's and a counter's; what fails has no reading, and is counted."""
    metrics, sender = make()
    answers = iter([1.0, float("nan"), "x", 2.0])
    metrics.gauge("g", callback=lambda: next(answers))
    totals = iter([5, 4, 7, 9])
    metrics.counter("a_total", callback=lambda: next(totals))
    told = [families(snapshot(metrics, sender, float(number))) for number in range(5)]
    assert [entry.get("g") and entry["g"][0][2] for entry in told] == [1.0, None, None, 2.0, None]
    assert [entry.get("a_total") and entry["a_total"][0][2] for entry in told] == [5, None, 7, 9, None]
    assert metrics.dropped == {"callback": 4, "bad_value": 1}


def test_totals_beyond_64_bits_travel_as_floats():
    """MessagePack has no larger whole numbers."""
    metrics, sender = make()
    counter = metrics.counter("a_total")
    for _ in range(5):
        counter.inc(2**62)
    assert families(snapshot(metrics, sender, 0.0))["a_total"] == [[[], 0, float(5 * 2**62)]]


@given(st.dictionaries(st.integers(-40_000, 40_000), st.integers(1, 2**40), max_size=50))
def test_buckets_travel_as_they_are(side):
    """As distances and counts."""
    assert unflatten(flatten(sorted(side.items()))) == side


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@given(ANYTHING)
def test_reading_any_payload_never_raises(payload):
    """Whatever a stranger sends."""
    read_part(payload)


@given(st.data())
def test_reading_a_damaged_part_never_raises(data):
    """Any piece of a real part replaced with anything: None, or a part that can be taken in."""
    metrics, sender = make()
    metrics.histogram("h", "", ("x",)).labels("a").observe(1.5)
    metrics.gauge("g").set(2)
    metrics.counter("a_total").inc()
    [(subject, payload)] = snapshot(metrics, sender, 0.0)
    place = payload
    while True:
        index = data.draw(st.integers(0, len(place) - 1))
        if isinstance(place[index], list) and place[index] and data.draw(st.booleans()):
            place = place[index]
        else:
            place[index] = data.draw(ANYTHING)
            break
    reader = MetricsReader()
    deliver(reader, [(subject, payload)], 0.0)
    reader.window("h", 10, 1.0)
    reader.slots("g", 5, 1.0)
    assert (reader.stats().parts + reader.stats().malformed, reader.stats().lives) != (0, 0)
