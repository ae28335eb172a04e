"""StatsD series: counters, gauges with relative changes, histograms and sets; by name, kind and tags.

The protocol has no sequence numbers, so its loss is unknown, and every answer says so.
Pure; not thread-safe. Series, histograms and members of sets are bounded; values refused by a limit are counted.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from atmost.collector.options import MEMBERS_IN_ALL
from atmost.ingest.statsd import StatsdKind, StatsdMetric
from atmost.metrics.buckets import Buckets
from atmost.metrics.history import RECENT, Recent, Ring

SCALE: Final = 1000
"""Buckets hold thousandths of observations, because a sampled observation stands for 1/rate of them."""
_MOST: Final = 1 << 50
_MAX_TAGS_TEXT: Final = 1024
"""Total length of the tags of a series (characters)."""

_LOOK_EVERY: Final = 10.0
"""Least time between two searches for idle series (seconds)."""
_MILLI: Final = 1e-3
_SECONDS: Final = "seconds"

KINDS: Final = {
    StatsdKind.COUNTER: "counter",
    StatsdKind.GAUGE: "gauge",
    StatsdKind.TIMER: "histogram",
    StatsdKind.HISTOGRAM: "histogram",
    StatsdKind.DISTRIBUTION: "histogram",
    StatsdKind.SET: "set",
}
Tags = tuple[tuple[str, str], ...]
Key = tuple[str, str, Tags]
"""Name, kind and labels of a series."""


class StatsdSeries:
    """One series."""

    __slots__ = (
        "buckets",
        "falls",
        "help",
        "kind",
        "labels",
        "mapped",
        "members",
        "name",
        "period",
        "recent",
        "ring",
        "sender",
        "source",
        "sum",
        "unit",
        "updated",
        "value",
    )

    def __init__(self, name: str, kind: str, labels: Tags, ring: Ring, unit: str) -> None:
        self.name, self.kind, self.labels, self.ring, self.unit = name, kind, labels, ring, unit
        self.sender = ""
        """Empty, because StatsD does not name senders."""
        self.source = "statsd"
        self.value = 0.0
        """A counter's total, a gauge's value, a histogram's number of observations, or a set's present members."""
        self.sum = 0.0
        """Sum of a histogram's values."""
        self.mapped = False
        """Whether the name comes from the operator's rules, and is shown unchanged."""
        self.help = ""
        self.falls = False
        """Whether a counter ever fell."""
        self.updated = 0.0
        self.buckets = Buckets() if kind == "histogram" else None
        self.recent = Recent() if kind == "histogram" else None
        self.members: set[int] = set()
        """Hashes of the members, so that each takes the same memory."""
        self.period = -1
        """The number of the ten-second period that the members belong to."""


class StatsdState:
    """Every series that StatsD's clients wrote."""

    def __init__(
        self,
        *,
        max_series: int,
        max_histograms: int,
        max_members: int,
        seconds: bool,
        fine: tuple[float, int],
        coarse: tuple[float, int],
    ) -> None:
        """Starts empty.

        Args:
            max_series: series kept. Beyond it, series idle for as long as the histories reach back are forgotten; if there
                are none, new series are refused and counted as `series_limit`.
            max_histograms: histograms among them; refusals count as `histogram_limit`.
            max_members: members of one set in ten seconds, and `MEMBERS_IN_ALL` times as many in all sets; refusals count
                as `set_limit`.
            seconds: whether timers, which arrive in milliseconds, are kept in seconds.
            fine, coarse: width in seconds and number of the slots of both histories.
        """
        self._max_series, self._max_histograms, self._max_members = max_series, max_histograms, max_members
        self._timer_unit = _SECONDS if seconds else "milliseconds"
        self._sets: set[StatsdSeries] = set()
        """Sets that have members."""
        self._members = 0
        self._fine, self._coarse = fine, coarse
        self._kept_for = max(width * slots for width, slots in (fine, coarse))
        self._looked = float("-inf")
        self.series: dict[Key, StatsdSeries] = {}
        self.histograms = 0
        self.counts: Counter[str] = Counter()

    @property
    def largest_set(self) -> int:
        """Members of the largest set."""
        return max((len(each.members) for each in self._sets), default=0)

    def tick(self, now: float) -> None:
        """Drops the members of sets whose ten seconds are over; the counts stay."""
        period = int(now // RECENT)
        for series in [each for each in self._sets if each.period < period]:
            self._empty(series)

    def feed(self, metric: StatsdMetric, now: float) -> bool:
        """Takes a measurement; returns whether it was kept.

        Args:
            metric: as parsed; the client's own timestamp is not used, because all series follow one clock.
            now: seconds.
        """
        series = self._find(metric, now)
        if series is None:
            return False
        if metric.timestamp is not None:
            self.counts["client_time"] += 1
        series.updated = now
        if series.kind == "counter":
            total = metric.total
            series.value += total
            series.ring.receive(now, total)
            if total < 0:
                series.falls = True
        elif series.kind == "gauge":
            for value in metric.values:
                series.value = series.value + float(value) if metric.relative else float(value)
            series.ring.receive(now, series.value)
        elif series.kind == "histogram":
            self._observe(series, metric, now)
        else:
            self._join(series, metric, now)
        return True

    def _observe(self, series: StatsdSeries, metric: StatsdMetric, now: float) -> None:
        assert series.buckets is not None
        assert series.recent is not None
        weight = metric.weight
        scaled = round(min(weight * SCALE, _MOST))  # the smallest rates make it infinite
        live = series.recent.at(now)
        scale = _MILLI if metric.kind is StatsdKind.TIMER and series.unit == _SECONDS else 1.0
        for text in metric.values:
            value = float(text) * scale
            series.value += weight
            series.sum += value * weight
            for into in (series.buckets, live):
                _count(into, value, scaled)
        series.ring.receive(now, weight * len(metric.values))

    def _join(self, series: StatsdSeries, metric: StatsdMetric, now: float) -> None:
        period = int(now // RECENT)
        if period != series.period:
            series.period = period
            self._empty(series)
            series.ring.receive(period * RECENT, 0.0)
        for value in metric.values:
            member = hash(value)
            if member in series.members:
                continue
            if len(series.members) >= self._max_members or self._members >= self._max_members * MEMBERS_IN_ALL:
                self.counts["set_limit"] += 1
                continue
            series.members.add(member)
            self._sets.add(series)
            self._members += 1
            series.ring.add(period * RECENT, 1.0)
        series.value = float(len(series.members))

    def _empty(self, series: StatsdSeries) -> None:
        self._members -= len(series.members)
        series.members = set()  # not `clear`, which may keep the memory
        self._sets.discard(series)

    def _find(self, metric: StatsdMetric, now: float) -> StatsdSeries | None:
        kind = KINDS[metric.kind]
        labels = metric.tags if len(metric.tags) < 2 else tuple(sorted(set(metric.tags)))
        key = (metric.name, kind, labels)
        found = self.series.get(key)
        if found is not None:
            return found
        if len(self.series) >= self._max_series or (kind == "histogram" and self.histograms >= self._max_histograms):
            self._forget_idle(now)
        if len(self.series) >= self._max_series:
            self.counts["series_limit"] += 1
            return None
        if sum(len(name) + len(value) for name, value in labels) > _MAX_TAGS_TEXT:
            self.counts["tags_limit"] += 1
            return None
        if kind == "histogram":
            if self.histograms >= self._max_histograms:
                self.counts["histogram_limit"] += 1
                return None
            self.histograms += 1
        unit = self._timer_unit if metric.kind is StatsdKind.TIMER else ""
        ring = Ring(*self._fine, Ring(*self._coarse))
        found = self.series[key] = StatsdSeries(metric.name, kind, labels, ring, unit)
        found.mapped, found.help = metric.mapped, metric.help
        return found

    def _forget_idle(self, now: float) -> None:
        """Forgets idle series: their histories are empty, so only a total is lost."""
        if now < self._looked + _LOOK_EVERY:
            return
        self._looked = now
        for key in [key for key, each in self.series.items() if now - each.updated > self._kept_for]:
            gone = self.series.pop(key)
            self.histograms -= gone.buckets is not None
            self._empty(gone)


def _count(into: Buckets, value: float, scaled: int) -> None:
    into.count_value(value, scaled)
    into.bound()
