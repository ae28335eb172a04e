"""Measures this process, by the names that Prometheus' clients use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atmost.metrics.metrics import Metrics


def measure_process(metrics: Metrics) -> None:
    """Declares processor time, memory, open files, threads and the start; each is asked for at every snapshot."""
    import psutil

    def process() -> psutil.Process:
        return psutil.Process()  # each time: a forked child is another process

    def cpu() -> float:
        times = process().cpu_times()
        return times.user + times.system

    metrics.counter("process_cpu_seconds_total", "Processor time, user and system", unit="seconds", callback=cpu)
    metrics.gauge(
        "process_resident_memory_bytes", "Memory in use", unit="bytes", callback=lambda: process().memory_info().rss
    )
    metrics.gauge("process_open_fds", "Open file descriptors", callback=lambda: process().num_fds())
    metrics.gauge("process_threads", "Threads", callback=lambda: process().num_threads())
    metrics.gauge(
        "process_start_time_seconds",
        "Start, since 1970",
        unit="seconds",
        callback=lambda: process().create_time(),
    )
