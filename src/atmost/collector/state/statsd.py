"""StatsD series: counters, gauges with relative changes, histograms and sets; by name, kind and tags.

The protocol has no sequence numbers, so its loss is unknown, and every answer says so.
Pure; not thread-safe. Series, histograms and members of sets are bounded; values refused by a limit are counted.

Values of lines whose series is known already are gathered (`Spelling`) and booked together: by the quarter of a second, before the
time enters another slot, and before anything else reads or writes their series. So nobody can tell it from booking each at once, but that
`updated` may be so much later.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from functools import reduce
from math import isfinite
from operator import add
from typing import Final

from atmost.collector.options import MEMBERS_IN_ALL
from atmost.ingest.statsd import StatsdKind, StatsdMetric
from atmost.metrics.buckets import Buckets, count_values
from atmost.metrics.history import RECENT, Recent, Ring

SCALE: Final = 1000
"""Buckets hold thousandths of observations, because a sampled observation stands for 1/rate of them."""
_MOST: Final = 1 << 50
_MAX_TAGS_TEXT: Final = 1024
"""Total length of the tags of a series (bytes)."""

_LOOK_EVERY: Final = 10.0
"""Least time between two searches for idle series (seconds)."""
_GATHERED: Final = 0.25
"""Longest that values wait to be booked while others come (seconds)."""
_GATHERING: Final = 512
"""Most series whose values wait, so that booking them takes some milliseconds."""
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


class StatsdLimit(StrEnum):
    """Why a measurement that could be read was not kept."""

    SERIES = "series_limit"
    HISTOGRAMS = "histogram_limit"
    TAGS = "tags_limit"
    """Its tags are longer than 1,024 bytes in all."""
    TOTAL = "total_limit"
    """A total, a sum or a gauge would become infinite by it, and never come back."""


class StatsdSeries:
    """A name with its labels, and what its lines add up to."""

    __slots__ = (
        "buckets",
        "falls",
        "help",
        "kind",
        "labels",
        "mapped",
        "members",
        "name",
        "open",
        "period",
        "recent",
        "ring",
        "sender",
        "source",
        "spellings",
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
        self.open: Spelling | None = None
        """Where values are gathered that are not booked yet."""
        self.spellings: list[Spelling] = []


class Spelling(list[float]):
    """One way in which a series is written, and the values that came with it, in order, and are not booked yet."""

    __slots__ = ("counts", "rate", "scale", "series")

    def __init__(self, series: StatsdSeries, rate: float, scale: float) -> None:
        """Args: series: whose values they are. rate: of each value. scale: what each is multiplied by."""
        super().__init__()
        self.series, self.rate, self.scale = series, rate, scale
        self.counts = series.kind == "counter"


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
        self._series: dict[Key, StatsdSeries] = {}
        self._gathering: list[Spelling] = []
        self._gathered_at = 0.0
        """The time of the values gathered last."""
        self._book_at = 0.0
        self._until = 0.0
        """End of the slot that the gathered values belong to."""
        self.forgotten = 0
        """Series that made room for others."""
        self.histograms = 0
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        """Series in memory."""
        return len(self._series)

    @property
    def series(self) -> dict[Key, StatsdSeries]:
        """Every series, with all that came."""
        self.book_all()
        return self._series

    @property
    def largest_set(self) -> int:
        """Members of the largest set."""
        return max((len(each.members) for each in self._sets), default=0)

    def tick(self, now: float) -> None:
        """Books what is gathered, and drops the members of sets whose ten seconds are over; the counts stay."""
        self.book_all()
        period = int(now // RECENT)
        for series in [each for each in self._sets if each.period < period]:
            self._empty(series)

    def feed(self, metric: StatsdMetric, now: float) -> StatsdLimit | None:
        """Takes a measurement; returns why it was not kept, or None.

        Args:
            metric: as parsed; the client's own timestamp is not used, because all series follow one clock.
            now: seconds.
        """
        key = _key(metric)
        limit = self._refused(key, metric, now)
        if limit is not None:
            self.counts[limit] += 1
            return limit
        series = self._find(key, metric)
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
        return None

    def find(self, metric: StatsdMetric) -> StatsdSeries | None:
        """The series of a measurement, where there is one."""
        return self._series.get(_key(metric))

    def scale(self, metric: StatsdMetric, series: StatsdSeries) -> float:
        """What each value of a measurement is multiplied by in its series."""
        return _MILLI if metric.kind is StatsdKind.TIMER and series.unit == _SECONDS else 1.0

    def gather(self, now: float) -> None:
        """From now on values are gathered of this time; books those before it where they must not wait any longer."""
        if now != self._gathered_at:
            if self._gathering and not (self._gathered_at <= now < self._until and now < self._book_at):
                self.book_all()
            self._gathered_at = now

    def open(self, spelling: Spelling) -> None:
        """Says that values will be gathered at a spelling that has none; those of another one of its series are booked."""
        other = spelling.series.open
        if other is not None:
            self._book(other)
        spelling.series.open = spelling
        if not self._gathering:
            now, width = self._gathered_at, self._fine[0]
            self._book_at, self._until = now + _GATHERED, (now // width + 1) * width
        elif len(self._gathering) >= _GATHERING:
            self.book_all()
        self._gathering.append(spelling)

    def book_all(self) -> None:
        """Books all that is gathered."""
        gathering, self._gathering = self._gathering, []
        for spelling in gathering:
            if spelling:
                self._book(spelling)

    def _book(self, spelling: Spelling) -> None:
        """Books what is gathered at a spelling: the same as `feed` with each value."""
        series, rate, now = spelling.series, spelling.rate, self._gathered_at
        values = spelling[:]
        spelling.clear()
        series.open, series.updated = None, now
        if series.kind == "counter":
            if rate != 1.0:
                values = [value / rate for value in values]
            series.value = reduce(add, values, series.value)
        elif series.kind == "gauge":
            series.value = values[-1]
        else:
            values = self._observe_all(series, values, rate, spelling.scale)
        series.ring.receive_all(now, values)

    def _observe_all(self, series: StatsdSeries, values: list[float], rate: float, scale: float) -> list[float]:
        """Counts observations; returns what they add to the slot."""
        assert series.buckets is not None
        assert series.recent is not None
        weight = 1 / rate
        scaled = round(min(weight * SCALE, _MOST))
        if scale != 1.0:
            values = [value * scale for value in values]
        weights = [weight] * len(values)
        series.value = reduce(add, weights, series.value)
        series.sum = reduce(add, values if weight == 1.0 else [value * weight for value in values], series.sum)
        live = series.recent.at(self._gathered_at)
        count_values((series.buckets, live), values, scaled)
        return weights

    def _observe(self, series: StatsdSeries, metric: StatsdMetric, now: float) -> None:
        assert series.buckets is not None
        assert series.recent is not None
        weight = metric.weight
        scaled = round(min(weight * SCALE, _MOST))  # the smallest rates make it infinite
        live = series.recent.at(now)
        scale = self.scale(metric, series)
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
            series.ring.increase(period * RECENT, 1.0)
        series.value = float(len(series.members))

    def _empty(self, series: StatsdSeries) -> None:
        self._members -= len(series.members)
        series.members = set()  # not `clear`, which may keep the memory
        self._sets.discard(series)

    def _refused(self, key: Key, metric: StatsdMetric, now: float) -> StatsdLimit | None:
        """The limit that a measurement exceeds; books what is gathered for its series."""
        found = self._series.get(key)
        if found is not None:
            if found.open is not None:
                self._book(found.open)
            return None if _stays_finite(metric, found.value, found.sum) else StatsdLimit.TOTAL
        _, kind, labels = key
        if len(self._series) >= self._max_series or (kind == "histogram" and self.histograms >= self._max_histograms):
            self._forget_idle(now)
        if len(self._series) >= self._max_series:
            return StatsdLimit.SERIES
        if sum(len(name.encode()) + len(value.encode()) for name, value in labels) > _MAX_TAGS_TEXT:
            return StatsdLimit.TAGS
        if kind == "histogram" and self.histograms >= self._max_histograms:
            return StatsdLimit.HISTOGRAMS
        return None if _stays_finite(metric, 0.0, 0.0) else StatsdLimit.TOTAL

    def _find(self, key: Key, metric: StatsdMetric) -> StatsdSeries:
        """The series of a measurement that no limit refuses; it begins where there is none."""
        found = self._series.get(key)
        if found is not None:
            return found
        _, kind, labels = key
        self.histograms += kind == "histogram"
        unit = self._timer_unit if metric.kind is StatsdKind.TIMER else ""
        ring = Ring(*self._fine, Ring(*self._coarse))
        found = self._series[key] = StatsdSeries(metric.name, kind, labels, ring, unit)
        found.mapped, found.help = metric.mapped, metric.help
        return found

    def _forget_idle(self, now: float) -> None:
        """Forgets idle series: their histories are empty, so only a total is lost."""
        if now < self._looked + _LOOK_EVERY:
            return
        self._looked = now
        self.book_all()
        for key in [key for key, each in self._series.items() if now - each.updated > self._kept_for]:
            gone = self._series.pop(key)
            self.forgotten += 1
            self.histograms -= gone.buckets is not None
            self._empty(gone)


def _key(metric: StatsdMetric) -> Key:
    labels = metric.tags if len(metric.tags) < 2 else tuple(sorted(set(metric.tags)))
    return (metric.name, KINDS[metric.kind], labels)


def _stays_finite(metric: StatsdMetric, value: float, total: float) -> bool:
    """Whether a series of this value, and of this sum if it is a histogram, stays finite with a measurement."""
    if metric.kind is StatsdKind.SET:
        return True
    if metric.kind is StatsdKind.COUNTER:
        return isfinite(value + metric.total)
    values = [float(each) for each in metric.values]
    if metric.kind is StatsdKind.GAUGE:
        return not metric.relative or isfinite(reduce(add, values, value))
    weight = metric.weight
    # In the order in which they will be added: of numbers near the limit another order may give infinity.
    return isfinite(value + weight * len(values)) and isfinite(reduce(add, [each * weight for each in values], total))


def _count(into: Buckets, value: float, scaled: int) -> None:
    into.count_value(value, scaled)
    into.bound()
