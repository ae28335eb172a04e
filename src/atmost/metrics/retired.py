"""What lives that are forgotten had counted, so that totals stay right; bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from atmost.metrics.buckets import Buckets

if TYPE_CHECKING:
    from atmost.metrics.life import Life, SeriesKey
    from atmost.metrics.query import Match

_MAX_IDS: Final = 65_536
_MAX_TOTALS: Final = 65_536
_MAX_BUCKETS: Final = 131_072
"""Of all totals of histograms; beyond it those that nothing was added to for longest keep their number of observations only."""
_MAX_COUNTED: Final = 65_536
"""Series of folded lives that can return, their buckets, and lives."""

RetiredKey = tuple[str, str, tuple[str, ...]]
"""Sender, metric and values of the labels."""


class Counted(NamedTuple):
    """What one series of a folded life added to the totals."""

    key: RetiredKey
    amount: float
    buckets: Buckets | None
    """Of a histogram."""

    @property
    def weight(self) -> int:
        """How much it counts for the bound on them."""
        return 1 if self.buckets is None else 1 + _size(self.buckets)


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
        self._sizes -= _size(buckets)
        if left > 0 and counted.buckets is not None:
            _take_out(buckets, counted.buckets)
            self._sizes += _size(buckets)
        else:
            del self._buckets[key]

    def totals(self, match: Match) -> list[float]:
        """The totals of the series that match."""
        return [
            count
            for (sender, name, labels), count in self._totals.items()
            if match.wants(sender) and match.fits(name, labels)
        ]

    def shown(self) -> dict[RetiredKey, float | Buckets]:
        """All totals, of histograms their buckets, which the caller must not change."""
        return {**self._totals, **self._buckets}

    def _add(self, counted: Counted) -> None:
        key = counted.key
        self._totals[key] = self._totals.get(key, 0) + counted.amount
        if counted.buckets is None:
            return
        buckets = self._buckets.pop(key, None) or Buckets()
        self._sizes -= _size(buckets)
        self._buckets[key] = buckets.merge(counted.buckets)
        self._sizes += _size(buckets)
        while self._sizes > _MAX_BUCKETS:
            self._sizes -= _size(self._buckets.pop(next(iter(self._buckets))))

    def _release(self, life: bytes) -> None:
        self._held -= _weight(self._folded.pop(life).counted)


def _size(buckets: Buckets) -> int:
    return len(buckets.positive) + len(buckets.negative)


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
