"""Rules answer ok, firing, or unknown when too much is missing."""

import pytest

from atmost import MetricsReader, OptionError
from atmost.metrics.rules import MetricRule, RuleState
from tests.metrics.scene import deliver, make, snapshot


def told(values, lost=()):
    """A reader of a gauge, a counter and a histogram, one snapshot a second."""
    metrics, sender = make()
    gauge, counter, histogram = metrics.gauge("g"), metrics.counter("a_total"), metrics.histogram("h")
    reader = MetricsReader(now=-1.0)
    metrics._registry._began = 0.0
    for number, value in enumerate(values):
        gauge.set(value)
        counter.inc(value)
        histogram.observe(value)
        sent = snapshot(metrics, sender, float(number))
        if number not in lost:
            deliver(reader, sent, float(number))
    return reader


@pytest.mark.parametrize(
    ("rule", "state", "value"),
    [
        (MetricRule(metric="g", above=9), RuleState.FIRING, 10.0),
        (MetricRule(metric="g", above=10), RuleState.OK, 10.0),
        (MetricRule(metric="g", below=11), RuleState.FIRING, 10.0),
        (MetricRule(metric="g", figure="last", above=9, below=5), RuleState.FIRING, 10.0),
        (MetricRule(metric="a_total", figure="increase", above=99), RuleState.FIRING, 200.0),
        (MetricRule(metric="a_total", figure="rate", window=20, below=10), RuleState.OK, 10.0),
        (MetricRule(metric="h", figure=0.99, above=11), RuleState.OK, pytest.approx(10, rel=0.01)),
        (MetricRule(metric="h", figure=0.5, above=9), RuleState.FIRING, pytest.approx(10, rel=0.01)),
        (MetricRule(metric="unheard_of", above=1), RuleState.UNKNOWN, None),
        (MetricRule(metric="g", above=1, sender="other"), RuleState.UNKNOWN, None),
        (MetricRule(metric="g", above=1, labels={"x": "y"}), RuleState.UNKNOWN, None),
        (MetricRule(metric="a_total", figure="mean", above=1), RuleState.UNKNOWN, None),
    ],
)
def test_states(rule, state, value):
    """With everything received."""
    result = rule.evaluate(told([10] * 20), 19.0)
    assert (result.state, result.value) == (state, value)


@pytest.mark.parametrize(("lost", "state"), [(2, RuleState.FIRING), (3, RuleState.UNKNOWN)])
def test_incomplete_window_is_unknown(lost, state):
    """Below nine tenths nobody is woken."""
    missing = set(range(4, 4 + 5 * lost, 5))
    reader = told([100 + number for number in range(20)], missing)
    result = MetricRule(metric="g", above=50).evaluate(reader, 22.0 - 1e-9)
    assert result.window.lost == lost
    rule = MetricRule(metric="g", above=50, window=40)
    metrics = rule.evaluate(reader, 21.0)
    assert metrics.state is state
    assert (
        MetricRule(metric="g", above=50, window=40, min_completeness=0.5).evaluate(reader, 21.0).state
        is RuleState.FIRING
    )


def test_silence_is_unknown_and_not_what_was_before():
    """The sender fell silent while all was well, or bad."""
    reader = told([10] * 20)
    for bound in (5, 50):
        assert MetricRule(metric="g", above=bound).evaluate(reader, 40.0).state is RuleState.UNKNOWN
        assert MetricRule(metric="g", above=bound).evaluate(reader, 500.0).state is RuleState.UNKNOWN


@pytest.mark.parametrize(
    "options",
    [{}, {"above": 1, "figure": "median"}, {"above": 1, "figure": 1.5}, {"above": 1, "window": 0},
     {"above": 1, "min_completeness": 2}, {"above": 1, "figure": float("nan")},
     {"above": float("nan")}, {"above": 1, "below": "2"}, {"above": 1, "figure": None}, {"above": 1, "window": "60"},
     {"above": 1, "window": float("nan")}, {"above": 1, "min_completeness": None}],
)  # fmt: skip
def test_rules_that_can_never_tell(options):
    """Refused at construction."""
    with pytest.raises(OptionError):
        MetricRule(metric="g", **options)
