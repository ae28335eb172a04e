"""Rules over a window, which answer `ok`, `firing`, or `unknown` when too much of the window is missing to tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from atmost.errors import OptionError
from atmost.metrics.query import MetricWindow
from atmost.metrics.reader import MetricsReader

_FIGURES: Final = ("mean", "last", "increase", "rate")


class RuleState(StrEnum):
    """What a rule answers."""

    OK = "ok"
    FIRING = "firing"
    UNKNOWN = "unknown"
    """Nothing arrived, or less than `min_completeness` of what was to come."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """An answer with its reasons."""

    state: RuleState
    value: float | None
    """What was compared; None when there was nothing."""
    completeness: float | None
    window: MetricWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRule:
    """Fires when a figure of a window is beyond a bound.

    Example:
        >>> slow = MetricRule(metric="http_request_seconds", figure=0.99, above=0.5, window=60)
        >>> slow.evaluate(reader, now).state
    """

    metric: str
    figure: str | float = "mean"
    """`mean` or `last` of a gauge, `increase` or `rate` of a counter or histogram, or a quantile's share, 0 to 1."""
    above: float | None = None
    """Fires above this value."""
    below: float | None = None
    """Fires below this value."""
    window: float = 60.0
    """Seconds; a longer window reacts less to single values, and later."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Only series with these values."""
    sender: str | None = None
    """Only this sender's."""
    min_completeness: float = 0.9
    """Below it the answer is `unknown`, 0 to 1."""

    def __post_init__(self) -> None:
        """Refuses what can never tell anything."""
        if isinstance(self.figure, str):
            if self.figure not in _FIGURES:
                raise OptionError("figure", self.figure, f"one of {', '.join(_FIGURES)}, or a share from 0 to 1")
        elif not _within(self.figure, 0, 1):
            raise OptionError("figure", self.figure, "a share from 0 to 1")
        if self.above is None and self.below is None:
            raise OptionError("above", None, "a bound: above, below or both")
        for name, bound in (("above", self.above), ("below", self.below)):
            if bound is not None and not _within(bound, -math.inf, math.inf):
                raise OptionError(name, bound, "a number")
        if not _within(self.window, 0, 1e7) or not self.window:
            raise OptionError("window", self.window, "seconds above 0, to 10,000,000")
        if not _within(self.min_completeness, 0, 1):
            raise OptionError("min_completeness", self.min_completeness, "0 to 1")

    def evaluate(self, reader: MetricsReader, now: float) -> RuleResult:
        """The answer at this moment.

        Args:
            reader: what is known.
            now: seconds, on the reader's clock.
        """
        seen = reader.window(self.metric, self.window, now, self.labels, self.sender)
        if isinstance(self.figure, str):
            value: float | None = getattr(seen, self.figure)
        else:
            value = seen.quantile(self.figure)
        complete = seen.completeness
        if value is None or complete is None or complete < self.min_completeness:
            return RuleResult(RuleState.UNKNOWN, value, complete, seen)
        beyond = (self.above is not None and value > self.above) or (self.below is not None and value < self.below)
        return RuleResult(RuleState.FIRING if beyond else RuleState.OK, value, complete, seen)


def _within(value: Any, least: float, most: float) -> bool:
    """Whether it is a number, and within both; not a number is within nothing."""
    return isinstance(value, int | float) and least <= value <= most
