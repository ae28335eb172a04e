"""Metrics: readings are cumulative state, so a lost one is a gap on the chart and never a wrong total (docs/metrics.md)."""

from atmost.metrics.buckets import Buckets
from atmost.metrics.history import Slot
from atmost.metrics.instruments import Counter, DropReason, Gauge, Histogram, Labelled, Timer
from atmost.metrics.metrics import Metrics
from atmost.metrics.query import Window
from atmost.metrics.reader import MetricsReader, Source
from atmost.metrics.rules import Rule, RuleState, Verdict
from atmost.metrics.state import Metric

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
