"""What may be declared, what may not and why, and the bound on series."""

from pathlib import Path

import pytest

from atmost import AtMostError, MetricError, OptionError, Sender, SubjectError
from atmost.metrics.instruments import MetricDropReason
from atmost.metrics.metrics import Metrics
from tests.metrics.scene import FakeSender, make, snapshot


@pytest.fixture
def metrics():
    """Metrics that send nothing by themselves."""
    return make()[0]


@pytest.mark.parametrize(
    ("name", "unit", "problem"),
    [
        ("", "", "letters"),
        ("1a_total", "", "letters"),
        ("a b_total", "", "letters"),
        ("a-b_total", "", "letters"),
        ("é_total", "", "letters"),
        ("a_total\n", "", "letters"),
        ("a:b_total", "", "recording rules"),
        ("scrape_x_total", "", "Prometheus writes"),
        (7, "", "letters"),
        (None, "", "letters"),
        ("a" * 130 + "_total", "", "128"),
        ("a", "", "must end in _total: a_total"),
        ("_total", "", "must end in _total"),
        ("a_total", "seconds", "_seconds_total"),
        ("a_seconds_total", "sec onds", "a unit must be a word"),
        ("a_seconds_total", 5, "a unit must be a word"),
    ],
)
def test_counter_names_that_cannot_be(metrics, name, unit, problem):
    """The error says which rule, and what would be right."""
    with pytest.raises(MetricError, match=problem) as raised:
        metrics.counter(name, unit=unit)
    assert isinstance(raised.value, AtMostError)
    assert raised.value.name == name


@pytest.mark.parametrize("suffix", ["_total", "_created", "_bucket", "_count", "_sum", "_info"])
def test_suffixes_that_mean_something_else(metrics, suffix):
    """An exporter makes such names itself."""
    for declare in (metrics.gauge, metrics.histogram):
        with pytest.raises(MetricError, match=suffix):
            declare(f"a{suffix}")


@pytest.mark.parametrize(
    "labels",
    ["route", ("1a",), ("a-b",), ("__a",), ("le",), ("quantile",), ("a", "a"), (7,), 7, tuple(f"l{n}" for n in range(17)),
     ("x" * 300,), ("",)],
)  # fmt: skip
def test_labels_that_cannot_be(metrics, labels):
    """Malformed, reserved, double, too many, too long, or one text instead of several."""
    with pytest.raises(MetricError):
        metrics.counter("a_total", "", labels)


def test_names_that_can_be(metrics):
    """Letters, digits and underscores."""
    metrics.counter("a_seconds_total", unit="seconds")
    metrics.gauge("_x", "help")
    metrics.histogram("http_request_seconds", "Time", ("route", "method"), unit="seconds")


def test_help_is_text(metrics):
    """And anything else is refused."""
    with pytest.raises(MetricError, match="help must be a string"):
        metrics.counter("a_total", 5)


def test_declaring_again_in_the_same_way_gives_the_same(metrics):
    """So that modules need not know of each other."""
    assert metrics.counter("a_total") is metrics.counter("a_total", "other help")
    assert metrics.gauge("g", "", ("a",)) is metrics.gauge("g", "", ["a"])


def test_changed_declaration_is_refused_with_both(metrics):
    """Other labels, another kind, another unit."""
    metrics.counter("a_seconds_total", "", ("route",))
    with pytest.raises(MetricError, match=r"\('route',\).*\('host',\)"):
        metrics.counter("a_seconds_total", "", ("host",))
    with pytest.raises(MetricError, match="unit"):
        metrics.counter("a_seconds_total", "", ("route",), unit="seconds")
    metrics.gauge("g")
    with pytest.raises(MetricError, match="before as a gauge"):
        metrics.histogram("g")


def test_labels_by_place_and_by_name_are_the_same_series(metrics):
    """Any value is taken as its text."""
    counter = metrics.counter("a_total", "", ("route", "code"))
    child = counter.labels("/", 200)
    assert child is counter.labels("/", "200")
    assert child is counter.labels(code=200, route="/")
    assert child is not counter.labels("/", 404)
    assert counter.labels(True, 1) is counter.labels("True", "1")
    assert counter.labels([1], {}) is counter.labels("[1]", "{}")
    assert "route" in repr(counter)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (("/",), {}),
        (("/", "a", "b"), {}),
        ((), {}),
        (("/",), {"code": 1}),
        ((), {"route": 1}),
        ((), {"route": 1, "x": 1}),
    ],
)
def test_wrong_labels_are_the_callers_mistake(metrics, values, named):
    """Not exactly the declared ones."""
    with pytest.raises(MetricError, match="declared with labels"):
        metrics.counter("a_total", "", ("route", "code")).labels(*values, **named)


def test_forgotten_labels_say_what_to_do(metrics):
    """Instead of an AttributeError."""
    with pytest.raises(MetricError, match=r"use \.labels\(…\)\.inc"):
        metrics.counter("a_total", "", ("route",)).inc()


def test_label_values_without_text_or_with_too_much_are_counted():
    """`labels` returns an instrument that is not sent."""
    metrics, sender = make()
    counter = metrics.counter("a_total", "", ("x",))

    class Mute:
        def __str__(self):
            raise RuntimeError

    counter.labels(Mute()).inc()
    counter.labels("x" * 1000).inc()
    counter.labels("\ud800").inc()  # no text on the wire: its replacement is
    assert metrics.dropped == {"bad_label": 2}
    [(_, payload)] = snapshot(metrics, sender, 0.0)
    [(_, _, _, _, _, entries)] = payload[10]
    assert entries == [[["?"], 0, 1]]


def test_series_are_bounded_over_all_metrics():
    """Beyond the limit calls count as `series_limit`, the series before it go on."""
    metrics, sender = make(max_series=3)
    counter = metrics.counter("a_total", "", ("x",))
    metrics.gauge("g").set(1)
    for number in range(10):
        counter.labels(number).inc()
    counter.labels(0).inc()
    assert metrics.dropped == {"series_limit": 8}
    sent = snapshot(metrics, sender, 0.0)
    assert sum(len(family[5]) for _, payload in sent for family in payload[10]) == 3
    with pytest.raises(MetricError, match="max_series=3"):
        metrics.gauge("another")


@pytest.mark.parametrize("options", [{"interval": 0}, {"interval": "1"}, {"interval": 1e9}, {"interval": float("nan")},
    {"max_series": 0}, {"max_series": 1.5}])  # fmt: skip
def test_options_outside_their_range(options):
    """Refused before anything is sent."""
    with pytest.raises(OptionError):
        Metrics(FakeSender(), **options)


@pytest.mark.parametrize("sender", [7, Sender, b"udp://127.0.0.1:7140"])
def test_what_is_not_a_sender(sender):
    """It is said at once, not by a thread that fails to send."""
    with pytest.raises(OptionError, match="expected a Sender"):
        Metrics(sender)


@pytest.mark.parametrize("name", ["up", "ALERTS", "scrape_duration_seconds"])
def test_names_that_prometheus_writes_itself(metrics, name):
    """A gauge of that name would be read by its alerts."""
    with pytest.raises(MetricError, match="Prometheus writes a series of this name itself"):
        metrics.gauge(name)


@pytest.mark.parametrize(
    "buckets", [(), (1, 1), (2, 1), (float("nan"),), (float("inf"),), "abc", 5, ("x",), range(33), (1, None)]
)
def test_buckets_that_cannot_be(metrics, buckets):
    """Not ascending, not finite, not numbers, or too many."""
    with pytest.raises(MetricError, match="buckets"):
        metrics.histogram("h", buckets=buckets)


def test_buckets_are_part_of_a_declaration(metrics):
    """Infinity is always there, and may be named as Prometheus' clients allow."""
    one = metrics.histogram("h", buckets=(0.1, 1, float("inf")))
    assert metrics.histogram("h", buckets=[0.1, 1.0]) is one
    with pytest.raises(MetricError, match=r"buckets \(0\.1, 1\.0\).*buckets \(\)"):
        metrics.histogram("h")


@pytest.mark.parametrize("mode", ["mean", "", None, 5, "LATEST"])
def test_modes_that_do_not_exist(metrics, mode):
    """The error names those that do."""
    with pytest.raises(MetricError, match="latest, each, sum, min, max"):
        metrics.gauge("g", mode=mode)


def test_mode_each_has_a_label_of_its_own(metrics):
    """`process` cannot be declared beside it; without the mode it can."""
    metrics.gauge("a", "", ("process",))
    metrics.gauge("c", "", ("x",), mode="each")
    with pytest.raises(MetricError, match="mode='each'"):
        metrics.gauge("b", "", ("process",), mode="each")


def test_subject_that_cannot_be():
    """Wildcards and white space."""
    with pytest.raises(SubjectError):
        Metrics(FakeSender(), subject="metrics.*")


@pytest.mark.parametrize("callback", [7, "x"])
def test_callback_that_cannot_be_called(metrics, callback):
    """Nor one for a metric with labels."""
    with pytest.raises(MetricError, match="cannot be called"):
        metrics.gauge("g", callback=callback)
    with pytest.raises(MetricError, match="without labels"):
        metrics.gauge("h", "", ("a",), callback=lambda: 1)


def test_every_reason_is_documented():
    """Where a user looks for what a count means."""
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [reason for reason in MetricDropReason if f"`{reason}`" not in page] == []
