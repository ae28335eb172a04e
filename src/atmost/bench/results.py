"""What a run has measured so far: samples by row and figure, kept so that a run may be ended at any moment."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Row:
    """One system, and its samples of each figure, in the order of measuring."""

    name: str
    settings: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, figures: dict[str, float]) -> None:
        """Takes the figures of one repetition."""
        for figure, value in figures.items():
            self.samples.setdefault(figure, []).append(value)

    def median(self, figure: str) -> float | None:
        """The median of a figure; None without a sample."""
        samples = self.samples.get(figure)
        return statistics.median(samples) if samples else None

    def spread(self, figure: str) -> float | None:
        """Half of the distance from the least sample to the greatest, as a share of the median; None with fewer than two."""
        samples, middle = self.samples.get(figure, []), self.median(figure)
        if len(samples) < 2 or not middle:
            return None
        return (max(samples) - min(samples)) / 2 / abs(middle)


@dataclass(slots=True)
class Results:
    """All tables of one run."""

    machine: dict[str, Any]
    tables: dict[str, dict[str, Row]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Systems that were not measured, with the reason."""
    steal: list[float] = field(default_factory=list)
    """The share of processor time that the hypervisor gave to others, of each measurement."""
    interrupted: bool = False

    def row(self, table: str, name: str, settings: str = "") -> Row:
        """The row of a system in a table; made when it is first asked for."""
        return self.tables.setdefault(table, {}).setdefault(name, Row(name, settings))

    def ratios(self, table: str, figure: str, base: str) -> dict[str, float]:
        """Each system's figure as a multiple of another system's, the median over the repetitions that both have."""
        rows = self.tables.get(table, {})
        if base not in rows:
            return {}
        found: dict[str, float] = {}
        for name, row in rows.items():
            pairs = zip(row.samples.get(figure, []), rows[base].samples.get(figure, []), strict=False)
            shares = [own / other for own, other in pairs if other]
            if shares:
                found[name] = statistics.median(shares)
        return found

    def as_json(self) -> dict[str, Any]:
        """Medians, spreads and samples, for programs."""
        return {
            "machine": self.machine,
            "tables": {
                table: {
                    row.name: {
                        "settings": row.settings,
                        **{
                            figure: {"median": row.median(figure), "spread": row.spread(figure), "samples": samples}
                            for figure, samples in row.samples.items()
                        },
                    }
                    for row in rows.values()
                }
                for table, rows in self.tables.items()
            },
            "missing": self.missing,
            "steal": {"most": max(self.steal, default=0.0), "samples": self.steal},
            "interrupted": self.interrupted,
        }


def figures(rows: Iterable[Row]) -> list[str]:
    """The figures that some row has, in the order in which they came up."""
    return list(dict.fromkeys(figure for row in rows for figure in row.samples))
