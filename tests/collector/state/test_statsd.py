"""What StatsD's lines add up to, against sums made by hand; every bound counted when it is hit."""

import math
import random

import pytest

from atmost.collector.state.statsd import SCALE, Spelling, StatsdState
from atmost.ingest import statsd
from tests.collector.scene import T0


def make(**limits):
    """An empty state."""
    options = {
        "max_series": 100,
        "max_histograms": 10,
        "max_members": 5,
        "seconds": True,
        "fine": (1.0, 600),
        "coarse": (10.0, 2160),
    }
    return StatsdState(**options | limits)


def feed(state, text, now=T0):
    """Takes the lines of a datagram; returns the series that there are by then."""
    for metric in statsd.parse(text.encode()).metrics:
        state.feed(metric, now)
    return {(each.name, each.kind): each for each in state.series.values()}


def test_counters_are_weighted_by_their_rate():
    """Increments divided by the rate, in the total and in the slot."""
    series = feed(make(), "a:1|c\na:2|c|@0.5\na:3|c")["a", "counter"]
    assert series.value == 8.0
    assert series.ring.window(T0, T0 + 1) == (3, 0, 8.0)
    assert series.ring.for_width(10.0).window(T0, T0 + 1) == (3, 0, 8.0)


def test_gauges_take_values_and_changes():
    """A signed value is a change; one that is not there yet counts from 0."""
    state = make()
    feed(state, "g:+4|g")
    feed(state, "g:-1|g")
    assert feed(state, "g:-1|g")["g", "gauge"].value == 2.0
    assert feed(state, "g:30|g")["g", "gauge"].value == 30.0


def test_distributions_have_quantiles_within_one_percent():
    """Of timers, histograms and distributions alike; a sampled value stands for 1/rate."""
    generator = random.Random(1)
    values = sorted(generator.lognormvariate(3, 1) for _ in range(1001))
    for kind in ("ms", "h", "d"):
        state = make()
        for value in values:
            feed(state, f"t:{value:.6f}|{kind}|@0.5")
        series = state.series["t", "histogram", ()]
        assert series.value == pytest.approx(2002)
        unit = 1e-3 if kind == "ms" else 1.0
        assert series.sum == pytest.approx(2 * sum(values) * unit, rel=1e-6)
        assert series.buckets.count == 2002 * SCALE
        for share in (0.5, 0.9, 0.99):
            assert series.buckets.quantile(share) == pytest.approx(values[round(share * 1000)] * unit, rel=0.011)
        assert series.recent.between(T0, T0 + 10).count == 2002 * SCALE
        assert series.unit == ("seconds" if kind == "ms" else "")


def test_timers_may_stay_in_milliseconds():
    """As they are sent, where the operator wants that."""
    series = feed(make(seconds=False), "t:250|ms")["t", "histogram"]
    assert (series.sum, series.unit) == (250.0, "milliseconds")


def test_a_timer_joins_what_has_no_unit_as_it_is():
    """A name that is a histogram first is not in seconds, whatever is written to it later."""
    series = feed(make(), "t:250|h\nt:250|ms")["t", "histogram"]
    assert (series.sum, series.unit) == (500.0, "")


def test_values_of_every_sign_are_observations():
    """0 and below too."""
    series = feed(make(), "t:0:-3.5:3.5|d")["t", "histogram"]
    assert series.buckets.quantile(0.0) == pytest.approx(-3.5, rel=0.01)
    assert series.buckets.quantile(0.5) == 0.0


def test_an_impossible_weight_spoils_nothing():
    """A rate next to nothing stands for more than any counter holds: it is cut, and packing still works."""
    state = make()
    for number in range(3):
        feed(state, "t:1|ms|@0.000000000000000000000001", T0 + 10 * number)
    assert state.series["t", "histogram", ()].recent.between(0, 2 * T0).count > 0


def test_sets_count_different_values_of_ten_seconds():
    """Each once; more than the bound are counted as such; the next ten seconds begin anew."""
    state = make()
    for member in ("a", "b", "a", "c"):
        feed(state, f"s:{member}|s")
    series = state.series["s", "set", ()]
    assert series.value == 3.0
    for member in range(10):
        feed(state, f"s:{member}|s")
    assert (series.value, state.counts["set_limit"], state.largest_set) == (5.0, 8, 5)
    feed(state, "s:a|s", T0 + 10)
    assert series.value == 1.0
    assert series.ring.for_width(10.0).rows(T0, T0 + 20) == [(T0, 1, 0, 5.0, T0), (T0 + 10, 1, 0, 1.0, T0 + 10)]


def test_tags_are_labels_in_any_order():
    """The same tags are the same series."""
    state = make()
    feed(state, "a:1|c|#x:1,y:2\na:1|c|#y:2,x:1\na:1|c|#y:2")
    assert sorted(each.value for each in state.series.values()) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("limits", "lines", "reason", "kept"),
    [
        ({"max_series": 3}, "c", "series_limit", 3),
        ({"max_histograms": 2}, "ms", "histogram_limit", 2),
    ],
)
def test_what_a_limit_refuses_is_counted(limits, lines, reason, kept):
    """The series that are there go on."""
    state = make(**limits)
    for _ in range(2):
        for number in range(5):
            feed(state, f"m{number}:1|{lines}")
    assert len(state.series) == kept
    assert state.counts[reason] == 2 * (5 - kept)


def test_tags_of_any_length_are_refused():
    """A kilobyte is more than a series' name needs."""
    state = make()
    feed(state, f"a:1|c|#x:{'y' * 2000}")
    assert (len(state.series), state.counts["tags_limit"]) == (0, 1)


def test_a_time_of_the_client_is_counted_and_not_used():
    """The books are kept by one clock."""
    state = make()
    series = feed(state, "a:1|c|T1600000000")["a", "counter"]
    assert (state.counts["client_time"], series.updated) == (1, T0)


def test_a_rate_next_to_nothing_is_bounded():
    """One over it is the greatest number there is, almost: a thousand times that is none any more."""
    series = feed(make(), "t:1|ms|@1e-307")["t", "histogram"]
    assert series.buckets.count == 1 << 50


def test_a_long_member_of_a_set_counts_once():
    """Known by all of it: one that differs only at its end is another."""
    state = make()
    feed(state, f"s:{'u' * 300}|s")
    series = feed(state, f"s:{'u' * 300}|s")["s", "set"]
    assert series.value == 1.0
    assert series.ring.for_width(10.0).window(T0, T0 + 1)[2] == 1.0
    feed(state, f"s:{'u' * 300}v|s")
    assert series.value == 2.0


def test_members_of_all_sets_are_bounded_and_let_go():
    """Together as well as each, whatever their length; when their ten seconds are over they take no room."""
    state = make(max_series=1000, max_members=5)
    for number in range(200):
        feed(state, "\n".join(f"s{number}:{member}|s" for member in range(5)))
    assert sum(len(each.members) for each in state.series.values()) == 500
    assert state.counts["set_limit"] == 500
    state.tick(T0 + 9.9)
    assert state.largest_set == 5
    state.tick(T0 + 10)
    assert state.largest_set == 0
    assert sum(len(each.members) for each in state.series.values()) == 0
    assert state.series["s0", "set", ()].value == 5.0
    assert feed(state, "s0:x|s", T0 + 11)["s0", "set"].value == 1.0


def test_series_that_nobody_writes_any_more_make_room():
    """Once they have nothing to show: names and tags may change for years. What is written stays, and the limit holds."""
    state = make(max_series=3, max_histograms=1)
    feed(state, "old:1|c\nslow:1|ms\nkept:1|c")
    assert len(feed(state, "new:1|c")) == 3
    assert state.counts["series_limit"] == 1
    feed(state, "kept:1|c", T0 + 21_600)
    found = feed(state, "new:1|c\nquick:1|ms", T0 + 21_601)
    assert set(found) == {("kept", "counter"), ("new", "counter"), ("quick", "histogram")}
    assert (found["kept", "counter"].value, state.histograms) == (2, 1)
    assert state.counts["series_limit"] == 1
    feed(state, "newer:1|c", T0 + 21_611)
    assert (len(state.series), state.counts["series_limit"]) == (3, 2)


BIG = "1e308"


@pytest.mark.parametrize(
    ("lines", "kind", "value"),
    [
        (f"a:{BIG}|c\na:{BIG}|c\na:1|c", "counter", 1e308),
        (f"a:{BIG}|g\na:+{BIG}|g", "gauge", 1e308),
        (f"a:-{BIG}|g\na:-{BIG}|g", "gauge", -1e308),
        (f"a:{BIG}|h\na:{BIG}|h", "histogram", 1.0),
        (f"a:2:{BIG}|h|@0.5\na:3|h", "histogram", 1.0),
        (f"a:{BIG}|h|@0.1\na:3|h", "histogram", 1.0),
    ],
)
def test_no_total_becomes_infinite(lines, kind, value):
    """Each number is finite, but not their sum: it could never come back, so the last one is refused and counted."""
    state = make()
    series = feed(state, lines)["a", kind]
    assert (series.value, math.isfinite(series.sum), state.counts["total_limit"]) == (value, True, 1)


def test_values_near_the_limit_are_taken_after_what_was_gathered():
    """What waits to be booked is part of the total that is looked at."""
    state = make()
    feed(state, f"a:{BIG}|c")
    spelling = Spelling(state.series["a", "counter", ()], 1.0, 1.0)
    state.gather(T0)
    state.open(spelling)
    spelling.append(0.5e308)
    assert feed(state, f"a:{BIG}|c")["a", "counter"].value == 1.5e308
    assert state.counts["total_limit"] == 1
