"""Queries over all series, of our senders, StatsD and the collector itself, step by step.

Safe from any thread only where a docstring says so. Times are seconds since 1970.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from atmost.collector.options import COARSE_SLOT, COARSE_SLOTS, FINE_SLOTS
from atmost.collector.state.flow import PREFIX
from atmost.collector.state.statsd import StatsdSeries
from atmost.metrics.buckets import Buckets
from atmost.metrics.history import RECENT, Packed
from atmost.metrics.life import Life, MetricTail, RetiredKey
from atmost.metrics.query import PROCESS, Found, doubts, gauge_steps
from atmost.metrics.state import Doubts, IncompleteReason, Metric
from atmost.metrics.wire import GaugeMode

if TYPE_CHECKING:
    from atmost.collector.state.state import CollectorState

MAX_POINTS: Final = 2000
MAX_MERGED: Final = 500
"""Series that one query may merge."""
MAX_BUCKETS_MERGED: Final = 1_000_000
"""Buckets that one query may merge: a few tenths of a second of work, in a thread of its own."""
FIGURES: Final = ("value", "rate", "p50", "p90", "p99")
COMBINED: Final = ("sum", "mean", "min", "max")
"""How the values of several series become one."""
_STEPS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_USUAL_POINTS: Final = 300
_LONGEST_LEAST: Final = 60.0
"""Readings that come less often than every half of this (seconds) leave holes in a sum."""


Labels = tuple[tuple[str, str], ...]
GroupKey = tuple[str, str, Labels]
"""Name, sender and labels."""


class SeriesPoint(msgspec.Struct, kw_only=True):
    """One step of a series."""

    t: float
    value: float | None
    lost: int | None
    completeness: float | None


class QueryAnswer(msgspec.Struct, kw_only=True):
    """The steps of a series, one point for each."""

    name: str
    kind: str
    unit: str
    step: float
    start: float
    end: float
    points: list[SeriesPoint]
    merged: int
    """How many series were merged."""
    incomplete: list[str]
    """Why totals may be too small, such as `tail_unknown`; empty when nothing counted can be missing."""


class Question(NamedTuple):
    """A query over the series of one name."""

    name: str
    seconds: float
    end: float | None = None
    step: float | None = None
    figure: str = "value"
    sender: str | None = None
    labels: Mapping[str, str] = {}
    combine: str = ""
    """One of `COMBINED`; empty adds totals and averages values."""


class QuestionError(ValueError):
    """A query that cannot be answered; code and message say why and what to ask instead."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Snapshot(NamedTuple):
    """The series at one moment, copied under the lock; only their histograms still need the lock to be read."""

    ours: list[tuple[str, Found]]
    metrics: Mapping[str, Metric]
    theirs: list[StatsdSeries]
    """Series of StatsD; in a query for one of `counted`, those instead."""
    retired: Mapping[RetiredKey, float | Buckets] = {}
    """Totals counted by processes forgotten since; read histograms only under the lock."""
    counted: Sequence[StatsdSeries] = ()
    """Series that the collector itself counts for each sender."""
    doubts: Doubts = Doubts({}, frozenset())
    """Why totals may be too small, besides the reasons in `ours`."""


def snapshot(state: CollectorState, question: Question | None = None) -> Snapshot:
    """All series, or those that match a query; call it under the state's lock."""
    if question is None:
        theirs, counted, metrics = list(state.statsd.series.values()), list(state.flow.series.values()), state.metrics
        return Snapshot(metrics.found(), metrics.metrics, theirs, metrics.retired(), counted, metrics.doubts())
    ours = state.metrics.found(question.name, question.labels, question.sender)
    theirs = [] if ours else _others_of(state, question)
    return Snapshot(ours, state.metrics.metrics, theirs, doubts=state.metrics.doubts())


def ask(state: CollectorState, question: Question, now: float) -> QueryAnswer:
    """Answers a query, merging all series that match; takes the state's lock itself.

    Raises:
        QuestionError: the range or step is out of bounds, or too many series match.
    """
    with state.lock:
        seen = snapshot(state, question)
    ours, theirs, metric = [each for _, each in seen.ours], seen.theirs, seen.metrics.get(question.name)
    if (fits := len(ours) + len(theirs)) > MAX_MERGED:
        raise QuestionError(
            "too_many_series", f"{fits} series fit, at most {MAX_MERGED} are merged: add sender= or label="
        )
    kind = theirs[0].kind if theirs else metric.kind if metric else ""
    unit = theirs[0].unit if theirs else metric.unit if metric else ""
    quantile = question.figure.startswith("p")
    if quantile and kind not in {"histogram", ""}:
        raise QuestionError(
            "bad_as", f"as={question.figure} is for histograms, and {question.name} is a {kind}: use value or rate"
        )
    if quantile and question.combine:
        raise QuestionError(
            "bad_combine", f"combine={question.combine} is not for quantiles: their buckets are always added"
        )
    gauge = kind in {"gauge", "reading"}
    least = _least_step(grouped(seen)) if gauge else 0.0
    width, step, first, count = _steps(question, now, least, quantile=quantile, gauge=gauge)
    if quantile:
        points = _quantiles(state, ours, theirs, int(question.figure[1:]) / 100, (first, step, count), now)
    else:
        grid, knows = (first, step, count, width), state.knows_loss(kind)
        points = _merged(ours, theirs, metric, kind, question, grid, now, knows=knows)
    return QueryAnswer(
        name=question.name,
        kind=kind,
        unit=unit,
        step=step,
        start=first * step,
        end=(first + count) * step,
        points=points,
        merged=fits,
        incomplete=sorted(
            {str(why) for key, lives in grouped(seen).items() for why in incomplete(seen, key, lives, now)}
        ),
    )


def grouped(seen: Snapshot) -> dict[GroupKey, list[Found]]:
    """The lives of our senders' series, by name, sender and labels; gauges of mode `each` have a label `process` too."""
    groups: dict[GroupKey, list[Found]] = {}
    for name, each in seen.ours:
        metric = seen.metrics.get(name)
        if metric is not None:
            groups.setdefault((name, each.sender, _labels(metric, each)), []).append(each)
    return groups


def _labels(metric: Metric, found: Found) -> Labels:
    labels = tuple(zip(metric.label_names, found.labels, strict=False))
    return (*labels, (PROCESS, found.process)) if metric.mode is GaugeMode.EACH else labels


def retired_of(seen: Snapshot, key: GroupKey) -> float | Buckets:
    """What processes forgotten since counted of a series; 0 without any."""
    name, sender, labels = key
    return seen.retired.get((sender, name, tuple(value for _, value in labels)), 0)


def incomplete(seen: Snapshot, key: GroupKey, lives: list[Found], now: float) -> list[IncompleteReason]:
    """Why the total of a series may be too small; empty for gauges, and when nothing counted can be missing."""
    name, sender, labels = key
    if seen.metrics[name].kind not in {"counter", "histogram"}:
        return []
    reasons = doubts(lives, now) | seen.doubts.reasons(sender, name)
    if (sender, name, tuple(value for _, value in labels)) in seen.doubts.uncertain:
        reasons.add(IncompleteReason.TAIL_UNKNOWN)
    return sorted(reasons)


def _others_of(state: CollectorState, question: Question) -> list[StatsdSeries]:
    """The matching series of StatsD, or of the collector itself; only those of the kind updated last."""
    name, labels, sender = question.name, question.labels, question.sender
    every = state.flow.series if name.startswith(PREFIX) else state.statsd.series
    found = [
        each
        for each in every.values()
        if each.name == name and sender in {None, each.sender} and labels.items() <= dict(each.labels).items()
    ]
    kind = max(found, key=lambda each: each.updated).kind if found else ""
    return [each for each in found if each.kind == kind]


def _least_step(groups: Mapping[GroupKey, list[Found]]) -> float:
    """The shortest step in which each of several gauges has a reading: else a sum would dip wherever one has none."""
    if len(groups) < 2:
        return 0.0
    return min(_LONGEST_LEAST, 2 * max(found.owner.interval for lives in groups.values() for found in lives))


def _steps(
    question: Question, now: float, least: float, *, quantile: bool, gauge: bool
) -> tuple[float, float, int, int]:
    """Width of the slots, length of a step (at least `least` unless asked for), number of the first step, count of steps."""
    end = now if question.end is None else question.end
    begin = end - question.seconds
    fine = now - begin <= FINE_SLOTS
    width = 1.0 if fine and not quantile else COARSE_SLOT
    step = question.step
    if step is None:
        step = next(
            (each for each in _STEPS if each >= max(width, least) and question.seconds / each <= _USUAL_POINTS),
            _STEPS[-1],
        )
    step = max(1, math.ceil(step / width)) * width
    last = math.floor(end / step)
    first = math.floor(begin / step) + 1
    if (
        width < COARSE_SLOT
    ):  # the oldest slots are about to be overwritten: a step that lacks some of them would be a dip
        first = max(first, math.ceil((now - FINE_SLOTS + 2) / step))
    if not gauge and question.end is None:
        first, last = first - 1, last - 1  # the unfinished step would look like a dip
    count = max(1, last - first + 1)
    if count > MAX_POINTS:
        raise QuestionError(
            "too_many_points", f"{count} points, at most {MAX_POINTS}: use a longer step or a shorter range"
        )
    return width, step, first, count


def _merged(
    ours: list[Found],
    theirs: list[StatsdSeries],
    metric: Metric | None,
    kind: str,
    question: Question,
    grid: tuple[int, float, int, float],
    now: float,
    *,
    knows: bool,
) -> list[SeriesPoint]:
    """Values by step: the processes of a series are combined as its metric says, then the series as the question says."""
    first, step, count, width = grid
    received, lost = [0] * count, [0] * count
    slots = round(step / width)
    low, high = first * slots, (first + count) * slots - 1
    gauge = kind in {"gauge", "reading"}
    of_group: dict[tuple[str, Labels], list[dict[int, tuple[float, int, float]]]] = {}
    for found in ours:
        told: dict[int, tuple[float, int, float]] = {}
        for place, (_, came, gone, amount, set_at) in found.rows(low, high, width):
            at = place // slots
            received[at] += came
            lost[at] += gone
            if came or amount:
                before = told.get(at, (0.0, 0, set_at))
                told[at] = (before[0] + amount, before[1] + came, max(before[2], set_at))
        of_group.setdefault((found.sender, _labels(metric, found) if metric else ()), []).append(told)
    for number, series in enumerate(theirs):
        told = {}
        for start, came, _, amount, set_at in series.ring.for_width(width).rows(low * width, (high + 0.5) * width):
            at = (round(start / width) - low) // slots
            received[at] += came
            before = told.get(at, (0.0, 0, set_at))
            told[at] = (before[0] + amount, before[1] + came, set_at)
        of_group[str(number), ()] = [told]
    combine = question.combine or ("mean" if gauge else "sum")
    fold = {"min": min, "max": max}.get(combine, operator.add)
    folded, values = [0.0] * count, [0] * count
    for steps in of_group.values():
        for at, value in _combined(metric, steps, gauge=gauge).items():
            folded[at] = fold(folded[at], value) if values[at] else value
            values[at] += 1
    knows, unheard = knows and bool(ours), _unheard(ours, step, now)
    points = []
    for at in range(count):
        came, gone = received[at], lost[at]
        shown = folded[at] if came and values[at] else None
        if shown is not None and combine == "mean":
            shown /= values[at]
        if shown is not None and question.figure == "rate":
            shown /= step
        whole = came / (came + gone) if knows and came + gone and first + at not in unheard else None
        points.append(SeriesPoint(t=(first + at) * step, value=shown, lost=gone if knows else None, completeness=whole))
    return points


def _unheard(ours: list[Found], step: float, now: float) -> set[int]:
    """Steps that may lack counts: those after the latest snapshot of a process that sent no final one."""
    steps: set[int] = set()
    for each in ours:
        life = each.owner
        if not isinstance(life, Life) or each.series.gauge or life.is_exact(each.series, now):
            continue
        if life.tail(now) is MetricTail.UNKNOWN:
            steps.update((math.floor(life.latest_at / step), math.floor((life.latest_at + life.interval) / step)))
    return steps


def _combined(
    metric: Metric | None, steps: list[dict[int, tuple[float, int, float]]], *, gauge: bool
) -> dict[int, float]:
    if gauge:
        mode = metric.mode if metric else GaugeMode.LATEST
        return {at: value for at, (value, _) in gauge_steps(mode, steps).items()}
    total: dict[int, float] = {}
    for told in steps:
        for at, (amount, _, _) in told.items():
            total[at] = total.get(at, 0.0) + amount
    return total


def _quantiles(
    state: CollectorState,
    ours: list[Found],
    theirs: list[StatsdSeries],
    share: float,
    grid: tuple[int, float, int],
    now: float,
) -> list[SeriesPoint]:
    """A quantile by step. The lock is held to collect references, not to merge them.

    Raises:
        QuestionError: there are too many buckets to merge.
    """
    first, step, count = grid
    slots = round(step / RECENT)
    low, high = first * slots, (first + count) * slots - 1
    start, end = first * step, (first + count) * step
    recents = [each for each in (*(one.series.recent for one in ours), *(one.recent for one in theirs)) if each]
    with state.lock:
        pieces = [piece for recent in recents for piece in recent.pieces(start, end)]
    if (work := sum(piece.size for _, piece in pieces)) > MAX_BUCKETS_MERGED:
        raise QuestionError(
            "too_much_work",
            f"{work} buckets fit, at most {MAX_BUCKETS_MERGED} are merged: add sender= or label=, or use a shorter range",
        )
    pooled: dict[int, Buckets] = {}
    for began, piece in pieces:
        at = min(count - 1, int((began - start) // step))
        pooled.setdefault(at, Buckets()).merge(piece.unpack() if isinstance(piece, Packed) else piece)
    received, lost = [0] * count, [0] * count
    for found in ours:
        for place, (_, came, gone, _, _) in found.rows(low, high, COARSE_SLOT):
            received[place // slots] += came
            lost[place // slots] += gone
    unheard = _unheard(ours, step, now)
    points = []
    for at in range(count):
        came, gone = received[at], lost[at]
        value = pooled[at].quantile(share) if at in pooled else None
        whole = came / (came + gone) if ours and came + gone and first + at not in unheard else None
        points.append(SeriesPoint(t=(first + at) * step, value=value, lost=gone if ours else None, completeness=whole))
    return points


LONGEST: Final = COARSE_SLOT * COARSE_SLOTS
"""How far back the histories reach (seconds)."""
