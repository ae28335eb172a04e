"""What a reader knows, and how messages and losses change it; whatever a sender did, nothing here raises."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from atmost.core.events import Event, LateArrival, Loss, Message, Session, SessionClosed
from atmost.metrics import wire
from atmost.metrics.buckets import Buckets
from atmost.metrics.history import Ring
from atmost.metrics.life import Counted, Life, PlainSession, RetiredKey, SeriesKey

# What lives that are forgotten had counted, so that totals stay right; bounded.

_MAX_IDS: Final = 65_536
_MAX_TOTALS: Final = 65_536
_MAX_BUCKETS: Final = 131_072
"""Of all totals of histograms; beyond it those that nothing was added to for longest keep their number of observations only."""
_MAX_COUNTED: Final = 65_536
"""Series of folded lives that can return, their buckets, and lives."""


class _Folded(NamedTuple):
    """A life that can return."""

    latest: int
    """Its last snapshot."""
    counted: dict[SeriesKey, Counted]


class Retired:
    """Totals by sender and series, and the names of the lives they came from: should one return, it is not counted twice."""

    def __init__(self) -> None:
        self._ids: dict[bytes, None] = {}
        self._totals: dict[RetiredKey, float] = {}
        self._buckets: dict[RetiredKey, Buckets] = {}
        """Of the totals that are histograms; what was added to last stands last."""
        self._sizes = 0
        self._folded: dict[bytes, _Folded] = {}
        """The last ones."""
        self._held = 0

    def knows(self, life: bytes) -> bool:
        """Whether this life was folded."""
        return life in self._ids

    def fold(self, life: Life) -> None:
        """Keeps a life's totals, and forgets the rest."""
        self._ids[life.id] = None
        while len(self._ids) > _MAX_IDS:
            del self._ids[next(iter(self._ids))]
        counted = dict(life.returning)
        for (name, labels), series in life.series.items():
            count = series.value if series.buckets is None else series.buckets.count
            if count is not None and not series.gauge:
                key = (life.sender, name, labels)
                if key in self._totals or len(self._totals) < _MAX_TOTALS:
                    counted[name, labels] = added = Counted(key, count, series.buckets)
                    self._add(added)
        self._folded[life.id] = _Folded(life.latest, counted)
        self._held += _weight(counted)
        while self._held > _MAX_COUNTED:
            self._release(next(iter(self._folded)))

    def take_back(self, life: bytes, number: int) -> dict[SeriesKey, Counted] | None:
        """Forgets a folded life that has returned with a further snapshot.

        Returns:
            What is to be given to `subtract`, each when its series is there again, so that no total falls in between; None where
            nobody knows what it had counted.
        """
        folded = self._folded.get(life)
        if folded is None or number <= folded.latest:
            return None
        self._release(life)
        self._ids.pop(life, None)
        return folded.counted

    def subtract(self, counted: Counted) -> None:
        """Takes out of the totals what a series of a life has that has returned."""
        key = counted.key
        left = self._totals.pop(key, 0) - counted.amount
        if left > 0:
            self._totals[key] = left
        buckets = self._buckets.get(key)
        if buckets is None:
            return
        self._sizes -= buckets.size
        if left > 0 and counted.buckets is not None:
            _take_out(buckets, counted.buckets)
            self._sizes += buckets.size
        else:
            del self._buckets[key]

    def totals(self) -> dict[RetiredKey, float]:
        """All totals, of histograms the number of observations; not to be changed."""
        return self._totals

    def shown(self) -> dict[RetiredKey, float | Buckets]:
        """All totals, of histograms their buckets, which the caller must not change."""
        return {**self._totals, **self._buckets}

    def _add(self, counted: Counted) -> None:
        key = counted.key
        self._totals[key] = self._totals.get(key, 0) + counted.amount
        if counted.buckets is None:
            return
        buckets = self._buckets.pop(key, None) or Buckets()
        self._sizes -= buckets.size
        self._buckets[key] = buckets.merge(counted.buckets)
        self._sizes += buckets.size
        while self._sizes > _MAX_BUCKETS:
            self._sizes -= self._buckets.pop(next(iter(self._buckets))).size

    def _release(self, life: bytes) -> None:
        self._held -= _weight(self._folded.pop(life).counted)


def _weight(counted: dict[SeriesKey, Counted]) -> int:
    return 1 + sum(each.weight for each in counted.values())


def _take_out(buckets: Buckets, less: Buckets) -> None:
    """The inverse of `merge`; no bucket falls below 0."""
    buckets.raise_threshold(less.threshold)
    buckets.zero -= less.zero
    buckets.sum -= less.sum
    for side, gone in ((buckets.positive, less.positive), (buckets.negative, less.negative)):
        for bucket, count in gone.items():
            buckets.add_to(side, bucket, -count)
            if side.get(bucket, 1) <= 0:
                del side[bucket]
    buckets.zero = max(0, buckets.zero)


_ENDED, _SILENT, _INTERVALS = 60.0, 600.0, 3.0
"""Seconds after which what has ended, or is silent, may make room for others; and intervals, where those are longer."""
_LOOK_EVERY: Final = 1.0
"""Seconds between two looks for such."""
_KINDS: Final = {wire.Counters: "counter", wire.Gauges: "gauge", wire.Histograms: "histogram"}


@dataclass(frozen=True, slots=True)
class Metric:
    """What senders declared of a name."""

    name: str
    kind: str
    """counter, gauge, histogram; reading for a plain one."""
    label_names: tuple[str, ...] = ()
    unit: str = ""
    help: str = ""


class ReaderState:
    """Lives, sessions with plain readings, declarations, and what became of the input."""

    def __init__(
        self,
        *,
        prefix: str,
        slot: float,
        slots: int,
        grace: float,
        max_lives: int,
        max_series: int,
        max_series_of_life: int,
        max_histograms: int,
        coarse: tuple[float, int] | None,
        began: float | None,
    ) -> None:
        """Starts empty; arguments as `MetricsReader` has them, the prefix with its dot."""
        self._prefix = prefix
        self._slot, self._slots, self._grace = slot, slots, grace
        self._max_lives, self._max_series, self._max_series_of_life = max_lives, max_series, max_series_of_life
        self._max_histograms, self.histograms_kept = max_histograms, 0
        self._coarse = coarse
        self.lives: dict[bytes, Life] = {}
        self.plain: dict[bytes, PlainSession] = {}
        self.metrics: dict[str, Metric] = {}
        self.retired = Retired()
        self.counts: Tally[str] = Tally()
        self.series_kept = 0
        self._began = began
        self._looked = float("-inf")

    def take(self, event: Event, now: float) -> None:
        """One event of a receiver."""
        if self._began is None:
            self._began = now
        if isinstance(event, Message):
            self._message(event, now)
        elif isinstance(event, Loss) and event.session.key in self.plain:
            self.plain[event.session.key].lost(event, now)
        elif isinstance(event, LateArrival):
            self.counts["late_messages"] += event.count
        elif isinstance(event, SessionClosed) and event.session.key in self.plain:
            self.plain[event.session.key].closed = True

    def _message(self, message: Message, now: float) -> None:
        subject, payload, session = message.subject, message.payload, message.session
        plain = self.plain.get(session.key)
        if plain is not None:
            plain.heard(message, now)
        if not subject.startswith(self._prefix):
            return
        if payload.__class__ is float or payload.__class__ is int:
            self._reading(message, plain, now)
        elif isinstance(payload, list):
            self._part(payload, session, now)
        else:
            self.counts["malformed"] += 1

    def _reading(self, message: Message, plain: PlainSession | None, now: float) -> None:
        value, name = message.payload, message.subject[len(self._prefix) :]
        if not -1.7e308 < value < 1.7e308:  # NaN fails too
            self.counts["malformed"] += 1
            return
        if not self._declare(Metric(name, "reading"), now):
            return
        if plain is None:
            plain = PlainSession(message.session, self._ring(), now)
            self._make_room()
            self.plain[message.session.key] = plain
            plain.heard(message, now)
        if name in plain.series or self._admit(len(plain.series), now):
            self.counts["readings"] += 1
            plain.reading(name, value, now, self._ring)

    def _part(self, payload: Any, session: Session, now: float) -> None:
        part = wire.read_part(payload)
        if part is None:
            self.counts["malformed"] += 1
            return
        returned = self.retired.knows(part.life)
        returning = self.retired.take_back(part.life, part.number) if returned else {}
        if returning is None:
            self.counts["retired"] += 1
            return
        life = self.lives.get(part.life)
        if life is None:
            # One that returns begins here: what it had counted before is no increase of now.
            watched = -1.0 if returned else now - (self._began if self._began is not None else now)
            self._make_room()
            life = self.lives[part.life] = Life(part, session, now, watched=watched, grace=self._grace)
            life.returning = returning
        if not life.receive(part, now):
            self.counts["repeated"] += 1
            return
        life.session = session
        self.counts["parts"] += 1
        for family in part.families:
            metric = Metric(family.name, _KINDS[type(family)], family.label_names, family.unit, family.help)
            if self._declare(metric, now):
                for entry in family.entries:
                    self._entry(life, part.number, family.name, entry, now)
        life.complete_snapshot(part.number, now)
        life.settle(now)

    def _entry(self, life: Life, number: int, name: str, entry: wire.Entry, now: float) -> None:
        key, histogram = (name, entry.labels), isinstance(entry, wire.HistogramEntry)
        if key not in life.series and not self._admit(len(life.series), now, histogram=histogram):
            return
        series = life.find(key, entry.born, self._ring, histogram=histogram)
        if life.returning and (counted := life.returning.pop(key, None)) is not None:
            self.retired.subtract(counted)
        counts = entry.born >= life.first
        amount: float | None
        if isinstance(entry, wire.HistogramEntry):
            amount = series.fill(entry, number, now, counts=counts)
        elif isinstance(entry, wire.CounterEntry):
            amount = series.grow(entry.value, counts=counts)
        else:
            amount, series.gauge = entry.value, True
            if number >= series.touched:
                series.value = entry.value
        if amount is None:
            self.counts["malformed"] += 1
            return
        series.touched = max(series.touched, number)
        if isinstance(entry, wire.HistogramEntry) and entry.chunks > 1:
            series.ring.add(now, amount)  # known as a whole when the snapshot is complete
        else:
            life.know(series, number, amount, now)

    def _declare(self, metric: Metric, now: float) -> bool:
        known = self.metrics.get(metric.name)
        if known is None:
            if len(self.metrics) >= self._max_series and self._forget_gone(now):
                self._forget_names()
            if len(self.metrics) >= self._max_series:
                self.counts["series_limit"] += 1
                return False
        elif (known.kind, known.label_names) != (metric.kind, metric.label_names):
            self.counts["conflict"] += 1  # two senders mean different things by one name: the first is kept
            return False
        elif not metric.help or known.help:
            return True
        self.metrics[metric.name] = metric
        return True

    def _admit(self, of_life: int, now: float, *, histogram: bool = False) -> bool:
        """Whether there is room for one more series, of a life or session that has so many."""
        if of_life >= self._max_series_of_life < self._max_series:
            self.counts["series_of_life_limit"] += 1
            return False
        if (full := self._full(histogram=histogram)) and self._forget_gone(now):
            full = self._full(histogram=histogram)
        if full:
            self.counts[full] += 1
            return False
        self.histograms_kept += histogram
        self.series_kept += 1
        return True

    def _full(self, *, histogram: bool) -> str:
        """Which limit a further series would exceed; empty for none."""
        if self.series_kept >= self._max_series:
            return "series_limit"
        return "histogram_limit" if histogram and self.histograms_kept >= self._max_histograms else ""

    def _forget_gone(self, now: float) -> bool:
        """Folds what has ended or is long silent, until an eighth of the room for series is free; returns whether it looked."""
        if now < self._looked + _LOOK_EVERY:
            return False
        self._looked = now
        gone = [
            each
            for each in self._everyone()
            if now - each.latest_at > (_ENDED if each.closed else max(_SILENT, _INTERVALS * each.interval))
        ]
        for each in sorted(gone, key=lambda each: each.latest_at):
            if self.series_kept * 8 <= self._max_series * 7 and self.histograms_kept * 8 <= self._max_histograms * 7:
                break
            self._fold(each)
        return True

    def _forget_names(self) -> None:
        """Forgets what was declared of names that have no series any more."""
        used = {name for life in self.lives.values() for name, _ in life.series}
        used.update(name for plain in self.plain.values() for name in plain.series)
        self.metrics = {name: metric for name, metric in self.metrics.items() if name in used}

    def _make_room(self) -> None:
        """Folds the longest silent life into the totals when there are too many."""
        if len(self.lives) + len(self.plain) >= self._max_lives:
            self._fold(min(self._everyone(), key=lambda each: (not each.closed, each.latest_at)))

    def _everyone(self) -> list[Life | PlainSession]:
        return [*self.lives.values(), *self.plain.values()]

    def _fold(self, victim: Life | PlainSession) -> None:
        self.counts["lives_folded"] += 1
        self.series_kept -= len(victim.series)
        self.histograms_kept -= sum(series.buckets is not None for series in victim.series.values())
        if isinstance(victim, Life):
            self.retired.fold(victim)
            del self.lives[victim.id]
        else:
            del self.plain[victim.session.key]

    def _ring(self) -> Ring:
        return Ring(self._slot, self._slots, Ring(*self._coarse) if self._coarse else None)
