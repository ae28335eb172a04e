"""Series of both kinds of senders, listed and asked: gaps are null, loss is counted where it can be known."""

import pytest

from atmost import Metrics
from atmost.collector.state import series
from atmost.collector.state.listing import listed
from atmost.collector.state.series import MAX_MERGED, Question, QuestionError, ask, snapshot
from atmost.core.events import Loss, Place, SessionClosed
from atmost.metrics.buckets import Buckets
from tests.collector.scene import T0, feed_statsd, make_state, message, session
from tests.metrics.scene import FakeSender, quiet
from tests.metrics.scene import snapshot as readings


class Registry:
    """Metrics of ours whose snapshots the test takes, and loses."""

    def __init__(self, state, name="web-1", number=1, began=T0, interval=1.0):
        self.state, self.by = state, session(name, number)
        self.sender = FakeSender(name)
        self.metrics = quiet(Metrics(self.sender, interval))
        self.metrics._registry._began = began

    def turn(self, t, *, lost=False):
        """Takes a snapshot at a moment, and delivers it unless it is to be lost."""
        sent = readings(self.metrics, self.sender, t)
        if not lost:
            for subject, payload in sent:
                self.state.feed(message(subject, payload, by=self.by, t=t), t, t)


def points(state, now, **question):
    """The values of a question, from the oldest."""
    return [point.value for point in ask(state, Question(**question), now).points]


def test_every_step_has_a_point_and_gaps_are_null():
    """Also before the first reading and after the last; the lost ones are counted in place."""
    state = make_state()
    registry = Registry(state)
    gauge = registry.metrics.gauge("g")
    for second in range(6):
        gauge.set(second)
        registry.turn(T0 + second, lost=second in {2, 3})
    state.tick(T0 + 9, 9.0)
    curve = ask(state, Question("g", 8.0), T0 + 7.5)
    assert [point.t - T0 for point in curve.points] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [point.value for point in curve.points] == [0, 1, None, None, 4, 5, None, None]
    assert [point.lost for point in curve.points] == [0, 0, 1, 1, 0, 0, 0, 0]
    assert [point.completeness for point in curve.points] == [1, 1, 0, 0, 1, 1, None, None]
    assert (curve.kind, curve.step, curve.start, curve.end) == ("gauge", 1.0, T0, T0 + 8)


def test_several_senders_are_merged():
    """Rates are added, gauges averaged, and one sender can be asked for alone."""
    state = make_state()
    for number, name in enumerate(("a", "b")):
        registry = Registry(state, name, number + 1)
        registry.metrics.counter("c_total").inc(10 * (number + 1))
        registry.metrics.gauge("g").set(number)
        registry.turn(T0)
    assert points(state, T0 + 1.5, name="c_total", seconds=1.0) == [30.0]
    assert points(state, T0 + 1.5, name="c_total", seconds=1.0, sender="b", figure="rate") == [20.0]
    assert points(state, T0 + 0.5, name="g", seconds=1.0, step=1.0) == [0.5]
    for combine, value in {"sum": 1.0, "mean": 0.5, "min": 0.0, "max": 1.0}.items():
        assert points(state, T0 + 0.5, name="g", seconds=1.0, step=1.0, combine=combine) == [value]
    for combine, value in {"sum": 30.0, "mean": 15.0, "min": 10.0, "max": 20.0}.items():
        assert points(state, T0 + 1.5, name="c_total", seconds=1.0, combine=combine) == [value]


def test_labels_left_out_are_added_up():
    """Each sender's and label's series by itself, or all of them; the processes of one sender by their mode before that."""
    state = make_state()
    for number, name in enumerate(("a", "b")):
        registry = Registry(state, name, number + 1)
        gauge = registry.metrics.gauge("g", "", ("disk", "mount"))
        for disk in range(2):
            gauge.labels(f"sd{disk}", "/").set(10 ** (2 * number + disk))
        registry.turn(T0)
    asked = {"name": "g", "seconds": 1.0, "step": 1.0, "combine": "sum"}
    assert points(state, T0 + 0.5, **asked) == [1111.0]
    assert points(state, T0 + 0.5, **asked, sender="b") == [1100.0]
    assert points(state, T0 + 0.5, **asked, labels={"disk": "sd1"}) == [1010.0]
    assert points(state, T0 + 0.5, **asked, labels={"disk": "sd1", "mount": "/"}, sender="a") == [10.0]


def test_a_sum_of_gauges_does_not_dip_where_one_has_no_reading():
    """The steps are so long that each has one, unless somebody asks for shorter ones; one series alone keeps its own."""
    state = make_state()
    slow = Registry(state, "slow", 1, interval=10.0)
    quick = Registry(state, "quick", 2)
    for registry in (slow, quick):
        registry.metrics.gauge("g").set(5.0)
    for second in range(120):
        quick.turn(T0 + second)
        if second % 10 == 0:
            slow.turn(T0 + second)
    curve = ask(state, Question("g", 100.0, combine="sum"), T0 + 119)
    assert curve.step == 20.0
    assert {point.value for point in curve.points} == {10.0}
    assert ask(state, Question("g", 100.0, combine="sum", step=1.0), T0 + 119).step == 1.0
    assert ask(state, Question("g", 100.0, sender="quick"), T0 + 119).step == 1.0


def test_a_longer_range_has_longer_steps():
    """About 300 points, of the coarse history where the fine one does not reach."""
    state = make_state()
    registry = Registry(state)
    counter = registry.metrics.counter("c_total")
    for second in range(1200):
        counter.inc()
        registry.turn(T0 + second)
    curve = ask(state, Question("c_total", 1000.0), T0 + 1200)
    assert curve.step == 10.0
    assert len(curve.points) == 100
    assert {point.value for point in curve.points} == {10.0}
    assert ask(state, Question("c_total", 100.0), T0 + 1200).step == 1.0
    for late in (0.0, 0.4, 0.9):  # ten minutes are what the fine history holds, but for a slot or two
        whole = ask(state, Question("c_total", 600.0), T0 + 1200 + late)
        assert whole.step == 2.0
        assert len(whole.points) >= 297
        assert {point.value for point in whole.points} == {2.0}
    assert ask(state, Question("c_total", 100.0, step=7.0), T0 + 1200).step == 7.0
    assert ask(state, Question("c_total", 1000.0, step=12.0), T0 + 1200).step == 20.0
    old = ask(state, Question("c_total", 100.0, end=T0 + 300), T0 + 1200)
    assert (old.step, {point.value for point in old.points}) == (10.0, {10.0})


def test_the_step_under_way_of_a_counter_is_not_shown():
    """It would look like a dip; a gauge's is as good as any."""
    state = make_state()
    feed_statsd(state, "c:5|c\ng:5|g", T0 + 2.5)
    assert points(state, T0 + 2.9, name="c", seconds=2.0) == [None, None]
    assert points(state, T0 + 2.9, name="g", seconds=2.0) == [None, 5.0]
    assert points(state, T0 + 3.1, name="c", seconds=2.0) == [None, 5.0]


@pytest.mark.parametrize("figure", ["value", "rate", "p99"])
def test_the_end_of_a_process_that_nobody_heard_is_never_complete(figure):
    """In the step after its latest snapshot, and in what is said of the total; before and afterwards steps are what they are."""
    state = make_state()
    lost, there = Registry(state, "web-1", 1), Registry(state, "web-1", 2)
    counters = [each.metrics.histogram("h") for each in (lost, there)]
    for second in range(60):
        for registry, counter in zip((lost, there), counters, strict=True):
            counter.observe(1.0)
            if registry is there or second <= 25:
                registry.turn(T0 + second)
        if second == 26:
            state.feed(SessionClosed(lost.by), T0 + second, float(second))
    answer = ask(state, Question("h", 50.0, step=10.0, figure=figure), T0 + 60)
    told = {point.t - T0: point.completeness for point in answer.points}
    assert (told[10.0], told[20.0], told[40.0]) == (1.0, None, 1.0)
    assert answer.incomplete == ["tail_unknown"]


def test_a_question_that_would_merge_too_much_is_refused(monkeypatch):
    """The work of one question is bounded, and the error says what to do."""
    monkeypatch.setattr(series, "MAX_BUCKETS_MERGED", 100)
    state = make_state()
    registry = Registry(state)
    for power in range(300):
        registry.metrics.histogram("h").observe(1.1**power)
    registry.turn(T0)
    with pytest.raises(QuestionError, match="at most 100 are merged") as raised:
        ask(state, Question("h", 60.0, figure="p50"), T0 + 15)
    assert raised.value.code == "too_much_work"


def test_quantiles_are_merged_without_the_lock(monkeypatch):
    """Whoever asks holds it for references only: receiving goes on meanwhile."""
    state = make_state()
    registry = Registry(state)
    registry.metrics.histogram("h").observe(1.0)
    registry.turn(T0)
    held = []
    merge = Buckets.merge

    def watched(self, other):
        held.append(state.lock.locked())
        return merge(self, other)

    monkeypatch.setattr(Buckets, "merge", watched)
    answer = ask(state, Question("h", 60.0, figure="p50"), T0 + 15)
    assert [point.value for point in answer.points if point.value is not None] == [pytest.approx(1.0, rel=0.011)]
    assert held
    assert not any(held)


def test_the_loss_of_statsd_is_unknown():
    """Neither 0 lost nor complete."""
    state = make_state()
    feed_statsd(state, "bar.hits:3|c|#route:home")
    [point] = ask(state, Question("bar.hits", 1.0, labels={"route": "home"}), T0 + 1).points
    assert (point.value, point.lost, point.completeness) == (3.0, None, None)
    assert ask(state, Question("bar.hits", 1.0, labels={"route": "cart"}), T0 + 1).points[0].value is None


def test_the_completeness_of_plain_readings_comes_from_the_losses():
    """And is unknown where several workers keep them."""
    state = make_state()
    one = session()
    for sequence, t in ((0, T0), (2, T0 + 2)):
        state.feed(message("metrics.cpu", 0.5, by=one, sequence=sequence, t=t), t, t)
    state.feed(Loss(one, 1, Place.IN_FLIGHT, 1, 1), T0 + 3, 3.0)
    curve = ask(state, Question("cpu", 3.0), T0 + 2.5)
    assert [(point.value, point.lost) for point in curve.points] == [(0.5, 0), (None, 1), (0.5, 0)]
    state.events_missing = True
    assert [point.lost for point in ask(state, Question("cpu", 3.0), T0 + 2.5).points] == [None] * 3
    assert listed(snapshot(state), "", 10, T0 + 3, state.knows_loss).series[0].completeness is None


def test_quantiles_are_of_the_observations_in_each_step():
    """Of all senders together, in steps of ten seconds; null where nothing was observed."""
    state = make_state()
    registry = Registry(state)
    latency = registry.metrics.histogram("latency_seconds", unit="seconds")
    for second in range(30):
        if second < 20:
            latency.observe(1.0 if second < 10 else 100.0)
        registry.turn(T0 + second)
    feed_statsd(state, "t:5|ms\nt:7|ms")
    p50 = ask(state, Question("latency_seconds", 30.0, figure="p50"), T0 + 30)
    assert [point.value and round(point.value) for point in p50.points] == [1, 100, None]
    assert (p50.step, p50.unit) == (10.0, "seconds")
    assert points(state, T0 + 10, name="t", seconds=10.0, figure="p99")[0] == pytest.approx(0.007, rel=0.01)
    feed_statsd(state, "c:1|c")
    with pytest.raises(QuestionError, match="is for histograms"):
        points(state, T0 + 10, name="c", seconds=10.0, figure="p99")


def test_what_is_too_much_is_refused_with_the_way_out():
    """Points and series that one answer may have."""
    state = make_state()
    feed_statsd(state, "\n".join(f"m:1|g|#n:{number}" for number in range(MAX_MERGED + 1)))
    with pytest.raises(QuestionError, match="add sender= or label="):
        points(state, T0, name="m", seconds=10.0)
    with pytest.raises(QuestionError, match="use a longer step"):
        points(state, T0 + 1, name="none", seconds=21_600.0, step=10.0)


def test_a_name_that_nobody_sent_has_null_points():
    """An empty chart, and no error: it may come."""
    assert points(make_state(), T0 + 1, name="unheard_of", seconds=3.0) == [None, None, None]


def test_two_kinds_of_one_name_answer_with_the_later():
    """A counter that became a gauge."""
    state = make_state()
    feed_statsd(state, "m:1|c")
    feed_statsd(state, "m:7|g", T0 + 1)
    assert ask(state, Question("m", 3.0), T0 + 1.5).kind == "gauge"
