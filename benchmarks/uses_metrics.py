"""Cost of measuring: `inc()`, `set()`, `observe()` beside prometheus_client's and datadog's, interleaved in one run.

    python -m benchmarks.uses_metrics [--repetitions 15] [--calls 100000] [--json]

Each figure is processor time per call (ns) without the loop around it: the median over the repetitions, and the minimum,
which is the cost without disturbance.
Nothing is switched off meanwhile: `Metrics` sends a snapshot a second to a socket, and datadog's client its datagrams.
Peers that are not installed are left out.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import socket
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import atmost
from benchmarks.common import arguments

Calls = dict[str, Callable[[], Any]]


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--repetitions", type=int, default=15, help="interleaved runs of every call (%(default)s)")
    parser.add_argument("--calls", type=int, default=100_000, help="calls in one repetition (%(default)s)")
    options = parser.parse_args()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        port = sink.getsockname()[1]
        sender = atmost.Sender(f"udp://127.0.0.1:{port}", name="bench")
        metrics = atmost.Metrics(sender)
        calls = _atmost(metrics) | _prometheus() | _datadog(port)
        table, least = measure(calls, options.repetitions, options.calls)
        contended = {name: threads(calls[name], options.calls) for name in calls if name.endswith("inc()")}
        metrics.close()
        sender.close()
    if options.json:
        print(json.dumps({"ns": table, "ns_least": least, "ns_four_threads": contended}))
        return
    print(f"{'call':44} {'ns':>7} {'least':>7} {'of prometheus_client':>21}")
    for name, cost in table.items():
        peer = table.get("prometheus_client " + name.partition(" ")[2])
        print(f"{name:44} {cost:7.0f} {least[name]:7.0f} {f'{cost / peer:.2f}' if peer else '':>21}")
    for name, cost in contended.items():
        print(f"{name + ', four threads at once':44} {cost:7.0f}")


def measure(calls: Calls, repetitions: int, count: int) -> tuple[dict[str, float], dict[str, float]]:
    """Nanoseconds of each call: the median of interleaved repetitions, and the least."""
    runs: dict[str, list[float]] = {name: [] for name in calls}
    empty = min(_once(lambda: None, count, bare=True) for _ in range(5))
    for _ in range(repetitions):
        for name, call in calls.items():
            # Peers that send are slow: fewer calls are enough.
            runs[name].append(_once(call, count // 20 if "datadog" in name else count) - empty)
    medians = {name: statistics.median(costs) for name, costs in runs.items()}
    return medians, {name: min(costs) for name, costs in runs.items()}


def threads(call: Callable[[], Any], count: int) -> float:
    """Processor time per call when four threads call at once (ns), the median of five."""

    def run() -> None:
        for _ in range(count):
            call()

    costs = []
    for _ in range(5):
        workers = [threading.Thread(target=run) for _ in range(4)]
        began = time.perf_counter_ns()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        costs.append((time.perf_counter_ns() - began) / count / 4)
    return statistics.median(costs)


def _once(call: Callable[[], Any], count: int, *, bare: bool = False) -> float:
    turns = itertools.repeat(None, count)
    if bare:
        began = time.thread_time_ns()
        for _ in turns:
            pass
        return (time.thread_time_ns() - began) / count
    began = time.thread_time_ns()
    for _ in turns:
        call()
    return (time.thread_time_ns() - began) / count


def _with(method: Callable[[Any], Any], value: Any) -> Callable[[], Any]:
    """Wraps a call with an argument, which costs every peer the same additional call."""
    return lambda: method(value)


def _atmost(metrics: atmost.Metrics) -> Calls:
    counter = metrics.counter("bench_total", "Bench")
    labelled = metrics.counter("bench_by_route_total", "Bench", ("route",))
    gauge = metrics.gauge("bench_depth", "Bench")
    histogram = metrics.histogram("bench_seconds", "Bench", unit="seconds")
    return {
        "atmost inc()": counter.inc,
        "atmost labels(route).inc()": lambda: labelled.labels("/").inc(),
        "atmost set(x)": _with(gauge.set, 0.25),
        "atmost observe(x)": _with(histogram.observe, 0.0123),
    }


def _prometheus() -> Calls:
    if importlib.util.find_spec("prometheus_client") is None:
        return {}
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    registry = CollectorRegistry()
    counter = Counter("bench", "Bench", registry=registry)
    labelled = Counter("bench_by_route", "Bench", ("route",), registry=registry)
    gauge = Gauge("bench_depth", "Bench", registry=registry)
    histogram = Histogram("bench_seconds", "Bench", registry=registry)
    return {
        "prometheus_client inc()": counter.inc,
        "prometheus_client labels(route).inc()": lambda: labelled.labels("/").inc(),
        "prometheus_client set(x)": _with(gauge.set, 0.25),
        "prometheus_client observe(x)": _with(histogram.observe, 0.0123),
    }


def _datadog(port: int) -> Calls:
    if importlib.util.find_spec("datadog") is None:
        return {}
    from datadog.dogstatsd.base import DogStatsd

    plain = DogStatsd(host="127.0.0.1", port=port, disable_buffering=True)
    buffered = DogStatsd(host="127.0.0.1", port=port, disable_buffering=False)
    return {
        "datadog increment()": lambda: plain.increment("bench"),
        "datadog increment(), buffered": lambda: buffered.increment("bench"),
        "datadog histogram(x), buffered": lambda: buffered.histogram("bench.seconds", 0.0123),
    }


if __name__ == "__main__":
    main()
