"""What lives that are forgotten had counted, so that totals stay right; bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from atmost.uses.metrics.life import Life

if TYPE_CHECKING:
    from atmost.uses.metrics.query import Match

_MAX_IDS: Final = 65_536
_MAX_TOTALS: Final = 65_536


class Retired:
    """Totals by sender and series, and the names of the lives they came from: should one return, it is not counted again."""

    def __init__(self) -> None:
        self._ids: dict[bytes, None] = {}
        self._totals: dict[tuple[str, str, tuple[str, ...]], float] = {}

    def knows(self, life: bytes) -> bool:
        """Whether this life was folded."""
        return life in self._ids

    def fold(self, life: Life) -> None:
        """Keeps a life's totals, and forgets the rest."""
        self._ids[life.id] = None
        while len(self._ids) > _MAX_IDS:
            del self._ids[next(iter(self._ids))]
        for (name, labels), series in life.series.items():
            count = series.value if series.buckets is None else series.buckets.count
            if count is not None and not series.gauge:
                key = (life.sender, name, labels)
                if key in self._totals or len(self._totals) < _MAX_TOTALS:
                    self._totals[key] = self._totals.get(key, 0) + count

    def totals(self, match: Match) -> list[float]:
        """The totals of the series that match."""
        return [
            count
            for (sender, name, labels), count in self._totals.items()
            if match.wants(sender) and match.fits(name, labels)
        ]
