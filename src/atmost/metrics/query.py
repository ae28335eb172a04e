"""Answers over series of many lives: combined gauges, sums of increases, merged buckets, and how complete all that is.

Theory of operation: one rule for all who ask (the reader, the collector's API and page, `/metrics`).

1. The lives of one *sender name* with the same labels are one series, because a name is what people look at and processes come and go.
2. Counters and histograms of its lives are added, with what lives that are forgotten had counted.
3. Gauges are combined by their mode, over the lives that are *there*: not ended, and heard of within `PRESENT` seconds or three intervals.
   `latest` looks at what has ended too, for as long, because the last word may be that of a process that is gone.
   With `each` every process is a series of its own, told apart by the label `process`.
4. Different series that one question fits are added where they are totals, and averaged where they are values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from atmost.metrics.buckets import Buckets
from atmost.metrics.history import RECENT, Row, Series
from atmost.metrics.life import Life, MetricTail, PlainSession
from atmost.metrics.state import IncompleteReason, Metric
from atmost.metrics.wire import GaugeMode

PRESENT: Final = 60.0
"""How long a gauge's value of a silent process is taken for its value, seconds."""
_INTERVALS: Final = 3.0
PROCESS: Final = "process"
"""The label that tells the processes of a gauge with mode `each` apart."""


class Found(NamedTuple):
    """A series of one life, and whose it is."""

    owner: Life | PlainSession
    labels: tuple[str, ...]
    series: Series

    @property
    def sender(self) -> str:
        """The sender's name."""
        return self.owner.sender

    @property
    def process(self) -> str:
        """Host and process id, or a part of the life's identity while no beacon has come."""
        session = self.owner.session
        if session.pid or session.host:
            return f"{session.host}:{session.pid}"
        return self.owner.id.hex() if isinstance(self.owner, Life) else session.id

    @property
    def last(self) -> float | None:
        """The last value; of a histogram the observations."""
        return self.series.last

    def is_recent(self, now: float, within: float = PRESENT) -> bool:
        """Whether the value was known within these seconds, or three intervals where those are longer."""
        return now - self.series.updated <= max(within, _INTERVALS * self.owner.interval)

    def rows(self, first: int, last: int, width: float) -> Iterator[tuple[int, Row]]:
        """The slots from first to last by their place among them; what a session lost belongs to each of its readings."""
        ring = self.series.ring.for_width(width)
        for row in ring.rows(first * width, (last + 0.5) * width):
            yield round(row[0] / width) - first, row
        if isinstance(self.owner, Life):
            for slot, lost in self.owner.rows_of_runs(self.series, first, last, ring.width):
                yield slot - first, (slot * ring.width, 0, lost, 0.0, slot * ring.width)
        if isinstance(self.owner, PlainSession):
            for start, came, gone, _, _ in self.owner.all.for_width(width).rows(first * width, (last + 0.5) * width):
                if gone:
                    share = _share(ring.window(start, start + width / 2)[0], came, gone)
                    yield round(start / width) - first, (start, 0, share, 0.0, start)


class Match(NamedTuple):
    """Which series are asked for."""

    name: str | None
    label_names: tuple[str, ...]
    labels: Mapping[str, str]
    sender: str | None
    each: bool = False
    """Whether every process is a series of its own, with the label `process`."""

    def wants(self, sender: str) -> bool:
        """Whether this sender is asked for."""
        return self.sender is None or self.sender == sender

    def fits(self, name: str, labels: tuple[str, ...], process: str | None = None) -> bool:
        """Whether this series is asked for."""
        if self.name is not None and name != self.name:
            return False
        if not self.labels:
            return True
        has = {PROCESS: process, **dict(zip(self.label_names, labels, strict=False))}
        return all(has.get(label) == value for label, value in self.labels.items())

    def counted(
        self, totals: Mapping[tuple[str, str, tuple[str, ...]], float]
    ) -> list[tuple[str, str, tuple[str, ...]]]:
        """The keys of totals by sender, name and labels that are asked for."""
        return [key for key in totals if self.wants(key[0]) and self.fits(key[1], key[2])]

    def among(self, lives: Iterable[Life], plain: Iterable[PlainSession]) -> Iterator[Found]:
        """The series that are asked for."""
        return (found for _, found in self.named(lives, plain))

    def named(self, lives: Iterable[Life], plain: Iterable[PlainSession]) -> Iterator[tuple[str, Found]]:
        """The same with the names of their metrics."""
        for life in lives:
            if self.wants(life.sender):
                for (name, labels), series in life.series.items():
                    found = Found(life, labels, series)
                    if self.fits(name, labels, found.process if self.labels and self.each else None):
                        yield name, found
        for session in plain:
            if self.wants(session.sender):
                for name, series in session.series.items():
                    if self.fits(name, ()):
                        yield name, Found(session, (), series)


@dataclass(frozen=True, slots=True)
class MetricTotal:
    """A total over all lives and restarts, and whether anything can be missing of it."""

    value: float | None
    """None when nothing arrived."""
    reasons: tuple[IncompleteReason, ...] = ()
    """Why it may be too small."""

    @property
    def completeness(self) -> float | None:
        """1.0 when nothing that was counted up to the latest snapshots can be missing; None when that is unknown."""
        return None if self.reasons or self.value is None else 1.0


@dataclass(frozen=True, slots=True)
class MetricWindow:
    """What is known of a stretch of time."""

    seconds: float
    received: int
    """Readings known: those that came, and those known to be unchanged."""
    lost: int
    overdue: int
    """Readings that should have come by now from senders that fell silent."""
    reasons: tuple[IncompleteReason, ...] = ()
    """Why more may be missing than is lost or overdue."""
    mean: float | None = None
    """Of a gauge's or plain readings' values as received; None when there are none."""
    last: float | None = None
    """The latest value of a gauge within the window."""
    increase: float | None = None
    """The increase of a counter, or of a histogram's observations; the next reading makes up for a gap."""
    buckets: Buckets = field(default_factory=Buckets)
    """Of a histogram."""

    @property
    def completeness(self) -> float | None:
        """received / (received + lost + overdue); None when nothing was expected, and when a process ended unheard in the window."""
        due = self.received + self.lost + self.overdue
        return self.received / due if due and not self.reasons else None

    @property
    def rate(self) -> float | None:
        """The increase a second."""
        return None if self.increase is None else self.increase / self.seconds

    def quantile(self, share: float) -> float | None:
        """The value that this share of a histogram's observations does not exceed, within 1.1 %; None when unknown."""
        return self.buckets.quantile(share)


# Several processes.


def groups(metric: Metric | None, found: Iterable[Found]) -> list[list[Found]]:
    """The lives of each series: those of one sender name and labels, and of one process where the mode is `each`."""
    each = metric is not None and metric.mode is GaugeMode.EACH
    made: dict[tuple[str, tuple[str, ...], str], list[Found]] = {}
    for one in found:
        made.setdefault((one.sender, one.labels, one.process if each else ""), []).append(one)
    return list(made.values())


def gauge_value(mode: GaugeMode, lives: list[Found], now: float, within: float = PRESENT) -> float | None:
    """The value of one gauge of several processes; None when no process that counts was heard of within these seconds."""
    known = [one for one in lives if one.series.value is not None and one.is_recent(now, within)]
    present = [one for one in known if not one.owner.closed]
    if mode in {GaugeMode.LATEST, GaugeMode.EACH}:
        of_process = present if mode is GaugeMode.EACH else known
        latest = max(of_process, key=lambda one: one.series.set_at, default=None)
        return None if latest is None else latest.series.value
    return _combined(mode, [(one.series.value or 0.0, 0.0) for one in present])


def gauge_steps(
    mode: GaugeMode, steps: Iterable[Mapping[int, tuple[float, int, float]]]
) -> dict[int, tuple[float, int]]:
    """The value of one gauge in each step of time.

    Args:
        mode: how processes are combined.
        steps: of each process, by the number of the step: the sum of its readings, how many they are, and when it was set.

    Returns:
        By the number of the step: the value, and the readings of the process that has most.
    """
    told: dict[int, list[tuple[float, int, float]]] = {}
    for process in steps:
        for step, reading in process.items():
            if reading[1]:
                told.setdefault(step, []).append(reading)
    made = {}
    for step, readings in told.items():
        value = _combined(mode, [(total / came, set_at) for total, came, set_at in readings])
        assert value is not None
        made[step] = value, max(came for _, came, _ in readings)
    return made


def _combined(mode: GaugeMode, values: list[tuple[float, float]]) -> float | None:
    """One value of several processes' values, and when each was set."""
    if not values:
        return None
    if mode is GaugeMode.SUM:
        return sum(value for value, _ in values)
    if mode is GaugeMode.MIN:
        return min(value for value, _ in values)
    if mode is GaugeMode.MAX:
        return max(value for value, _ in values)
    return max(values, key=lambda each: each[1])[0]


# Windows and totals.


def window(metric: Metric | None, found: Iterable[Found], seconds: float, now: float, width: float) -> MetricWindow:
    """What is known of the last seconds.

    Args:
        metric: what was declared.
        found: the series.
        seconds: how far back.
        now: on the reader's clock.
        width: of a slot, seconds.
    """
    found = list(found)
    start, end = _bounds(seconds, now, width)
    received = lost = overdue = 0
    total = 0.0
    for each in found:
        came, gone, amount = each.series.ring.window(start, end)
        received += came
        lost += gone + _lost_besides(each, start, end, width)
        total += amount
        overdue += _overdue(each.owner, now, seconds)
    reasons = _unheard(found, start, now)
    if metric is not None and metric.kind in {"gauge", "reading"}:
        made = groups(metric, found)
        values = [gauge_value(metric.mode, lives, now, now - start) for lives in made]
        lasts = [value for value in values if value is not None]
        last = sum(lasts) / len(lasts) if lasts else None
        mean = _mean(metric.mode, made, (start, end), width)
        return MetricWindow(seconds, received, lost, overdue, reasons, mean=mean, last=last)
    buckets = Buckets()
    for each in found:
        if each.series.buckets is not None:
            buckets.merge(each.series.between(start // RECENT * RECENT, end))
    increase = total if received else None
    return MetricWindow(seconds, received, lost, overdue, reasons, increase=increase, buckets=buckets)


def completeness(found: Iterable[Found], seconds: float, now: float, width: float) -> float | None:
    """received / (received + lost + overdue) over all the series; None when nothing was to come, or a process ended unheard."""
    found = list(found)
    start, end = _bounds(seconds, now, width)
    received = due = 0
    for each in found:
        came, gone, _ = each.series.ring.window(start, end)
        received += came
        due += came + gone + _lost_besides(each, start, end, width) + _overdue(each.owner, now, seconds)
    return received / due if due and not _unheard(found, start, now) else None


def doubts(found: Iterable[Found], now: float) -> set[IncompleteReason]:
    """Why the totals of these series may be too small, as far as their own lives tell."""
    reasons = set()
    for each in found:
        life = each.owner
        if not isinstance(life, Life):
            continue
        if life.refuses:
            reasons.add(IncompleteReason.REFUSED_BY_SENDER)
        if not life.is_exact(each.series, now):
            unknown = life.tail(now) is MetricTail.UNKNOWN
            reasons.add(IncompleteReason.TAIL_UNKNOWN if unknown else IncompleteReason.PENDING)
    return reasons


def _mean(mode: GaugeMode, made: list[list[Found]], bounds: tuple[float, float], width: float) -> float | None:
    """The mean over time of the value, weighted by the readings."""
    total, weight = 0.0, 0
    for lives in made:
        steps = [
            {
                round(start / width): (amount, came, set_at)
                for start, came, _, amount, set_at in one.series.ring.rows(*bounds)
            }
            for one in lives
        ]
        for value, came in gauge_steps(mode, steps).values():
            total += value * came
            weight += came
    return total / weight if weight else None


def _unheard(found: Iterable[Found], start: float, now: float) -> tuple[IncompleteReason, ...]:
    """That a process said goodbye in the window, and its last snapshot did not come."""
    for each in found:
        life = each.owner
        ended = isinstance(life, Life) and life.closed and life.latest_at >= start
        if ended and isinstance(life, Life) and not life.is_exact(each.series, now):
            return (IncompleteReason.TAIL_UNKNOWN,)
    return ()


def _bounds(seconds: float, now: float, width: float) -> tuple[float, float]:
    """The slots of the last seconds, the present one among them."""
    last = now // width
    return (last + 1) * width - -(-seconds // width) * width, (last + 0.5) * width


def _overdue(owner: Life | PlainSession, now: float, seconds: float) -> int:
    """What a silent owner should have sent in the window; nothing of one that was silent all through it."""
    if isinstance(owner, Life):
        return owner.overdue(now) if now - owner.latest_at < seconds else 0
    silent = now - owner.latest_at
    if owner.closed or not owner.interval or silent < 3 * owner.interval or silent >= seconds:
        return 0
    return int(silent / owner.interval)


def _lost_besides(found: Found, start: float, end: float, width: float) -> int:
    """What was lost of a series besides what its slots say: in long runs of its life; of a plain reading see `_share`."""
    if isinstance(found.owner, Life):
        return found.owner.lost_in_runs(found.series, start, -(-end // width) * width, width)
    came, gone, _ = found.owner.all.window(start, end)
    return _share(found.series.ring.window(start, end)[0], came, gone)


def _share(own: int, came: int, gone: int) -> int:
    """How many of a session's lost messages were this reading: as large a share as of those that came, and not less than one."""
    return max(1, round(gone * own / came)) if gone and came else min(1, gone)
