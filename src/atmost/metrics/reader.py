"""`MetricsReader`: turns what receivers yield into series with totals, distributions and completeness.

Pure state: events and `now` in, answers out; no clock, socket or thread. `now` is seconds on any clock that does not step
back, the same one everywhere. Memory is bounded by lives, series and slots; what a limit refuses is counted.
Not thread-safe: one thread at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from atmost.core.events import Event, Message
from atmost.core.names import check_subject
from atmost.errors import OptionError
from atmost.metrics.buckets import Buckets
from atmost.metrics.history import MetricSlot
from atmost.metrics.life import MetricTail, MissingSnapshot, RetiredKey
from atmost.metrics.query import (
    Found,
    Match,
    MetricTotal,
    MetricWindow,
    completeness,
    doubts,
    gauge_steps,
    groups,
    window,
)
from atmost.metrics.state import Doubts, IncompleteReason, Metric, ReaderState, RefusedMetric
from atmost.metrics.wire import GaugeMode


@dataclass(frozen=True, slots=True)
class MetricSource:
    """One life of one registry, and what came of it."""

    sender: str
    host: str
    pid: int
    life: str
    snapshots: int
    """Snapshots known to have been sent since this reader could have had them."""
    complete: int
    lost: int
    """Snapshots of which no part came."""
    parts_lost: int
    """Parts of snapshots of which some other part came."""
    late: int
    pending: int
    overdue: int
    """Snapshots that should have come since the last: nobody knows whether they were sent."""
    closed: bool
    """Whether no other snapshot is expected."""
    tail: MetricTail
    """What is known of its end."""
    missing: tuple[MissingSnapshot, ...]
    """The last 256 that were lost."""
    dropped: Mapping[str, int]
    """What the registry refused, by reason, as it says."""


@dataclass(frozen=True, slots=True)
class MetricsReaderStats:
    """What became of the input, and how much of each bound is in use."""

    parts: int
    """Parts of snapshots taken in."""
    readings: int
    """Plain readings taken in."""
    repeated: int
    """Parts that had come before."""
    late_messages: int
    malformed: int
    """Messages, or readings in them, that no registry sends."""
    conflicts: int
    """Readings refused because another sender declared the name in another way; see `samples`."""
    redeclared: int
    """Names that got another meaning when nobody used the former any more."""
    retired: int
    """Parts of lives that were forgotten, and cannot return."""
    refused: Mapping[str, int]
    """Readings refused by a bound: `series_limit`, `series_of_life_limit`, `histogram_limit`."""
    lives_folded: int
    lives: int
    """Registries and sessions in memory."""
    series: int
    """Series in memory."""
    largest: int
    """Series of the registry or session that has most."""
    histograms: int
    """Series that are histograms."""
    samples: tuple[RefusedMetric, ...]
    """The last 64 kinds of what was refused: of whom, why, and how often."""


class MetricsReader:
    """Merges the readings of many senders, through their restarts."""

    def __init__(
        self,
        *,
        subject: str = "metrics",
        slot: float = 1.0,
        slots: int = 600,
        grace: float = 2.0,
        max_lives: int = 1024,
        max_series: int = 10_000,
        max_series_of_life: int | None = None,
        max_histograms: int | None = None,
        coarse_slot: float = 10.0,
        coarse_slots: int = 0,
        now: float | None = None,
    ) -> None:
        """Starts empty.

        Args:
            subject: as the senders' `Metrics` have it; messages of other subjects count for completeness only.
            slot: seconds of one slot.
            slots: of every series; 16 bytes each.
            grace: seconds until a missing snapshot is lost; at least the receiver's own for late arrivals to count.
            max_lives: registries and sessions remembered; beyond it the longest silent one is folded into the totals.
            max_series: over all lives; beyond it lives that are gone are folded, and where there are none, new series are
                counted as `series_limit` and not kept.
            max_series_of_life: of one registry or session, counted as `series_of_life_limit` beyond it; None allows all.
            max_histograms: of the series, counted as `histogram_limit` beyond it: one with all its buckets in use takes 1 MB;
                None allows all.
            coarse_slot: seconds of one slot of a second, coarser history that reaches further back; see `slots`.
            coarse_slots: of every series; 16 bytes each; 0 keeps no such history.
            now: since when events come, seconds; None takes the first. What a sender counted earlier is in totals only.

        Raises:
            OptionError: an option is outside its range.
            SubjectError: the subject cannot be used.
        """
        for name, value, least in (("slot", slot, 0.001), ("grace", grace, 0.0), ("coarse_slot", coarse_slot, 0.001)):
            if not isinstance(value, int | float) or not least <= value < 1e7:
                raise OptionError(name, value, f"at least {least}")
        of_life = max_series if max_series_of_life is None else max_series_of_life
        histograms = max_series if max_histograms is None else max_histograms
        counts = {"max_lives": max_lives, "max_series": max_series, "max_series_of_life": of_life}
        for name, value in {**counts, "max_histograms": histograms}.items():
            if not isinstance(value, int) or value < 1:
                raise OptionError(name, value, "at least 1")
        for name, value, least in (("slots", slots, 2), ("coarse_slots", coarse_slots, 0)):
            if not isinstance(value, int) or not least <= value < 1e7:
                raise OptionError(name, value, f"a whole number, at least {least}")
        self._slot = slot
        self._state = ReaderState(
            prefix=f"{check_subject(subject)}.",
            slot=slot,
            slots=slots,
            grace=grace,
            max_lives=max_lives,
            max_series=max_series,
            max_series_of_life=of_life,
            max_histograms=histograms,
            coarse=(coarse_slot, coarse_slots) if coarse_slots else None,
            began=now,
        )

    def stats(self) -> MetricsReaderStats:
        """What became of the input, and how much of each bound is in use."""
        state = self._state
        counts = state.counts
        sizes = [
            *(len(life.series) for life in state.lives.values()),
            *(len(plain.series) for plain in state.plain.values()),
        ]
        return MetricsReaderStats(
            parts=counts["parts"],
            readings=counts["readings"],
            repeated=counts["repeated"],
            late_messages=counts["late_messages"],
            malformed=counts["malformed"],
            conflicts=counts["conflict"],
            redeclared=counts["redeclared"],
            retired=counts["retired"],
            refused={name: counts[name] for name in _LIMITS if counts[name]},
            lives_folded=counts["lives_folded"],
            lives=len(sizes),
            series=state.series_kept,
            largest=max(sizes, default=0),
            histograms=state.histograms_kept,
            samples=tuple(state.refused.values()),
        )

    @property
    def series_kept(self) -> int:
        """Series in memory; as in `stats`, and at no cost."""
        return self._state.series_kept

    @property
    def metrics(self) -> dict[str, Metric]:
        """What was declared, by name."""
        return dict(self._state.metrics)

    def feed(self, event: Event, now: float) -> None:
        """Takes one event of a receiver; of any subject and kind, never raises for what a sender did.

        Args:
            event: a message or another event.
            now: seconds.
        """
        self._state.feed(event, now)

    def repeats(self, session: bytes, subject: str) -> bool:
        """Whether a finite number on this subject would change nothing but a series that this session has.

        Args:
            session: its key.
            subject: one of plain readings.
        """
        return self._state.repeats(session, subject)

    def feed_together(self, messages: Sequence[Message], now: float) -> None:
        """Takes messages of one session and one subject that came together: the same as `feed` with each, and cheaper.

        Args:
            messages: one or more, in order.
            now: seconds.
        """
        self._state.feed_together(messages, now)

    def tick(self, now: float) -> None:
        """Counts as lost what has been missing for longer than the grace; every answer does so first."""
        for life in self._state.lives.values():
            life.settle(now)

    def next_deadline(self) -> float | None:
        """When `tick` will have something to do; None while nothing is missing."""
        deadlines = [life.next_deadline() for life in self._state.lives.values()]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def total(self, name: str, labels: Mapping[str, str] | None = None, sender: str | None = None) -> float | None:
        """A counter's total, or a histogram's number of observations, over all lives and restarts of the senders.

        Args:
            name: the metric's.
            labels: only series with these values.
            sender: only this sender's.

        Returns:
            None when nothing arrived.
        """
        match = self._match(name, labels, sender)
        totals = self._state.retired.totals()
        counts = [totals[key] for key in match.counted(totals)]
        counts += [found.last for found in self._matches(name, labels, sender) if found.last is not None]
        return sum(counts) if counts else None

    def total_of(
        self, name: str, now: float, labels: Mapping[str, str] | None = None, sender: str | None = None
    ) -> MetricTotal:
        """The same total, and whether anything can be missing of it.

        Args:
            name: the metric's.
            now: seconds.
            labels: only series with these values.
            sender: only this sender's.
        """
        self.tick(now)
        found = list(self._matches(name, labels, sender))
        keys = self._match(name, labels, sender).counted(self._state.retired.totals())
        known = self._state.doubts()
        reasons = doubts(found, now)
        for each in {one.sender for one in found} | {key[0] for key in keys} | ({sender} if sender else set()):
            reasons |= known.reasons(each, name)
        if not known.uncertain.isdisjoint(keys):
            reasons.add(IncompleteReason.TAIL_UNKNOWN)
        return MetricTotal(self.total(name, labels, sender), tuple(sorted(reasons)))

    def window(
        self,
        name: str,
        seconds: float,
        now: float,
        labels: Mapping[str, str] | None = None,
        sender: str | None = None,
    ) -> MetricWindow:
        """What is known of the last seconds: value, increase, quantiles and completeness.

        Args:
            name: the metric's, or a plain reading's.
            seconds: rounded up to whole slots; quantiles to 10 s.
            now: seconds.
            labels: only series with these values.
            sender: only this sender's.
        """
        self.tick(now)
        return window(self._state.metrics.get(name), self._matches(name, labels, sender), seconds, now, self._slot)

    def slots(
        self,
        name: str,
        seconds: float,
        now: float,
        labels: Mapping[str, str] | None = None,
        sender: str | None = None,
        width: float | None = None,
    ) -> list[MetricSlot]:
        """The last seconds slot by slot, oldest first: every slot is there, and its value None where nothing is known.

        Args:
            name: the metric's, or a plain reading's.
            seconds: how far back.
            now: seconds; the last slot is the one it is in.
            labels: only series with these values.
            sender: only this sender's.
            width: `coarse_slot` for the coarse history; None takes `slot`.
        """
        self.tick(now)
        width = self._slot if width is None else width
        metric = self._state.metrics.get(name)
        first, last = math.floor((now - seconds) / width) + 1, math.floor(now / width)
        received, lost = [0] * (last - first + 1), [0] * (last - first + 1)
        sums, values = [0.0] * (last - first + 1), [0] * (last - first + 1)
        for lives in groups(metric, self._matches(name, labels, sender)):
            steps: list[dict[int, tuple[float, int, float]]] = []
            for one in lives:
                steps.append({})
                for row, (_, came, gone, amount, set_at) in one.rows(first, last, width):
                    received[row] += came
                    lost[row] += gone
                    if came or amount:
                        steps[-1][row] = (amount, came, set_at)
            if metric is not None and metric.kind in {"gauge", "reading"}:
                combined = {row: value for row, (value, _) in gauge_steps(metric.mode, steps).items()}
            else:
                combined = {}
                for step in steps:
                    for row, (amount, _, _) in step.items():
                        combined[row] = combined.get(row, 0.0) + amount
            for row, value in combined.items():
                sums[row] += value
                values[row] += 1
        gauge = metric is not None and metric.kind in {"gauge", "reading"}
        return [
            MetricSlot(
                (first + row) * width,
                None if not values[row] or not came else sums[row] / values[row] if gauge else sums[row],
                came,
                lost[row],
            )
            for row, came in enumerate(received)
        ]

    def found(
        self, name: str | None = None, labels: Mapping[str, str] | None = None, sender: str | None = None
    ) -> list[tuple[str, Found]]:
        """The series themselves with their names, one a life: for exporters and charts, which read and never change them.

        Args:
            name: the metric's; None takes all.
            labels: only series with these values.
            sender: only this sender's.
        """
        return list(self._match(name, labels, sender).named(self._state.lives.values(), self._state.plain.values()))

    def retired(self) -> dict[RetiredKey, float | Buckets]:
        """What lives that were folded had counted, by sender, name and labels; to be added to `found`, and not to be changed."""
        return self._state.retired.shown()

    def series(self, name: str) -> list[tuple[str, dict[str, str], float | None]]:
        """Sender, labels and last value (of a histogram: observations) of every series of a name, one a life."""
        metric = self._state.metrics.get(name)
        names = metric.label_names if metric else ()
        return [
            (match.sender, dict(zip(names, match.labels, strict=False)), match.last)
            for match in self._matches(name, None, None)
        ]

    def sources(self, now: float) -> list[MetricSource]:
        """Every registry's life that is remembered, and exactly what of it is missing."""
        self.tick(now)
        return [
            MetricSource(
                sender=life.sender,
                host=life.session.host,
                pid=life.session.pid,
                life=life.id.hex(),
                snapshots=life.latest + 1 - life.first,
                complete=life.complete,
                lost=life.lost_snapshots,
                parts_lost=life.parts_lost,
                late=life.parts_late,
                pending=life.pending,
                overdue=life.overdue(now),
                closed=life.closed,
                tail=life.tail(now),
                missing=tuple(life.missing),
                dropped=dict(life.dropped),
            )
            for life in self._state.lives.values()
        ]

    def completeness(self, seconds: float, now: float, sender: str | None = None) -> float | None:
        """received / (received + lost) over all series; None when nothing was expected."""
        self.tick(now)
        return completeness(self._matches(None, None, sender), seconds, now, self._slot)

    def doubts(self) -> Doubts:
        """Why totals may be too small, besides what the lives of `found` tell: for exporters."""
        return self._state.doubts()

    def _match(self, name: str | None, labels: Mapping[str, str] | None, sender: str | None) -> Match:
        metric = self._state.metrics.get(name) if name is not None else None
        each = metric is not None and metric.mode is GaugeMode.EACH
        return Match(name, metric.label_names if metric else (), dict(labels or {}), sender, each)

    def _matches(self, name: str | None, labels: Mapping[str, str] | None, sender: str | None) -> Iterator[Found]:
        return self._match(name, labels, sender).among(self._state.lives.values(), self._state.plain.values())


_LIMITS = ("series_limit", "series_of_life_limit", "histogram_limit")
