"""What lives that are forgotten had counted, so that totals stay right; bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from atmost.uses.metrics.life import Life

if TYPE_CHECKING:
    from atmost.uses.metrics.query import Match

_MAX_IDS: Final = 65_536
_MAX_TOTALS: Final = 65_536
_MAX_COUNTED: Final = 65_536
"""Series of folded lives that can return, and lives."""

_Series = tuple[str, str, tuple[str, ...]]
"""Sender, metric and values of the labels."""


class _Folded(NamedTuple):
    """A life that can return."""

    latest: int
    """Its last snapshot."""
    counted: list[tuple[_Series, float]]
    """What it added to the totals."""


class Retired:
    """Totals by sender and series, and the names of the lives they came from: should one return, it is not counted twice."""

    def __init__(self) -> None:
        self._ids: dict[bytes, None] = {}
        self._totals: dict[_Series, float] = {}
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
        counted = []
        for (name, labels), series in life.series.items():
            count = series.value if series.buckets is None else series.buckets.count
            if count is not None and not series.gauge:
                key = (life.sender, name, labels)
                if key in self._totals or len(self._totals) < _MAX_TOTALS:
                    self._totals[key] = self._totals.get(key, 0) + count
                    counted.append((key, count))
        self._folded[life.id] = _Folded(life.latest, counted)
        self._held += 1 + len(counted)
        while self._held > _MAX_COUNTED:
            self._release(next(iter(self._folded)))

    def take_back(self, life: bytes, number: int) -> bool:
        """Forgets a folded life that has returned with a further snapshot; False where nobody knows what it had counted."""
        folded = self._folded.get(life)
        if folded is None or number <= folded.latest:
            return False
        for key, count in folded.counted:
            left = self._totals.pop(key, 0.0) - count
            if left > 0:
                self._totals[key] = left
        self._release(life)
        self._ids.pop(life, None)
        return True

    def _release(self, life: bytes) -> None:
        self._held -= 1 + len(self._folded.pop(life).counted)

    def totals(self, match: Match) -> list[float]:
        """The totals of the series that match."""
        return [
            count
            for (sender, name, labels), count in self._totals.items()
            if match.wants(sender) and match.fits(name, labels)
        ]
