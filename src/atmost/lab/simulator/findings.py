"""What a run brings to light: violations, what was reached, figures, and the trace if it is wanted."""

from __future__ import annotations

from collections import Counter

from atmost.lab.simulator.coverage import Hit
from atmost.lab.simulator.violations import Violation, ViolationKind

_MAX_VIOLATIONS = 100
"""A broken core breaks its promise again and again; the first hundred tell enough."""


class Findings:
    """One run's results, written by all parts of the world."""

    def __init__(self, *, trace: bool) -> None:
        """Args: trace: whether to keep what happened as text."""
        self.step = -1
        self.violations: list[Violation] = []
        self.hits: Counter[Hit] = Counter()
        self.figures: Counter[str] = Counter()
        self.trace: list[str] | None = [] if trace else None

    def violate(self, kind: ViolationKind, text: str) -> None:
        """A promise was broken."""
        if len(self.violations) < _MAX_VIOLATIONS:
            violation = Violation(kind, text, self.step)
            self.violations.append(violation)
            self.say(f"!! {violation}")

    def hit(self, group: str, name: str) -> None:
        """Something to be reached was reached."""
        self.hits[group, name] += 1

    def say(self, text: str) -> None:
        """A line of the trace, below its step's."""
        if self.trace is not None:
            self.trace.append(f"             {text}")
