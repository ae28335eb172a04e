"""Celery: metrics of tasks, and a heartbeat of each worker (docs/frameworks.md).

    import atmost.integrations.celery                          # beside the Celery app; Celery's signals do the rest
    atmost.integrations.celery.measure()

| metric | labels |
| --- | --- |
| `celery_tasks_total` | `task`, `state`: `SUCCESS`, `FAILURE`, `RETRY`, `REJECTED`, … |
| `celery_task_duration_seconds` | `task` |
| `celery_tasks_running` | – |

The processes of a worker's pool say their last words when Celery ends them, whether or not tasks are measured: atmost arranges
that wherever Celery is imported, without this module. Safe from any thread, greenlet and process of a pool.
"""

from __future__ import annotations

import time
from typing import Any, Final

from celery import signals  # type: ignore[import-untyped]  # Celery is not typed

from atmost.heartbeats import Heartbeat
from atmost.integrations.web import GivenMetrics, metrics_of

_UNKNOWN: Final = "(unknown)"
_measuring: list[TaskMetrics] = []


class TaskMetrics:
    """The metrics of tasks; held by this module, because Celery holds receivers of signals weakly."""

    def __init__(self, metrics: GivenMetrics, interval: float) -> None:
        """Declares the metrics. Args: metrics: see `measure`. interval: of the heartbeat, seconds."""
        self.metrics = metrics_of(metrics)
        self._interval = interval
        self._total = self.metrics.counter(
            "celery_tasks_total", "Tasks that ended, by how they did.", ("task", "state")
        )
        self._duration = self.metrics.histogram("celery_task_duration_seconds", "Of a run of a task.", ("task",))
        self._running = self.metrics.gauge("celery_tasks_running", "Tasks that run now.", mode="sum")
        self._began: dict[str, float] = {}
        self._heartbeat: Heartbeat | None = None
        signals.task_prerun.connect(self.began)
        signals.task_postrun.connect(self.ended)
        signals.task_rejected.connect(self.rejected)
        signals.task_unknown.connect(self.unknown)
        signals.worker_ready.connect(self.ready)

    def began(self, task_id: str | None = None, **_: Any) -> None:
        """Called when a task begins in this process."""
        if task_id is not None:
            self._began[task_id] = time.perf_counter()
        self._running.inc()

    def ended(self, task_id: str | None = None, task: Any = None, state: str | None = None, **_: Any) -> None:
        """Called when a task has ended in this process, or is to be tried again."""
        name = getattr(task, "name", _UNKNOWN)
        self._running.dec()
        self._total.labels(name, state or _UNKNOWN).inc()
        began = self._began.pop(task_id or "", None)
        if began is not None:
            self._duration.labels(name).observe(time.perf_counter() - began)

    def rejected(self, **_: Any) -> None:
        """Called when a message was refused before it became a task; which task is unknown."""
        self._total.labels(_UNKNOWN, "REJECTED").inc()

    def unknown(self, **_: Any) -> None:
        """Called for a message whose task this worker does not have; the task's name comes from outside, so it is not a label."""
        self._total.labels(_UNKNOWN, "UNKNOWN").inc()

    def ready(self, sender: Any = None, **_: Any) -> None:
        """Called when the worker begins to take tasks."""
        name = str(getattr(sender, "hostname", None) or "celery")
        self._heartbeat = Heartbeat(self.metrics.sender, name, self._interval).start()


def measure(metrics: GivenMetrics = None, *, interval: float = 1.0) -> None:
    """Measures the tasks that this program's workers run, and has each worker beat; once is enough.

    Args:
        metrics: a `Metrics`, or the sender for one; None takes the metrics that the process shares, from `ATMOST_URL`.
        interval: seconds between two beats of a worker.
    """
    if not _measuring:
        _measuring.append(TaskMetrics(metrics, interval))
