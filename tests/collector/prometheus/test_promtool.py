"""What Prometheus makes of our histograms, by promtool: quantiles over senders, late values, restarts of processes and of the collector."""

import bisect
import math
import random
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from atmost.collector.prometheus.exporter import Exporter
from atmost.metrics.buckets import default_bounds
from tests.collector.scene import T0, Asked, feed_statsd
from tests.collector.state.test_series import Registry

pytestmark = pytest.mark.needs("promtool")

EVERY = 15
"""Seconds between two scrapes."""


class Prometheus:
    """Scrapes a collector, and lets promtool answer questions about what it saw."""

    def __init__(self, folder):
        self.folder, self.scrapes = folder, 0
        self.series = {}

    def scrape(self, asked):
        """Keeps every sample of senders' series."""
        asked.exporter = asked.app._exporter = Exporter(asked.views)
        for family in text_string_to_metric_families(asked.get("/metrics").text):
            for sample in family.samples:
                if sample.name.startswith("x_"):
                    labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                    self.series.setdefault(f"{sample.name}{{{labels}}}", {})[self.scrapes] = sample.value
        self.scrapes += 1

    def holds(self, *expressions):
        """Asks at the last scrape whether each of the expressions is true."""
        tests = "".join(
            f"      - expr: '({expression}) * 1'\n        eval_time: {(self.scrapes - 1) * EVERY}s\n"
            "        exp_samples: [{labels: '{}', value: 1}]\n"
            for expression in expressions
        )
        series = "".join(
            f"      - series: '{name}'\n        values: '"
            + " ".join(f"{values[at]:g}" if at in values else "_" for at in range(self.scrapes))
            + "'\n"
            for name, values in self.series.items()
        )
        path = self.folder / "x.test.yml"
        path.write_text(
            f"evaluation_interval: {EVERY}s\ntests:\n  - interval: {EVERY}s\n    input_series:\n{series}"
            f"    promql_expr_test:\n{tests}",
            encoding="utf-8",
        )
        done = subprocess.run(
            ["promtool", "test", "rules", path], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def quantile(share, window="5m"):
    """The panel that everybody has."""
    return f"histogram_quantile({share}, sum by (le) (rate(x_seconds_bucket[{window}])))"


def around(values, share):
    """The bounds of the bucket that the exact quantile lies in: where Prometheus' answer must lie."""
    exact = sorted(values)[math.floor(share * (len(values) - 1))]
    bounds = (0.0, *default_bounds("x_seconds"))
    place = bisect.bisect_left(bounds, exact)
    return bounds[place - 1], bounds[place]


def between(expression, bounds):
    """That the answer lies within these."""
    return f"({expression} >= bool {bounds[0]!r}) * ({expression} <= bool {bounds[1]!r})"


@pytest.fixture
def prometheus(tmp_path):
    """One that has seen nothing."""
    return Prometheus(tmp_path)


def drive(asked, prometheus, senders, observe, scrapes, second=0):
    """Runs for some scrapes: `observe(sender, second)` says what each sender observes; returns all of the last five minutes."""
    seen = []
    for end in range(second + EVERY, second + (scrapes + 1) * EVERY, EVERY):
        for now in range(end - EVERY, end):
            for number, (registry, histogram) in enumerate(senders):
                values = observe(number, now)
                seen += [(now, value) for value in values]
                for value in values:
                    histogram.observe(value)
                registry.turn(T0 + now)
        asked.t = T0 + end - 1
        asked.state.tick(asked.t, float(end))
        prometheus.scrape(asked)
    return [value for now, value in seen if now > second + scrapes * EVERY - 300]


def sender(asked, name, number, **options):
    """A process with a histogram."""
    registry = Registry(asked.state, name, number)
    return registry, registry.metrics.histogram("x_seconds", "Time", unit="seconds", **options)


def test_a_quantile_over_senders_of_different_ranges(prometheus):
    """One has values that the other never sees: with a bucket only where somebody has values the answer was 66.7 s for 0.6 s."""
    asked, chance = Asked(), random.Random(5)
    senders = [sender(asked, "fast", 1), sender(asked, "slow", 2)]

    def observe(number, now):
        return [chance.uniform(0.001, 0.02)] if number == 0 else [chance.uniform(0.4, 0.9)] * (1 + now % 2)

    values = drive(asked, prometheus, senders, observe, 24)
    prometheus.holds(*(between(quantile(share), around(values, share)) for share in (0.2, 0.8, 0.95)))


def test_values_that_come_late_are_an_increase(prometheus):
    """A bucket that nobody fell into is there as 0, so that the first value in it is seen by `rate()`."""
    asked = Asked()
    senders = [sender(asked, "a", 1)]
    drive(asked, prometheus, senders, lambda number, now: [0.003], 21)
    drive(asked, prometheus, senders, lambda number, now: [0.003, 40.0] if now % 3 == 0 else [0.003], 4, 21 * EVERY)
    slow = 'increase(x_seconds_count[1m]) - ignoring(le) increase(x_seconds_bucket{le="25.0"}[1m])'
    prometheus.holds(
        between(f"sum({slow})", (18.0, 22.0)),
        between(quantile(0.99, "1m"), (25.0, 50.0)),
        between(quantile(0.5), (0.0025, 0.005)),
    )


def test_one_value_over_and_over(prometheus):
    """All of 10 ms: the answer is at most 10 ms, and above the bound before it."""
    asked = Asked()
    drive(asked, prometheus, [sender(asked, "a", 1)], lambda number, now: [0.01], 22)
    prometheus.holds(between(quantile(0.5), (0.005, 0.01)), between(quantile(0.99), (0.005, 0.01)))


def test_restarts_of_processes_and_of_the_collector(prometheus):
    """A new process of a sender is no reset; a new collector is one that Prometheus knows."""
    asked, chance = Asked(), random.Random(6)

    def observe(number, now):
        return [chance.uniform(0.05, 0.4), chance.expovariate(3)]

    first = sender(asked, "a", 1)
    drive(asked, prometheus, [first], observe, 8)
    before = asked
    second = sender(asked, "a", 2)
    drive(asked, prometheus, [second], observe, 4, 8 * EVERY)
    assert all(
        values[at] <= values[at + 1]
        for name, values in prometheus.series.items()
        for at in range(prometheus.scrapes - 1)
        if "x_seconds_bucket" in name
    )
    asked = Asked()
    assert asked is not before
    values = drive(asked, prometheus, [sender(asked, "a", 3)], observe, 24, 12 * EVERY)
    prometheus.holds(*(between(quantile(share), around(values, share)) for share in (0.5, 0.9)))


def test_all_series_of_a_family_have_the_same_bounds_from_the_first_scrape_on(prometheus):
    """Whoever observed what, also nothing; StatsD's timers as well."""
    asked = Asked()
    sender(asked, "silent", 1)[0].turn(T0)
    registry, histogram = sender(asked, "a", 2)
    histogram.observe(1e-9)
    histogram.observe(1e12)
    registry.turn(T0)
    feed_statsd(asked.state, "x:5|ms|#a:b\nx:70000|ms")
    prometheus.scrape(asked)
    bounds = {}
    for name in prometheus.series:
        labels = dict(part.split("=") for part in name[:-1].partition("{")[2].split(",") if part)
        if name.startswith("x_seconds_bucket"):
            who = tuple(sorted(item for item in labels.items() if item[0] != "le"))
            bounds.setdefault(who, []).append(labels["le"].strip('"'))
    assert len(bounds) >= 2
    expected = [*map(str, default_bounds("x_seconds")), "+Inf"]
    assert {tuple(told) for told in bounds.values()} == {tuple(expected)}


def test_chosen_bounds(prometheus):
    """`buckets=` decides, for every sender of the name, and counts are exact where values are at the bounds."""
    asked = Asked()
    senders = [sender(asked, name, number, buckets=(0.25, 0.5, 1)) for number, name in enumerate("ab", 1)]
    for registry, histogram in senders:
        for value in (0.1, 0.25, 0.3, 0.5, 0.75, 2.0):
            histogram.observe(value)
        registry.turn(T0)
    prometheus.scrape(asked)
    counts = {
        name: values[0] for name, values in prometheus.series.items() if 'sender="a"' in name and "_bucket" in name
    }
    assert {name.partition('le="')[2].partition('"')[0]: count for name, count in counts.items()} == {
        "0.25": 2.0, "0.5": 4.0, "1.0": 5.0, "+Inf": 6.0,
    }  # fmt: skip
