"""`MetricsReader`: turns what receivers yield into series with totals, distributions and completeness.

Pure state: events and `now` in, answers out; no clock, socket or thread. `now` is seconds on any clock that does not step
back, the same one everywhere. Memory is bounded by lives, series and slots; what a limit refuses is counted.
Not thread-safe: one thread at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from atmost.core.events import Event
from atmost.core.names import check_subject
from atmost.errors import OptionError
from atmost.metrics.buckets import Buckets
from atmost.metrics.history import Slot
from atmost.metrics.life import Missing, RetiredKey
from atmost.metrics.query import Found, Match, Window, completeness, totals, window
from atmost.metrics.state import Metric, ReaderState


@dataclass(frozen=True, slots=True)
class Source:
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
    missing: tuple[Missing, ...]
    """The last 256 that were lost."""
    dropped: Mapping[str, int]
    """What the registry refused, by reason, as it says."""


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

    @property
    def counts(self) -> dict[str, int]:
        """What became of the input: `parts`, `readings`, and what was refused: `malformed`, `conflict`, `series_limit` and others."""
        return dict(self._state.counts)

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
        self._state.take(event, now)

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
        return totals(self._matches(name, labels, sender), match.counted(self._state.retired.totals()))

    def window(
        self,
        name: str,
        seconds: float,
        now: float,
        labels: Mapping[str, str] | None = None,
        sender: str | None = None,
    ) -> Window:
        """What is known of the last seconds: value, increase, quantiles and completeness.

        Args:
            name: the metric's, or a plain reading's.
            seconds: rounded up to whole slots; quantiles to 10 s.
            now: seconds.
            labels: only series with these values.
            sender: only this sender's.
        """
        self.settle(now)
        metric = self._state.metrics.get(name)
        return window(metric.kind if metric else "", self._matches(name, labels, sender), seconds, now, self._slot)

    def slots(
        self,
        name: str,
        seconds: float,
        now: float,
        labels: Mapping[str, str] | None = None,
        sender: str | None = None,
        width: float | None = None,
    ) -> list[Slot]:
        """The last seconds slot by slot, oldest first: every slot is there, and its value None where nothing is known.

        Args:
            name: the metric's, or a plain reading's.
            seconds: how far back.
            now: seconds; the last slot is the one it is in.
            labels: only series with these values.
            sender: only this sender's.
            width: `coarse_slot` for the coarse history; None takes `slot`.
        """
        self.settle(now)
        width = self._slot if width is None else width
        metric = self._state.metrics.get(name)
        gauge = metric is not None and metric.kind in {"gauge", "reading"}
        first, last = math.floor((now - seconds) / width) + 1, math.floor(now / width)
        received, lost = [0] * (last - first + 1), [0] * (last - first + 1)
        sums = [0.0] * (last - first + 1)
        for match in self._matches(name, labels, sender):
            for row, (_, came, gone, amount) in match.rows(first, last, width):
                received[row] += came
                lost[row] += gone
                sums[row] += amount
        return [
            Slot(
                (first + row) * width,
                None if not came else sums[row] / came if gauge else sums[row],
                came,
                lost[row],
            )
            for row, came in enumerate(received)
        ]

    @property
    def kept(self) -> int:
        """Series in memory."""
        return self._state.series_kept

    @property
    def largest(self) -> int:
        """Series of the registry or session that has most."""
        sizes = [len(life.series) for life in self._state.lives.values()]
        return max(sizes + [len(session.series) for session in self._state.plain.values()], default=0)

    @property
    def histograms_kept(self) -> int:
        """Those of them that are histograms."""
        return self._state.histograms_kept

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

    def sources(self, now: float) -> list[Source]:
        """Every registry's life that is remembered, and exactly what of it is missing."""
        self.settle(now)
        return [
            Source(
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
                missing=tuple(life.missing),
                dropped=dict(life.dropped),
            )
            for life in self._state.lives.values()
        ]

    def completeness(self, seconds: float, now: float, sender: str | None = None) -> float | None:
        """received / (received + lost) over all series; None when nothing was to come."""
        self.settle(now)
        return completeness(self._matches(None, None, sender), seconds, now, self._slot)

    def settle(self, now: float) -> None:
        """Calls lost what is missing for longer than the grace; every answer does so first."""
        for life in self._state.lives.values():
            life.settle(now)

    def _match(self, name: str | None, labels: Mapping[str, str] | None, sender: str | None) -> Match:
        metric = self._state.metrics.get(name) if name is not None else None
        return Match(name, metric.label_names if metric else (), dict(labels or {}), sender)

    def _matches(self, name: str | None, labels: Mapping[str, str] | None, sender: str | None) -> Iterator[Any]:
        return self._match(name, labels, sender).among(self._state.lives.values(), self._state.plain.values())
