"""Metrics: readings are cumulative state, so a lost one is a gap on the chart and never a wrong total (docs/metrics.md)."""

from atmost.metrics.buckets import Buckets
from atmost.metrics.instruments import Counter, Gauge, Histogram
from atmost.metrics.labelled import Labelled
from atmost.metrics.metrics import Metrics
from atmost.metrics.query import Window
from atmost.metrics.reader import MetricsReader, Source
from atmost.metrics.reasons import DropReason
from atmost.metrics.ring import Slot
from atmost.metrics.rules import Rule, RuleState, Verdict
from atmost.metrics.state import Metric
from atmost.metrics.timing import Timer

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
