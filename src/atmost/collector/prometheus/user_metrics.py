"""The senders' own series as Prometheus families: `bar.hits` of StatsD is `bar_hits_total`, `bar.temperature` `bar_temperature`.

If two series would have the same name and labels, the first is shown and the others count as collisions, because a repeated
sample would make the whole scrape invalid.

All series of a histogram have the same `le` bounds from the first scrape on, whatever was observed: those chosen by
`Metrics.histogram(buckets=…)`, or the defaults for the last word of the name (`atmost.metrics.default_bounds`).
Values of several processes are combined by the rule of `atmost.metrics.query`, as in the API and on the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from threading import Lock
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics.exposition import UNDERSCORES

from atmost.collector.api.views import Views
from atmost.collector.prometheus.names import as_shown, label_names, metric_name
from atmost.collector.state.listing import COMPLETENESS_OF
from atmost.collector.state.rejected import Sample
from atmost.collector.state.series import Snapshot, grouped, incomplete, retired_of, snapshot
from atmost.collector.state.statsd import SCALE
from atmost.ingest.rejected import escaped
from atmost.metrics.buckets import Buckets, default_bounds
from atmost.metrics.query import Found, completeness, gauge_value

FRESH_STATSD: Final = 300.0
"""How long the last value of a gauge or set is shown, because StatsD's clients do not repeat it (seconds)."""
_MAX_TOLD: Final = 1024
"""Series left out of which there ever is a sample."""
_NAMES: Final = {
    "counter": ("", "_total", "_created"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
}
"""Suffixes that OpenMetrics reserves for the samples of a family, by kind."""

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class _Sample(NamedTuple):
    """A series ready to be shown."""

    family: str
    kind: str
    help: str
    labels: dict[str, str]
    value: float
    histogram: _Histogram | None = None


@dataclass(frozen=True, slots=True)
class _Histogram:
    """Cumulative counts by bound, with total count and sum."""

    bounds: tuple[float, ...]
    counts: list[int]
    count: int
    sum: float
    may_fall: bool
    """Whether the sum is unfit for a rate: it includes values below 0, or is not finite."""
    scale: int = 1
    """How many counts make one observation."""


class UserMetrics:
    """Makes the families."""

    def __init__(self, views: Views) -> None:
        """Args: views: of the state."""
        self._views = views
        self.collisions = 0
        """Series not shown in the last scrape because another one has their name and labels."""
        self.beyond = 0
        """Series not shown in the last scrape because there were `max_exported` already."""
        self._told: set[int] = set()
        """Hashes of the collisions of which there is a sample."""

    def families(self, taken: set[str], escaping: str = UNDERSCORES) -> Iterator[Family]:
        """Yields every family once.

        Args:
            taken: names of the collector's own families.
            escaping: how the answer escapes names, as the scraper asked for.
        """
        state = self._views.state
        with state.lock:
            seen, now = snapshot(state), self._views.now()
        self.collisions, self.beyond = 0, 0
        shown: dict[str, Family] = {}
        reserved = set(taken)
        labelled: set[tuple[str, frozenset[tuple[str, str]]]] = set()
        for sample in _samples(seen, now, state.lock, escaping):
            name = as_shown(sample.family, escaping)
            key = (name, frozenset(sample.labels.items()))
            if len(labelled) >= state.options.max_exported:
                self.beyond += 1
            elif key in labelled or (family := _family_of(name, sample, shown, reserved)) is None:
                self.collisions += 1
                self._tell(name, sample, shown.get(name), now)
            else:
                labelled.add(key)
                _add(family, sample)
        yield from shown.values()
        yield from self._completeness(seen, now, escaping)

    def _tell(self, name: str, sample: _Sample, family: Family | None, now: float) -> None:
        """Keeps a sample of a series that is not shown, once for each name and sender."""
        sender = sample.labels.get("sender", "")
        about = f"{name} ({sample.kind})"
        if family is None:
            text = f"{about}: its name belongs to another family"
        elif family.type != sample.kind:
            text = f"{about}: its name is that of a {family.type}"
        else:
            text = f"{about}: another series has its name and labels"
        if (key := hash((sender, text))) in self._told or len(self._told) >= _MAX_TOLD:
            return
        self._told.add(key)
        row = Sample(
            t=now,
            listener="export",
            address="/metrics",
            peer=escaped(sender) if sender else "statsd",
            reason="collision",
            sample=escaped(text),
        )
        with self._views.state.lock:
            self._views.state.rejected.append(row)

    def _completeness(self, seen: Snapshot, now: float, escaping: str) -> Iterator[GaugeMetricFamily]:
        """The share of readings that arrived in the last minute, absent where unknown; and why totals may be too small."""
        text = f"Share of the readings of the last {COMPLETENESS_OF:g} s that arrived; absent where that is unknown"
        arrived = GaugeMetricFamily("atmost_series_arrived_ratio", text, labels=("metric", "sender"))
        text = "The same, absent also where a total may be too small: see atmost_series_incomplete"
        share_of = GaugeMetricFamily("atmost_series_completeness", text, labels=("metric", "sender"))
        why = GaugeMetricFamily(
            "atmost_series_incomplete",
            "1 for each reason why a total may be too small",
            labels=("metric", "sender", "reason"),
        )
        pooled: dict[tuple[str, str], list[Found]] = {}
        reasons: dict[tuple[str, str], set[str]] = {}
        for key, lives in grouped(seen).items():
            name, sender, _ = key
            metric = seen.metrics[name]
            if self._views.state.knows_loss(metric.kind):
                family = metric_name(name, metric.kind, escaping=escaping)
                shown = (family + ("_total" if metric.kind == "counter" else ""), sender)
                pooled.setdefault(shown, []).extend(lives)
                reasons.setdefault(shown, set()).update(map(str, incomplete(seen, key, lives, now)))
        for labels, found in list(pooled.items())[: self._views.state.options.max_exported]:
            share = completeness(found, COMPLETENESS_OF, now, 1.0)
            if share is not None:
                arrived.add_metric(labels, share)
                if not reasons[labels]:
                    share_of.add_metric(labels, share)
            for reason in sorted(reasons[labels]):
                why.add_metric((*labels, reason), 1.0)
        yield from (arrived, share_of, why)


def _samples(seen: Snapshot, now: float, lock: Lock, escaping: str) -> Iterator[_Sample]:
    """Every series with a value; histograms are read under the lock, one series at a time."""
    for key, lives in grouped(seen).items():
        name, sender, labels = key
        metric = seen.metrics[name]
        text, kind = metric.help or f"{metric.kind} {name}", metric.kind
        names = label_names((label for label, _ in labels), escaping)
        shown = dict(zip(names, (value for _, value in labels), strict=True))
        shown["sender"] = sender
        family, before = metric_name(name, kind, escaping=escaping), retired_of(seen, key)
        known = [each.last for each in lives if each.last is not None]
        if kind == "histogram":
            parts = [each.series.buckets for each in lives if each.series.buckets is not None]
            with lock:
                told = _histogram(metric.bounds, [*parts, *([before] if isinstance(before, Buckets) else [])])
            yield _Sample(family, kind, text, shown, told.count, told)
        elif kind == "counter" and known:
            total = sum(known) + (0 if isinstance(before, Buckets) else before)
            yield _Sample(family, kind, text, shown, total)
        elif kind != "counter" and (value := gauge_value(metric.mode, lives, now)) is not None:
            yield _Sample(family, "gauge", text, shown, value)
    falling = {series.name for series in seen.theirs if series.falls}
    for series in seen.theirs:
        names = label_names((label for label, _ in series.labels), escaping)
        shown = dict(zip(names, (value for _, value in series.labels), strict=True))
        # A rate would take each fall for a restart, and OpenMetrics has no negative counters.
        kind = "gauge" if series.kind == "counter" and series.name in falling else series.kind
        family = metric_name(series.name, kind, "" if series.mapped else series.unit, escaping)
        text = series.help or f"{series.kind} {series.name} of StatsD"
        if series.kind == "histogram" and series.buckets is not None:
            with lock:
                told = _histogram(
                    default_bounds(f"_{series.unit}" if series.unit else series.name),
                    [series.buckets],
                    series.sum,
                    SCALE,
                )
            yield _Sample(family, "histogram", text, shown, series.value, told)
        elif series.kind == "counter":
            yield _Sample(family, kind, text, shown, series.value)
        elif now - series.updated <= FRESH_STATSD:
            yield _Sample(family, "gauge", text, shown, series.value)


def _histogram(
    bounds: tuple[float, ...], parts: list[Buckets], total: float | None = None, scale: int = 1
) -> _Histogram:
    """The counts up to each bound over several processes, each at its own scale, so that none falls when another's is lowered."""
    counts = [sum(column) for column in zip([0] * len(bounds), *(part.up_to(bounds) for part in parts), strict=True)]
    total = sum(part.sum for part in parts) if total is None else total
    may_fall = any(part.negative for part in parts) or not isfinite(total)
    return _Histogram(bounds, counts, sum(part.count for part in parts), total, may_fall, scale)


def _family_of(name: str, sample: _Sample, shown: dict[str, Family], reserved: set[str]) -> Family | None:
    """The sample's family, created if it is new; None if its name, or that of one of its samples, is taken.

    Args:
        name: as it appears in the answer.
        sample: what to show.
        shown: families by that name.
        reserved: names of samples that are taken.
    """
    family = shown.get(name)
    if family is not None:
        return family if family.type == sample.kind else None
    names = {name.strip('"') + suffix for suffix in _NAMES[sample.kind]}
    if metric_name(sample.family, "").startswith("atmost_") or not names.isdisjoint(reserved):
        return None
    reserved |= names
    text = sample.help.replace("\n", " ")
    if sample.kind == "counter":
        family = CounterMetricFamily(sample.family, text)
    else:
        family = (HistogramMetricFamily if sample.kind == "histogram" else GaugeMetricFamily)(sample.family, text)
    shown[name] = family
    return family


def _add(family: Family, sample: _Sample) -> None:
    if isinstance(family, HistogramMetricFamily):
        told = sample.histogram
        assert told is not None
        counts = [
            *((repr(bound), count) for bound, count in zip(told.bounds, told.counts, strict=True)),
            ("+Inf", told.count),
        ]
        # OpenMetrics wants whole counts, though sampling yields fractions, and a sum only if it cannot fall.
        whole = [(bound, (count + told.scale // 2) // told.scale) for bound, count in counts]
        family._labelnames = tuple(sample.labels)  # noqa: SLF001  each series has labels of its own
        family.add_metric(list(sample.labels.values()), whole, None if told.may_fall else told.sum)
    elif isinstance(family, CounterMetricFamily):
        family.add_sample(f"{family.name}_total", sample.labels, sample.value)
    else:
        family.add_sample(family.name, sample.labels, sample.value)
