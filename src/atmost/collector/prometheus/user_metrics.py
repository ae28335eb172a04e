"""The senders' own series as Prometheus families: `bar.hits` of StatsD is `bar_hits_total`, `bar.temperature` `bar_temperature`.

A name or set of labels that two series would share is given to the first, and the others are counted as collisions: one
sample twice would make the whole scrape invalid. Histograms have a bucket at every 35th boundary of ours, a factor of 2.01
apart, where the counts are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from threading import Lock
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from atmost.collector.api.views import Views
from atmost.collector.prometheus.names import label_names, metric_name
from atmost.collector.state.listing import COMPLETENESS_OF
from atmost.collector.state.series import Snapshot, grouped, retired_of, snapshot
from atmost.collector.state.statsd import SCALE
from atmost.metrics.buckets import GAMMA, Buckets
from atmost.metrics.query import Found, completeness

FRESH: Final = {"gauge": 60.0, "reading": 60.0}
"""How long a last value of our senders is shown, seconds: they repeat it every ten."""
FRESH_STATSD: Final = 300.0
"""The same of StatsD, whose clients do not."""
_EVERY: Final = 35
_MOST_BOUNDS: Final = 40
_NAMES: Final = {
    "counter": ("", "_total", "_created"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
}
"""What OpenMetrics keeps for the samples of a family, by its kind."""

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class _Sample(NamedTuple):
    """A series ready to be shown."""

    family: str
    kind: str
    help: str
    labels: dict[str, str]
    value: float
    buckets: Buckets | None = None
    sum: float = 0.0
    scale: int = 1


class UserMetrics:
    """Makes the families."""

    def __init__(self, views: Views) -> None:
        """Args: views: of the state."""
        self._views = views
        self.collisions = 0
        """Series of the last scrape that are not shown, for another one has their name and labels."""
        self.beyond = 0
        """Series of the last scrape that are not shown, for there were `max_exported` already."""

    def families(self, taken: set[str]) -> Iterator[Family]:
        """Yields every family once.

        Args:
            taken: names of families that are the collector's own.
        """
        state = self._views.state
        with state.lock:
            seen, now = snapshot(state), self._views.now()
        self.collisions, self.beyond = 0, 0
        shown: dict[str, Family] = {}
        reserved = set(taken)
        labelled: set[tuple[str, frozenset[tuple[str, str]]]] = set()
        for sample in _samples(seen, now, state.lock):
            key = (sample.family, frozenset(sample.labels.items()))
            if len(labelled) >= state.options.max_exported:
                self.beyond += 1
            elif key in labelled or (family := _family_of(sample, shown, reserved)) is None:
                self.collisions += 1
            else:
                labelled.add(key)
                _add(family, sample)
        yield from shown.values()
        yield self._completeness(seen, now)

    def _completeness(self, seen: Snapshot, now: float) -> GaugeMetricFamily:
        """How much of what was sent arrived in the last minute; absent where nobody can know."""
        text = f"Share of the readings of the last {COMPLETENESS_OF:g} s that arrived; absent where that is unknown"
        family = GaugeMetricFamily("atmost_series_completeness", text, labels=("metric", "sender"))
        pooled: dict[tuple[str, str], list[Found]] = {}
        for (name, sender, _), lives in grouped(seen).items():
            metric = seen.metrics[name]
            if self._views.state.knows_loss(metric.kind):
                shown = metric_name(name, metric.kind) + ("_total" if metric.kind == "counter" else "")
                pooled.setdefault((shown, sender), []).extend(lives)
        for labels, found in list(pooled.items())[: self._views.state.options.max_exported]:
            share = completeness(found, COMPLETENESS_OF, now, 1.0)
            if share is not None:
                family.add_metric(labels, share)
        return family


def _samples(seen: Snapshot, now: float, lock: Lock) -> Iterator[_Sample]:
    """Every series that has something to show; copies what a histogram holds, each under the lock for itself."""
    for (name, sender, labels), lives in grouped(seen).items():
        metric = seen.metrics[name]
        latest = max(lives, key=lambda each: each.series.updated)
        text, kind = metric.help or f"{metric.kind} {name}", metric.kind
        shown = dict(zip(label_names(label for label, _ in labels), (value for _, value in labels), strict=True))
        shown["sender"] = sender
        family, before = metric_name(name, kind), retired_of(seen, (name, sender, labels))
        if kind == "histogram":
            pooled = Buckets()
            with lock:
                if isinstance(before, Buckets):
                    pooled.merge(before)
                for each in lives:
                    if each.series.buckets is not None:
                        pooled.merge(each.series.buckets)
            yield _Sample(family, kind, text, shown, pooled.count, pooled, pooled.sum)
            continue
        known = [each.last for each in lives if each.last is not None]
        if kind == "counter" and known:
            total = sum(known) + (0 if isinstance(before, Buckets) else before)
            yield _Sample(family, kind, text, shown, total)
        elif kind != "counter" and latest.last is not None and now - latest.series.updated <= FRESH[kind]:
            yield _Sample(family, "gauge", text, shown, latest.last)
    falling = {series.name for series in seen.theirs if series.falls}
    for series in seen.theirs:
        names = label_names(label for label, _ in series.labels)
        shown = dict(zip(names, (value for _, value in series.labels), strict=True))
        # Rates would take each step down for a new beginning, and OpenMetrics has no counter below 0.
        kind = "gauge" if series.kind == "counter" and series.name in falling else series.kind
        family, text = metric_name(series.name, kind, series.unit), f"{series.kind} {series.name} of StatsD"
        if series.kind == "histogram" and series.buckets is not None:
            with lock:
                copy = Buckets().merge(series.buckets)
            yield _Sample(family, "histogram", text, shown, series.value, copy, series.sum, SCALE)
        elif series.kind == "counter":
            yield _Sample(family, kind, text, shown, series.value)
        elif now - series.updated <= FRESH_STATSD:
            yield _Sample(family, "gauge", text, shown, series.value)


def _family_of(sample: _Sample, shown: dict[str, Family], reserved: set[str]) -> Family | None:
    """The sample's family, made and shown where it is new; None where its name, or one of its samples', is another's."""
    family = shown.get(sample.family)
    if family is not None:
        return family if family.type == sample.kind else None
    names = {sample.family + suffix for suffix in _NAMES[sample.kind]}
    if sample.family.startswith("atmost_") or not names.isdisjoint(reserved):
        return None
    reserved |= names
    text = sample.help.replace("\n", " ")
    if sample.kind == "counter":
        family = CounterMetricFamily(sample.family, text)
    else:
        family = (HistogramMetricFamily if sample.kind == "histogram" else GaugeMetricFamily)(sample.family, text)
    shown[sample.family] = family
    return family


def _add(family: Family, sample: _Sample) -> None:
    if isinstance(family, HistogramMetricFamily):
        assert sample.buckets is not None
        buckets, scale = sample.buckets, sample.scale
        counts = [*((repr(bound), count) for bound, count in boundaries(buckets)), ("+Inf", buckets.count)]
        # OpenMetrics has whole numbers here, where a sampling rate makes others, and a sum only where it cannot fall.
        whole = [(bound, (count + scale // 2) // scale) for bound, count in counts]
        may_fall = buckets.negative or not isfinite(sample.sum)
        family._labelnames = tuple(sample.labels)  # noqa: SLF001  each series has labels of its own
        family.add_metric(list(sample.labels.values()), whole, None if may_fall else sample.sum)
    elif isinstance(family, CounterMetricFamily):
        family.add_sample(f"{family.name}_total", sample.labels, sample.value)
    else:
        family.add_sample(family.name, sample.labels, sample.value)


def boundaries(buckets: Buckets) -> list[tuple[float, int]]:
    """Upper bounds with the observations up to each, from the least; exact, for each is a boundary of our own buckets."""
    below = buckets.zero + sum(buckets.negative.values())
    first = 0.0 if buckets.threshold is None else _power(buckets.threshold)
    bounds = [(first, below)] if below or not buckets.positive else []
    if not buckets.positive:
        return bounds
    ordered = sorted(buckets.positive)
    top = -(-ordered[-1] // _EVERY)
    least = max(-(-ordered[0] // _EVERY), top - _MOST_BOUNDS)
    place = 0
    for step in range(least, top + 1):
        while place < len(ordered) and ordered[place] <= step * _EVERY:
            below += buckets.positive[ordered[place]]
            place += 1
        if (bound := _power(step * _EVERY)) > first:
            bounds.append((bound, below))
    return bounds


def _power(bucket: int) -> float:
    """The upper bound of a bucket."""
    try:
        return float(GAMMA**bucket)
    except OverflowError:
        return float("1.7e308")
