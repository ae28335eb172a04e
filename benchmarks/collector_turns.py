"""The collector's longest turns: what keeps its receiving thread from receiving, with many series, slow readers and a scraper.

    python -m benchmarks.collector_turns [--seconds 20] [--series 10000] [--readers 15] [--json]

A collector runs in this process, with a lock around its state that measures who holds it and for how long. Another process sends
StatsD lines and readings of ours, so that there are so many series of each; readers take the event stream slowly, one at a time
asks everything the page asks, and one scrapes `/metrics` every second.

For each place that takes the lock: how often, and the longest it was held, in time and in the processor time of its thread, which does not
count what other programs on the machine took. `a turn of the receiving thread` is the longest time between two looks at its sockets, without the time it waits for datagrams.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from benchmarks.collector import get
from benchmarks.common import arguments, show

PATIENCE = 60.0
PAGES = ("overview", "senders", "subjects", "series", "logs?limit=500", "heartbeats", "rejected", "ledger")


class Held:
    """How long something was held or took."""

    def __init__(self) -> None:
        self.times, self.longest, self.longest_cpu, self.total = 0, 0.0, 0.0, 0.0

    def add(self, lasted: float, cpu: float) -> None:
        """Counts one time."""
        self.times += 1
        self.total += lasted
        self.longest = max(self.longest, lasted)
        self.longest_cpu = max(self.longest_cpu, cpu)


class WatchedLock:
    """A lock that knows who held it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.places: dict[str, Held] = {}
        self._since = self._cpu = 0.0
        self._place = ""

    def __enter__(self) -> Self:
        self._lock.acquire()
        code = sys._getframe(1).f_code  # noqa: SLF001  the only way to look at the stack
        self._place = f"{code.co_filename.rpartition('atmost/')[2]} {code.co_qualname}"
        self._since, self._cpu = time.monotonic(), time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        held = self.places.setdefault(self._place, Held())
        held.add(time.monotonic() - self._since, time.thread_time() - self._cpu)
        self._lock.release()


def traffic(ports: dict[str, int], series: int, seconds: float) -> None:
    """Lines and readings: first of every series, then again and again."""
    import atmost

    end = time.monotonic() + seconds
    kinds = ("c", "g", "g", "c")
    number = 0
    url = f"udp://127.0.0.1:{ports['atmost']}"
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        atmost.Sender(url, name="many") as sender,
        atmost.Metrics(sender, interval=1.0) as metrics,
    ):
        sock.connect(("127.0.0.1", ports["statsd"]))
        counter = metrics.counter("own_total", "Counted", ("which",))
        latency = metrics.histogram("own_seconds", unit="seconds")
        while time.monotonic() < end:
            for _ in range(10):
                lines = []
                for _ in range(40):
                    number += 1
                    which = number % series
                    lines.append(b"s%d.hits:%d|%s|#k:v" % (which, number % 9, kinds[which % 4].encode()))
                    counter.labels(str(which)).inc()
                sock.send(b"\n".join(lines))
                sock.send(b"t%d:%d.5|ms" % (number // 40 % 200, number % 999))
                latency.observe(number % 100 / 1000)
            time.sleep(0.02)


def slow_readers(port: int, readers: int, seconds: float) -> None:
    """Readers of the event stream that take a kilobyte now and then, one that asks for everything, and one that scrapes."""
    address = f"127.0.0.1:{port}"
    end = time.monotonic() + seconds
    connections = []
    for _ in range(readers):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        sock.sendall(f"GET /api/v1/stream HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        sock.setblocking(False)
        connections.append(sock)

    def ask() -> None:
        while time.monotonic() < end:
            for page in PAGES:
                get(address, f"/api/v1/{page}", PATIENCE)
            time.sleep(0.5)

    def scrape() -> None:
        while time.monotonic() < end:
            get(address, "/metrics", PATIENCE)
            time.sleep(1.0)

    threads = [threading.Thread(target=each) for each in (ask, scrape)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        for sock in connections:
            try:
                sock.recv(1024)
            except BlockingIOError:
                continue
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    for sock in connections:
        sock.close()


def watch_turns(turn: Held) -> Callable[[], None]:
    """From now on measures the time between two waits of the receiving thread; returns what ends it."""
    select = selectors.EpollSelector.select
    ended = [0.0, 0.0]

    def measured(selector: Any, timeout: float | None = None) -> Any:
        receiving = threading.current_thread().name == "atmost-receive"
        if receiving and ended[0]:
            turn.add(time.monotonic() - ended[0], time.thread_time() - ended[1])
        found = select(selector, timeout)
        if receiving:
            ended[:] = [time.monotonic(), time.thread_time()]
        return found

    selectors.EpollSelector.select = measured  # type: ignore[method-assign]

    def restore() -> None:
        selectors.EpollSelector.select = select  # type: ignore[method-assign]

    return restore


def watch_garbage(collected: Held) -> Callable[[], None]:
    """From now on measures the collections of garbage, which stop every thread; returns what ends it."""
    began = [0.0, 0.0]

    def measure(phase: str, _info: object) -> None:
        if phase == "start":
            began[:] = [time.monotonic(), time.thread_time()]
        else:
            collected.add(time.monotonic() - began[0], time.thread_time() - began[1])

    gc.callbacks.append(measure)
    return lambda: gc.callbacks.remove(measure)


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="(%(default)s)")
    parser.add_argument("--series", type=int, default=10_000, help="of StatsD, and as many of ours (%(default)s)")
    parser.add_argument("--readers", type=int, default=15, help="of the event stream (%(default)s)")
    options = parser.parse_args()
    turn, collected = Held(), Held()
    with contextlib.ExitStack() as undo:
        undo.callback(watch_turns(turn))
        undo.callback(watch_garbage(collected))
        locks = run(options)
    places = {"a turn of the receiving thread": turn, "a collection of garbage": collected, **locks}
    rows = [
        {"place": name, "times": held.times, "longest_ms": held.longest * 1e3, "longest_cpu_ms": held.longest_cpu * 1e3}
        for name, held in sorted(places.items(), key=lambda pair: -pair[1].longest_cpu)
    ]
    show(rows, as_json=options.json)


def run(options: Any) -> dict[str, Held]:
    """Runs the collector under load."""
    from atmost.collector.daemon import CollectorDaemon
    from atmost.collector.options import CollectorOptions

    collector = CollectorOptions(
        bind=("udp://127.0.0.1:0",),
        statsd=("127.0.0.1:0",),
        syslog=("off",),
        gelf=("off",),
        http="127.0.0.1:0",
        state_dir="off",
        max_series=2 * options.series,
        max_series_per_sender=2 * options.series,
        max_statsd_series=2 * options.series,
        max_exported=4 * options.series,
    )
    daemon = CollectorDaemon(collector, environment={})
    lock = WatchedLock()
    daemon.state.lock = lock  # type: ignore[assignment]
    with daemon:
        ports = {kind: int(url.rstrip("/").rpartition(":")[2]) for kind, url in daemon.addresses}
        jobs = [
            multiprocessing.get_context("spawn").Process(target=target, args=given)
            for target, given in (
                (traffic, (ports, options.series, options.seconds)),
                (slow_readers, (ports["http"], options.readers, options.seconds)),
            )
        ]
        for job in jobs:
            job.start()
        while any(job.is_alive() for job in jobs):
            daemon.supervise(1.0, threading.Event())
        for job in jobs:
            job.join()
    return {f"lock: {name}": held for name, held in lock.places.items()}


if __name__ == "__main__":
    main()
