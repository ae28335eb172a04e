"""Metrics: readings are cumulative state, so a lost one is a gap on the chart and never a wrong total (docs/metrics.md)."""

from atmost.metrics.buckets import Buckets, default_bounds
from atmost.metrics.history import MetricSlot
from atmost.metrics.instruments import Counter, Gauge, Histogram, Labelled, MetricDropReason, Timer
from atmost.metrics.life import MetricTail, MissingSnapshot
from atmost.metrics.metrics import Metrics
from atmost.metrics.query import MetricTotal, MetricWindow
from atmost.metrics.reader import MetricSource, MetricsReader, MetricsReaderStats
from atmost.metrics.rules import MetricRule, RuleResult, RuleState
from atmost.metrics.state import IncompleteReason, Metric, MetricRefusal, RefusedMetric
from atmost.metrics.wire import GaugeMode

__all__ = [
    "Buckets",
    "Counter",
    "Gauge",
    "GaugeMode",
    "Histogram",
    "IncompleteReason",
    "Labelled",
    "Metric",
    "MetricDropReason",
    "MetricRefusal",
    "MetricRule",
    "MetricSlot",
    "MetricSource",
    "MetricTail",
    "MetricTotal",
    "MetricWindow",
    "Metrics",
    "MetricsReader",
    "MetricsReaderStats",
    "MissingSnapshot",
    "RefusedMetric",
    "RuleResult",
    "RuleState",
    "Timer",
    "default_bounds",
]
