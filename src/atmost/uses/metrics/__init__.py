"""Metrics: readings are cumulative state, so a lost one is a gap on the chart and never a wrong total (docs/metrics.md)."""

from atmost.uses.metrics.buckets import Buckets
from atmost.uses.metrics.instruments import Counter, Gauge, Histogram
from atmost.uses.metrics.labelled import Labelled
from atmost.uses.metrics.metrics import Metrics
from atmost.uses.metrics.query import Window
from atmost.uses.metrics.reader import MetricsReader, Source
from atmost.uses.metrics.reasons import DropReason
from atmost.uses.metrics.ring import Slot
from atmost.uses.metrics.rules import Rule, RuleState, Verdict
from atmost.uses.metrics.state import Metric
from atmost.uses.metrics.timing import Timer

__all__ = [
    "Buckets",
    "Counter",
    "DropReason",
    "Gauge",
    "Histogram",
    "Labelled",
    "Metric",
    "Metrics",
    "MetricsReader",
    "Rule",
    "RuleState",
    "Slot",
    "Source",
    "Timer",
    "Verdict",
    "Window",
]
