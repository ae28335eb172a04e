"""Lists all series, of our senders and StatsD's: kind, last value, and completeness of the last minute.

Safe from any thread, because it works on a snapshot. Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from atmost.collector.state.series import Labels, Snapshot, grouped, incomplete, retired_of
from atmost.collector.state.statsd import StatsdSeries
from atmost.metrics.buckets import Buckets
from atmost.metrics.query import Found, completeness, gauge_value
from atmost.metrics.state import Metric

COMPLETENESS_OF: Final = 60.0
"""The period over which a list reports completeness (seconds)."""


class Series(msgspec.Struct, kw_only=True):
    """A series with its newest value, as the API lists it."""

    name: str
    labels: dict[str, str]
    sender: str
    source: str
    """`atmost`, `statsd`, or `collector` for series the collector counts itself."""
    kind: str
    unit: str
    help: str
    last: float | None
    last_seen: float
    completeness: float | None
    """Of the last minute; None where nothing was due, where loss is unknown, and where a total may be too small."""
    incomplete: list[str]
    """Why a total may be too small, such as `tail_unknown`; empty when nothing counted can be missing."""


class SeriesList(msgspec.Struct, kw_only=True):
    """Series by name."""

    series: list[Series]
    truncated: int


def listed(seen: Snapshot, text: str, limit: int, now: float, knows_loss: Callable[[str], bool]) -> SeriesList:
    """The series whose name, sender or labels contain a text, by name, and how many more there are.

    Args:
        seen: all series.
        text: the text to find, ignoring case; empty takes all.
        limit: the most series to return.
        now: seconds since 1970.
        knows_loss: whether the loss of a kind of series is known.
    """
    wanted = text.casefold()
    ours = [(*key, lives) for key, lives in grouped(seen).items() if _mentions(wanted, *key)]
    theirs = [each for each in (*seen.theirs, *seen.counted) if _mentions(wanted, each.name, each.sender, each.labels)]
    keys = [(name, sender, labels, place) for place, (name, sender, labels, _) in enumerate(ours)]
    keys += [(each.name, each.sender, each.labels, place + len(ours)) for place, each in enumerate(theirs)]
    keys.sort()
    rows = []
    for *_, place in keys[:limit]:
        if place < len(ours):
            name, sender, labels, lives = ours[place]
            metric = seen.metrics[name]
            key = (name, sender, labels)
            before, reasons = retired_of(seen, key), incomplete(seen, key, lives, now)
            counted = before.count if isinstance(before, Buckets) else before
            known = knows_loss(metric.kind) and not reasons
            rows.append(
                Series(
                    name=metric.name,
                    labels=dict(labels),
                    sender=sender,
                    source="atmost",
                    kind=metric.kind,
                    unit=metric.unit,
                    help=metric.help,
                    last=_last(metric, lives, counted, now),
                    last_seen=max(each.series.updated for each in lives),
                    completeness=completeness(lives, COMPLETENESS_OF, now, 1.0) if known else None,
                    incomplete=[str(reason) for reason in reasons],
                )
            )
        else:
            rows.append(_of_other(theirs[place - len(ours)]))
    return SeriesList(series=rows, truncated=max(0, len(keys) - limit))


def _mentions(wanted: str, name: str, sender: str, labels: Labels) -> bool:
    return (
        not wanted
        or wanted in name.casefold()
        or wanted in sender.casefold()
        or any(wanted in f"{label}={value}".casefold() for label, value in labels)
    )


def _last(metric: Metric, lives: list[Found], before: float, now: float) -> float | None:
    """A total over all processes, or a gauge's value by its mode; the last known value once no process reports it."""
    if metric.kind in {"counter", "histogram"}:
        known = [each.last for each in lives if each.last is not None]
        return sum(known) + before if known else None
    value = gauge_value(metric.mode, lives, now)
    return max(lives, key=lambda each: each.series.updated).last if value is None else value


def _of_other(series: StatsdSeries) -> Series:
    return Series(
        name=series.name,
        labels=dict(series.labels),
        sender=series.sender,
        source=series.source,
        kind=series.kind,
        unit=series.unit,
        help="",
        last=series.value,
        last_seen=series.updated,
        completeness=None,
        incomplete=[],
    )
