"""Many runs: that none of them breaks a promise, and that all of them together reached everything there is to reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from atmost.lab.simulator.cores import REAL, Cores
from atmost.lab.simulator.coverage import NOT_REACHABLE, Hit, as_table, missing
from atmost.lab.simulator.running import STEPS, Run, simulate

_MAX_BROKEN: Final = 10
"""Runs kept to be looked at."""


@dataclass(slots=True)
class Campaign:
    """What many runs found."""

    seeds: int = 0
    violations: int = 0
    """Runs with one or more."""
    broken: list[Run] = field(default_factory=list)
    """The first runs with a violation."""
    hits: Counter[Hit] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)

    @property
    def missing(self) -> list[Hit]:
        """What was to be reached and was not."""
        return missing(self.hits)

    @property
    def passed(self) -> bool:
        """Nothing was broken, and everything was reached."""
        return not self.violations and not self.missing

    def add(self, run: Run) -> None:
        """Takes a run in."""
        self.seeds += 1
        self.hits += run.hits
        self.figures += run.figures
        if run.violations:
            self.violations += 1
            if len(self.broken) < _MAX_BROKEN:
                self.broken.append(run)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passed": self.passed,
            "seeds": self.seeds,
            "violations": self.violations,
            "broken": [
                {"seed": run.seed, "violations": [str(violation) for violation in run.violations]}
                for run in self.broken
            ],
            "missing": [list(hit) for hit in self.missing],
            "not_reachable": dict(NOT_REACHABLE),
            "figures": dict(self.figures),
            "coverage": as_table(self.hits),
        }


def campaign(
    seeds: Iterable[int],
    *,
    steps: int = STEPS,
    cores: Cores = REAL,
    watch: Callable[[Run], None] = lambda _run: None,
) -> Campaign:
    """Runs every seed.

    Args:
        seeds: which.
        steps: of each run.
        cores: the code under test.
        watch: called after every run, for whoever shows how far it is.
    """
    result = Campaign()
    for seed in seeds:
        run = simulate(seed, steps=steps, cores=cores)
        result.add(run)
        watch(run)
    return result
