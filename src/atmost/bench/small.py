"""Figures of one process: how long an import takes, what an increment costs, and what a session takes in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Final

from atmost.bench.receiving import Source
from atmost.core.receiving import ReceiverCore, ReceiverOptions

STARTS: Final = {
    "python -c pass": "pass",
    "import atmost": "import atmost",
    "import atmost; atmost.Sender": "import atmost; atmost.Sender",
}


def start(code: str) -> float:
    """Elapsed time of an interpreter that runs `code` and ends (ms)."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def increments(rounds: int = 50_000) -> dict[str, Callable[[], float]]:
    """What an increment costs (ns of processor time): ours, and prometheus_client's where it is installed."""
    from atmost.endpoint.sender import Sender
    from atmost.metrics.metrics import Metrics

    ours = Metrics(Sender(f"memory://bench-{os.getpid()}", name="bench"), interval=3600.0).counter("bench_total", "b.")
    found = {"atmost": lambda: _cost(ours.inc, rounds)}
    try:
        from prometheus_client import CollectorRegistry, Counter
    except ImportError:
        return found
    theirs = Counter("bench", "b.", registry=CollectorRegistry())
    return {**found, "prometheus_client": lambda: _cost(theirs.inc, rounds)}


def _cost(function: Callable[[], object], rounds: int) -> float:
    began = time.thread_time_ns()
    for _ in range(rounds):
        function()
    return (time.thread_time_ns() - began) / rounds


def session_memory(sessions: int) -> float:
    """Bytes that the core of a receiver takes for each of so many sessions."""
    wall_us = time.time_ns() // 1000
    core = ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5, max_sessions=sessions), wall_us - 10_000_000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(sessions):
            for datagram in Source(number).datagrams(1):
                core.receive(datagram, time.monotonic(), time.time_ns() // 1000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / sessions
