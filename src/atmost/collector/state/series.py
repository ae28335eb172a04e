"""The series of both kinds of senders under one roof, asked step by step.

Safe from any thread where it says so. Times are seconds since 1970.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from atmost.collector.options import COARSE_SLOT, COARSE_SLOTS, FINE_SLOTS
from atmost.collector.state.flow import PREFIX
from atmost.collector.state.statsd import StatsdSeries
from atmost.metrics.buckets import Buckets
from atmost.metrics.history import RECENT
from atmost.metrics.life import RetiredKey
from atmost.metrics.query import Found
from atmost.metrics.state import Metric

if TYPE_CHECKING:
    from atmost.collector.state.state import CollectorState

MAX_POINTS: Final = 2000
MAX_MERGED: Final = 500
"""Series that one question may merge."""
FIGURES: Final = ("value", "rate", "p50", "p90", "p99")
_STEPS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_USUAL_POINTS: Final = 300


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
    """How many series it is made of."""


class Question(NamedTuple):
    """What is asked of a series."""

    name: str
    seconds: float
    end: float | None = None
    step: float | None = None
    figure: str = "value"
    sender: str | None = None
    labels: Mapping[str, str] = {}


class QuestionError(ValueError):
    """A question that cannot be answered; code and message say why and what would be right."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Snapshot(NamedTuple):
    """The series of a moment, copied under the lock; what they hold may be read without it, but for quantiles."""

    ours: list[tuple[str, Found]]
    metrics: Mapping[str, Metric]
    theirs: list[StatsdSeries]
    """Those of StatsD; for a question, what fits it of `counted` too."""
    retired: Mapping[RetiredKey, float | Buckets] = {}
    """What processes that are forgotten had counted of the same series; of histograms read only under the lock."""
    counted: Sequence[StatsdSeries] = ()
    """What the collector counts itself of every sender."""


def snapshot(state: CollectorState, question: Question | None = None) -> Snapshot:
    """All series, or those that fit a question; call it under the state's lock."""
    if question is None:
        theirs, counted = list(state.statsd.series.values()), list(state.flow.series.values())
        return Snapshot(state.metrics.found(), state.metrics.metrics, theirs, state.metrics.retired(), counted)
    ours = state.metrics.found(question.name, question.labels, question.sender)
    return Snapshot(ours, state.metrics.metrics, [] if ours else _others_of(state, question))


def ask(state: CollectorState, question: Question, now: float) -> QueryAnswer:
    """The steps of a series, of several merged where the question fits several; takes the state's lock itself.

    Raises:
        QuestionError: the range or step is out of bounds, or too many series fit.
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
    width, step, first, count = _steps(question, now, quantile=quantile, gauge=kind in {"gauge", "reading"})
    if quantile:
        with state.lock:
            points = _quantiles(ours, theirs, int(question.figure[1:]) / 100, first, step, count)
    else:
        points = _merged(ours, theirs, kind, question.figure, (first, step, count, width), knows=state.knows_loss(kind))
    return QueryAnswer(
        name=question.name,
        kind=kind,
        unit=unit,
        step=step,
        start=first * step,
        end=(first + count) * step,
        points=points,
        merged=fits,
    )


def grouped(seen: Snapshot) -> dict[GroupKey, list[Found]]:
    """The lives of each series of our own senders, by name, sender and labels."""
    groups: dict[GroupKey, list[Found]] = {}
    metrics = seen.metrics
    for name, each in seen.ours:
        names = metrics[name].label_names
        groups.setdefault((name, each.sender, tuple(zip(names, each.labels, strict=False))), []).append(each)
    return groups


def retired_of(seen: Snapshot, key: GroupKey) -> float | Buckets:
    """What was counted of a series before, by processes that are forgotten; 0 where there is nothing."""
    name, sender, labels = key
    return seen.retired.get((sender, name, tuple(value for _, value in labels)), 0)


def _others_of(state: CollectorState, question: Question) -> list[StatsdSeries]:
    """The series of StatsD, or of the collector itself, that fit; all of the kind that was updated last."""
    name, labels, sender = question.name, question.labels, question.sender
    every = state.flow.series if name.startswith(PREFIX) else state.statsd.series
    found = [
        each
        for each in every.values()
        if each.name == name and sender in {None, each.sender} and labels.items() <= dict(each.labels).items()
    ]
    kind = max(found, key=lambda each: each.updated).kind if found else ""
    return [each for each in found if each.kind == kind]


def _steps(question: Question, now: float, *, quantile: bool, gauge: bool) -> tuple[float, float, int, int]:
    """Width of the slots, length of a step, number of the first step, and how many."""
    end = now if question.end is None else question.end
    begin = end - question.seconds
    fine = now - begin <= FINE_SLOTS - 2
    width = 1.0 if fine and not quantile else COARSE_SLOT
    step = question.step
    if step is None:
        step = next((each for each in _STEPS if each >= width and question.seconds / each <= _USUAL_POINTS), _STEPS[-1])
    step = max(1, math.ceil(step / width)) * width
    last = math.floor(end / step)
    first = math.floor(begin / step) + 1
    if not gauge and question.end is None:
        first, last = first - 1, last - 1  # the step under way would look like a dip
    count = max(1, last - first + 1)
    if count > MAX_POINTS:
        raise QuestionError(
            "too_many_points", f"{count} points, at most {MAX_POINTS}: use a longer step or a shorter range"
        )
    return width, step, first, count


def _merged(
    ours: list[Found],
    theirs: list[StatsdSeries],
    kind: str,
    figure: str,
    grid: tuple[int, float, int, float],
    *,
    knows: bool,
) -> list[SeriesPoint]:
    first, step, count, width = grid
    received, lost, sums = [0] * count, [0] * count, [0.0] * count
    slots = round(step / width)
    low, high = first * slots, (first + count) * slots - 1
    for found in ours:
        for place, (_, came, gone, amount) in found.rows(low, high, width):
            at = place // slots
            received[at] += came
            lost[at] += gone
            sums[at] += amount
    for series in theirs:
        for start, came, _, amount in series.ring.for_width(width).rows(low * width, (high + 0.5) * width):
            at = (round(start / width) - low) // slots
            received[at] += came
            sums[at] += amount
    knows = knows and bool(ours)
    points = []
    for at in range(count):
        came, gone = received[at], lost[at]
        value = None if not came else sums[at] / came if kind in {"gauge", "reading"} else sums[at]
        if value is not None and figure == "rate":
            value /= step
        whole = came / (came + gone) if knows and came + gone else None
        points.append(SeriesPoint(t=(first + at) * step, value=value, lost=gone if knows else None, completeness=whole))
    return points


def _quantiles(
    ours: list[Found], theirs: list[StatsdSeries], share: float, first: int, step: float, count: int
) -> list[SeriesPoint]:
    slots = round(step / RECENT)
    low, high = first * slots, (first + count) * slots - 1
    received, lost = [0] * count, [0] * count
    for found in ours:
        for place, (_, came, gone, _) in found.rows(low, high, COARSE_SLOT):
            received[place // slots] += came
            lost[place // slots] += gone
    points = []
    for at in range(count):
        start = (first + at) * step
        pooled = Buckets()
        for found in ours:
            pooled.merge(found.series.between(start, start + step))
        for series in theirs:
            if series.recent is not None:
                pooled.merge(series.recent.between(start, start + step))
        came, gone = received[at], lost[at]
        whole = came / (came + gone) if ours and came + gone else None
        points.append(
            SeriesPoint(t=start, value=pooled.quantile(share), lost=gone if ours else None, completeness=whole)
        )
    return points


LONGEST: Final = COARSE_SLOT * COARSE_SLOTS
"""How far back anything is known, seconds."""
