"""Several processes of one sender: gauges by their mode, ends that are known or not, and what totals say of themselves."""

import pytest

from atmost import Loss, MetricsReader, SessionClosed
from atmost.core.events import LateArrival, Place
from atmost.metrics import instruments
from atmost.metrics.wire import FINALS
from tests.metrics.scene import deliver, make, session, snapshot


class Process:
    """One process, whose snapshots the test takes and loses; all have one sender name."""

    def __init__(self, reader, number, name="web-1", **options):
        self.reader = reader
        self.metrics, self.sender = make(name, **options)
        self.metrics._registry._began = 0.0
        self.by = session(name, number)
        self.by.pid = number

    def turn(self, now, *, lost=False):
        """A snapshot at a moment."""
        sent = snapshot(self.metrics, self.sender, now)
        if not lost:
            deliver(self.reader, sent, now, self.by)

    def end(self, now, keep=lambda copy, part: True):
        """The last snapshot with its repeats; `keep` says which copies of which parts arrive."""
        registry = self.metrics._registry
        registry.snapshot(now, self.metrics._send_part, final=True)
        for _ in range(FINALS - 1):
            registry.repeat_final(self.metrics._send_part)
        copies = {}
        for subject, payload in self.sender.take():
            copy = copies[payload[4]] = copies.get(payload[4], -1) + 1
            if keep(copy, payload[4]):
                deliver(self.reader, [(subject, payload)], now, self.by)

    def goodbye(self, now):
        """The session's."""
        self.reader.feed(SessionClosed(self.by), now)


@pytest.fixture
def reader():
    """One that was there from the beginning."""
    return MetricsReader(now=0.0, grace=2.0)


def complete(reader, now=10.0, name="a_total", **which):
    """Completeness of a total, and the reasons against it."""
    total = reader.total_of(name, now, **which)
    return total.completeness, list(map(str, total.reasons))


# Gauges.


@pytest.mark.parametrize(
    ("mode", "expected"), [("sum", 16), ("min", 1), ("max", 10), ("latest", 2), ("each", (1 + 2 + 3 + 10) / 4)]
)
def test_a_gauge_of_four_processes(reader, monkeypatch, mode, expected):
    """Set to 1, 2, 3, 10, the one with 2 last: the value of the mode, in the answer and on the chart. With `each` they are four series."""
    clock = iter([0.1, 0.9, 0.3, 0.5])
    monkeypatch.setattr(instruments, "monotonic", lambda: next(clock))
    processes = [Process(reader, number) for number in range(4)]
    for value, process in zip((1, 2, 3, 10), processes, strict=True):
        process.metrics.gauge("g", mode=mode).set(value)
    for process in reversed(processes):
        process.turn(1.0)
    window = reader.window("g", 10, 1.0)
    assert window.last == pytest.approx(expected)
    assert window.mean == pytest.approx(expected)
    assert [slot.value for slot in reader.slots("g", 1, 1.5)] == [pytest.approx(expected)]
    assert reader.window("g", 10, 1.0, {"process": "host:1"}).last == (2 if mode == "each" else None)


def test_the_latest_is_the_one_that_was_set_last_and_not_the_one_that_arrived_last(reader, monkeypatch):
    """The age of the value counts, and setting the same value again does too."""
    now = 0.0
    monkeypatch.setattr(instruments, "monotonic", lambda: now)
    old, new = Process(reader, 1), Process(reader, 2)
    gauges = [each.metrics.gauge("g") for each in (old, new)]
    gauges[0].set(5.0)
    now = 0.5
    gauges[1].set(7.0)
    new.turn(1.0)
    old.turn(1.2)
    assert reader.window("g", 10, 1.2).last == 7.0
    now = 2.0
    gauges[0].set(5.0)
    old.turn(2.5)
    new.turn(2.6)
    assert reader.window("g", 10, 2.6).last == 5.0


def test_who_has_ended_is_not_added_any_more(reader, monkeypatch):
    """A worker that was recycled is not in the sum; of `latest` it may have had the last word."""
    clock = iter([0.1, 0.2, 0.3, 0.4])
    monkeypatch.setattr(instruments, "monotonic", lambda: next(clock))
    processes = [Process(reader, number) for number in range(2)]
    for value, process in enumerate(processes, 1):
        process.metrics.gauge("s", mode="sum").set(value)
        process.metrics.gauge("l").set(value)
        process.turn(1.0)
    processes[1].end(2.0)
    processes[0].turn(2.5)
    assert reader.window("s", 10, 3.0).last == 1.0
    assert reader.window("l", 10, 3.0).last == 2.0


# Ends.


def test_a_life_whose_last_snapshot_came_is_complete(reader):
    """Whatever was lost in between; any one of the repeats is enough."""
    process = Process(reader, 1)
    counter = process.metrics.counter("a_total")
    for number in range(5):
        counter.inc()
        process.turn(float(number), lost=number in {1, 2})
    counter.inc(100)
    process.end(5.0, keep=lambda copy, part: copy == 4)
    assert complete(reader) == (1.0, [])
    assert reader.total("a_total") == 105
    assert [str(source.tail) for source in reader.sources(10.0)] == ["complete"]


@pytest.mark.parametrize("goodbye", [True, False])
def test_a_life_whose_last_snapshot_is_lost_is_never_complete(reader, goodbye):
    """Also when its session said goodbye, and after whatever time; the window it ended in is not complete either."""
    process = Process(reader, 1)
    counter = process.metrics.counter("a_total")
    counter.inc(100)
    process.turn(0.0)
    counter.inc(23)
    process.end(1.0, keep=lambda copy, part: False)
    if goodbye:
        process.goodbye(1.0)
        window = reader.window("a_total", 60, 10.0)
        assert (window.completeness, window.reasons) == (None, ("tail_unknown",))
        assert reader.completeness(60, 10.0) is None
        assert reader.sources(10.0)[0].overdue == 0
    for now in (10.0, 100.0, 10_000.0):
        assert complete(reader, now) == (None, ["tail_unknown"])
    assert reader.total("a_total") == 100


def test_one_part_of_the_last_snapshot_is_lost(reader):
    """The series in the others are exact, and only those."""
    process = Process(reader, 1)
    counter = process.metrics.counter("a_total", "", ("n",))
    for number in range(60):
        counter.labels(f"label value number {number}").inc()
    process.turn(0.0)
    process.end(1.0, keep=lambda copy, part: part == 0)
    of_each = [complete(reader, labels={"n": f"label value number {number}"})[0] for number in range(60)]
    assert set(of_each) == {1.0, None}
    assert complete(reader) == (None, ["tail_unknown"])


@pytest.mark.parametrize("copies", [{0: 0, 1: 0}, {0: 4, 1: 2}])
def test_the_parts_of_the_last_snapshot_may_come_with_different_copies(reader, copies):
    """Each part once is enough; a part more than once is none of the others."""
    process = Process(reader, 1)
    counter = process.metrics.counter("a_total", "", ("n",))
    for number in range(60):
        counter.labels(f"label value number {number}").inc()
    process.end(1.0, keep=lambda copy, part: copy == copies.get(part, 1))
    assert (complete(reader), reader.total("a_total")) == ((1.0, []), 60)
    assert [str(source.tail) for source in reader.sources(10.0)] == ["complete"]
    other = Process(reader, 2)
    other.metrics.counter("b_total").inc()
    other.end(1.0)
    assert complete(reader, name="b_total") == (1.0, [])


def test_a_session_that_ends_is_not_the_end_where_another_goes_on(reader):
    """A rotated key: the goodbye is the former session's, and the life goes on in the next."""
    process = Process(reader, 1)
    counter = process.metrics.counter("a_total")
    counter.inc()
    process.turn(0.0)
    process.goodbye(0.5)
    assert complete(reader, 0.6) == (None, ["tail_unknown"])
    process.by = session("web-1", 2)
    process.turn(1.0)
    assert complete(reader, 1.1) == (1.0, [])
    reader.feed(SessionClosed(session("web-1", 1)), 1.2)
    assert complete(reader, 1.3) == (1.0, [])


def test_what_is_counted_after_the_last_words_is_told_in_a_further_snapshot(reader):
    """`close_all` is said once, and again at the exit: the last of them is the last one."""
    process = Process(reader, 1)
    counter = process.metrics.counter("a_total")
    counter.inc(5)
    for _ in process.metrics.last_words(0.0):
        pass
    deliver(reader, process.sender.take(), 0.0, process.by)
    assert complete(reader, 0.1) == (1.0, [])
    assert process.metrics.flush() == 0  # nothing to add
    counter.inc(2)
    for _ in process.metrics.last_words(0.0):
        pass
    again = process.sender.take()
    assert len(again) == 5
    deliver(reader, again, 1.0, process.by)
    assert (reader.total("a_total"), complete(reader, 1.1)) == (7, (1.0, []))
    assert list(process.metrics.last_words(0.0)) == []


def test_totals_of_forgotten_processes_remember_what_is_unknown():
    """A life makes room, its doubt stays; one that comes back takes it away."""
    reader = MetricsReader(now=0.0, max_lives=2)
    kept = Process(reader, 1)
    kept.metrics.counter("a_total").inc(1)
    kept.turn(0.0)
    for number in range(2, 5):
        other = Process(reader, number)
        other.metrics.counter("a_total").inc(1)
        other.turn(1.0)
        other.end(1.0)
    assert reader.total("a_total") == 4
    assert complete(reader, 1.5)[0] == 1.0  # the ones that ended were forgotten first
    late = [Process(reader, number) for number in (10, 11)]
    for process in late:
        process.metrics.counter("a_total").inc(1)
        process.turn(2.0)
    assert complete(reader, 2.1) == (None, ["tail_unknown"])
    kept.turn(3.0)
    kept.turn(3.5)
    assert reader.total("a_total") == 6


def test_a_forgotten_process_that_comes_back_takes_its_doubt_with_it():
    """It had been cut off, and made room: its end is not unknown any more."""
    reader = MetricsReader(now=0.0, max_series=2)
    away, others = Process(reader, 1), [Process(reader, number) for number in (2, 3, 4)]
    away.metrics.counter("a_total").inc(1)
    away.turn(0.0)
    for process in others[:2]:
        process.metrics.counter("a_total").inc(1)
        process.turn(700.0)
        process.end(701.0)
    assert complete(reader, 702.0) == (None, ["tail_unknown"])
    others[2].metrics.counter("b_total").inc(1)
    others[2].turn(800.0)
    others[2].end(801.0)
    away.turn(900.0)
    assert (complete(reader, 900.1), reader.total("a_total")) == ((1.0, []), 3)


def test_a_session_that_lost_messages_and_showed_no_snapshot(reader):
    """A job too short for two snapshots, of which the only one was lost: nobody knows what it counted."""
    process = Process(reader, 1)
    process.metrics.counter("a_total").inc(1)
    process.turn(0.0)
    lost, late, other = session("web-1", 7), session("web-1", 8), session("job", 9)
    for one in (lost, late, other):
        reader.feed(Loss(one, 3, Place.IN_FLIGHT, 1, 3), 1.0)
    reader.feed(LateArrival(late, 3), 1.0)
    reader.feed(SessionClosed(late), 1.0)
    assert complete(reader, 1.0) == (1.0, [])
    reader.feed(SessionClosed(other), 1.0)
    assert complete(reader, 1.0, sender="web-1") == (1.0, [])
    reader.feed(SessionClosed(lost), 1.0)
    assert complete(reader, 1.0) == (None, ["tail_unknown"])


def test_a_loss_that_is_known_after_the_goodbye(reader):
    """The other order of the two."""
    process = Process(reader, 1)
    process.metrics.counter("a_total").inc(1)
    process.turn(0.0)
    lost = session("web-1", 7)
    reader.feed(SessionClosed(lost), 1.0)
    assert complete(reader, 1.0) == (1.0, [])
    reader.feed(Loss(lost, 3, Place.IN_FLIGHT, 1, 3), 1.0)
    assert complete(reader, 1.0) == (None, ["tail_unknown"])


def test_a_lost_snapshot_is_pending_until_the_next_heals_it(reader):
    """Of a process that lives: the latest that is known to exist did not come as a whole."""
    process = Process(reader, 1)
    counter = process.metrics.counter("a_total", "", ("n",))
    for number in range(60):
        counter.labels(f"label value number {number}").inc()
    process.turn(0.0)
    for number in range(60):
        counter.labels(f"label value number {number}").inc()
    sent = snapshot(process.metrics, process.sender, 1.0)
    deliver(reader, sent[:1], 1.0, process.by)
    assert complete(reader, 1.1) == (None, ["pending"])
    process.turn(2.0)
    assert (complete(reader, 2.1), reader.total("a_total")) == ((1.0, []), 120)


def test_what_limits_refuse_makes_totals_incomplete():
    """The reader's, and the sender's own."""
    reader = MetricsReader(now=0.0, max_series=3)
    process = Process(reader, 1)
    counter = process.metrics.counter("a_total", "", ("n",))
    for number in range(5):
        counter.labels(number).inc()
    process.turn(0.0)
    assert complete(reader, 0.1) == (None, ["limit"])
    [sample] = [each for each in reader.stats().samples if each.reason == "limit"]
    assert (sample.sender, sample.name, sample.count) == ("web-1", "a_total", 2)
    reader = MetricsReader(now=0.0)
    process = Process(reader, 2, max_series=2)
    counter = process.metrics.counter("a_total", "", ("n",))
    for number in range(5):
        counter.labels(number).inc()
    process.turn(0.0)
    assert complete(reader, 0.1) == (None, ["refused_by_sender"])


# Names.


def test_who_contradicts_whom_is_named(reader):
    """The one that is there is kept; the other is refused, counted, and named with it, and its total is not called complete."""
    first, second = Process(reader, 1, "shop"), Process(reader, 2, "job")
    first.metrics.counter("a_total", "", ("route",)).labels("/").inc(3)
    second.metrics.counter("a_total").inc(9)
    first.turn(0.0)
    second.turn(0.0)
    assert reader.total("a_total") == 3
    [sample] = reader.stats().samples
    assert (sample.reason, sample.sender, sample.kept_sender, sample.name) == ("conflict", "job", "shop", "a_total")
    assert sample.text == "a_total: shop says counter with labels (route), job says counter with labels ()"
    assert complete(reader, 0.1, sender="job") == (None, ["conflict"])
    assert complete(reader, 0.1, sender="shop") == (1.0, [])


@pytest.mark.parametrize("ended", [True, False])
def test_a_declaration_that_nobody_lives_by_makes_way(reader, ended):
    """A service that was deployed with other labels; the former one ended, or was killed a minute ago."""
    first = Process(reader, 1, "shop")
    first.metrics.counter("a_total").inc(3)
    first.metrics.counter("b_total").inc(1)
    first.turn(0.0)
    if ended:
        first.end(1.0)
    second = Process(reader, 2, "shop")
    second.metrics.counter("a_total", "", ("route",)).labels("/").inc(9)
    second.turn(2.0 if ended else 61.0)
    assert reader.total("a_total") == 9
    assert reader.metrics["a_total"].label_names == ("route",)
    assert (reader.total("b_total"), reader.stats().redeclared, reader.stats().series) == (1, 1, 2)


def test_other_buckets_of_the_same_histogram_are_merged_and_named(reader):
    """What is recorded is the same for any bounds: nothing is refused, and the first one's are shown while it lives."""
    first, second = Process(reader, 1, "old"), Process(reader, 2, "new")
    first.metrics.histogram("h", buckets=(1, 2)).observe(1.5)
    second.metrics.histogram("h", buckets=(1, 2, 3)).observe(2.5)
    first.turn(0.0)
    second.turn(0.0)
    assert reader.total("h") == 2
    assert reader.metrics["h"].bounds == (1.0, 2.0)
    assert [(each.reason, each.sender) for each in reader.stats().samples] == [("view", "new")]
    first.end(1.0)
    second.metrics.histogram("h", buckets=(1, 2, 3)).observe(2.5)
    second.turn(3.0)
    assert reader.metrics["h"].bounds == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (1, "é" * 65),
        (1, "n" * 129),
        (2, ["l" * 200, "m" * 50]),
        (3, "é" * 17),
        (4, "é" * 81),
    ],
)
def test_texts_are_bounded_in_bytes(reader, place, value):
    """Whatever a stranger sends: names, labels, units and helps are no longer than a registry's."""
    process = Process(reader, 1)
    process.metrics.counter("a_total", "", ("x", "y")).labels("1", "2").inc()
    [(subject, payload)] = snapshot(process.metrics, process.sender, 0.0)
    payload[10][0][place] = value
    deliver(reader, [(subject, payload)], 0.0, process.by)
    assert (reader.stats().malformed, reader.stats().parts) == (1, 0)
    assert [(each.reason, each.sender) for each in reader.stats().samples] == [("malformed", "web-1")]


@pytest.mark.parametrize(
    "damage",
    [
        lambda payload: payload[10][0][5][0].__setitem__(0, ["é" * 150, "é" * 51]),
        lambda payload: payload.__setitem__(2, "é" * 65),
        lambda payload: payload.__setitem__(9, {f"reason{number}": 1 for number in range(17)}),
        lambda payload: payload.__setitem__(9, {"r" * 33: 1}),
    ],
)
def test_label_values_sender_and_reasons_are_bounded_too(reader, damage):
    """Each is kept by the reader for as long as the series is."""
    process = Process(reader, 1)
    process.metrics.counter("a_total", "", ("x", "y")).labels("1", "2").inc()
    [(subject, payload)] = snapshot(process.metrics, process.sender, 0.0)
    damage(payload)
    deliver(reader, [(subject, payload)], 0.0, process.by)
    assert (reader.stats().malformed, reader.stats().parts) == (1, 0)


def test_names_of_plain_readings_are_bounded(reader):
    """They come from subjects, which may be longer."""
    deliver(reader, [("metrics." + "n" * 129, 1.0), ("metrics.n", 1.0)], 0.0)
    assert (reader.stats().malformed, reader.stats().readings) == (1, 1)


def test_deadlines(reader):
    """Something is to be done when what is missing becomes lost, and not before."""
    process = Process(reader, 1)
    counter = process.metrics.counter("a_total")
    assert reader.next_deadline() is None
    for number in range(4):
        counter.inc()
        process.turn(float(number), lost=number == 1)
    assert reader.next_deadline() == 4.0  # it was missed at 2.0
    reader.tick(4.0)
    assert reader.sources(4.0)[0].lost == 1
