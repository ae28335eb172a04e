"""A whole collector under load from real clients of every protocol at once, with a reader of its event stream and a scraper.

Two parts. With all clients sending: messages delivered and lost by place, memory, and CPU per message. Flat out: the rate of
our own messages that it receives, in equal turns with and without reader and scraper.

    python -m benchmarks.collector [--seconds 60] [--json]
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import logging.handlers
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import psutil

from benchmarks.common import arguments

TURNS = 8
PAUSE = 0.01
"""Time between two rounds of a client (s)."""


def ours(url: str, seconds: float, name: str) -> None:
    """A service with metrics, logs, a heartbeat and messages of its own."""
    import atmost

    with (
        atmost.Sender(url, name=name) as sender,
        atmost.Metrics(sender, interval=1.0) as metrics,
        atmost.Heartbeat(sender, name, interval=1.0),
    ):
        requests = metrics.counter("http_requests_total", "Requests", ("route",))
        latency = metrics.histogram("http_request_seconds", unit="seconds")
        logger = logging.Logger(name)  # noqa: LOG001  of this process alone
        handler = atmost.LogHandler(sender)
        logger.addHandler(handler)
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            for _ in range(20):
                number += 1
                requests.labels(f"/{number % 10}").inc()
                latency.observe(number % 100 / 1000)
                sender.send("orders.viewed", {"number": number})
            sender.send("metrics.plain", float(number))
            logger.info("request %d served", number)
            time.sleep(PAUSE)
        logger.removeHandler(handler)
        handler.close()


def statsd(port: int, seconds: float) -> None:
    """DogStatsD's own client."""
    from datadog.dogstatsd import DogStatsd

    client = DogStatsd("127.0.0.1", port, disable_telemetry=True)
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for _ in range(20):
            number += 1
            client.increment("bar.hits", tags=[f"route:{number % 10}"])
            client.timing("bar.time", number % 100)
            client.gauge("bar.temperature", number % 40)
        time.sleep(PAUSE)
    client.flush()
    client.close_socket()


def syslog(port: int, seconds: float) -> None:
    """The standard library's handler."""
    handler = logging.handlers.SysLogHandler(("127.0.0.1", port))
    _log(handler, seconds)


def gelf(port: int, seconds: float) -> None:
    """pygelf's handler, with compression."""
    from pygelf import GelfUdpHandler

    _log(GelfUdpHandler(host="127.0.0.1", port=port, compress=True), seconds)


def flat_out(url: str, seconds: float) -> None:
    """Our own readings, sent as fast as possible."""
    import atmost

    with atmost.Sender(url, name="flat-out") as sender:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for number in range(100):
                sender.send("metrics.plain", float(number))


class Reader:
    """A reader of the event stream (like the page) and a scraper (like Prometheus), as threads of this process."""

    def __init__(self, address: str, every: float = 1.0) -> None:
        self.address, self.every, self.stop = address, every, threading.Event()
        self.events = self.scrapes = 0
        self.slowest = 0.0
        self.threads = [threading.Thread(target=each, daemon=True) for each in (self.read, self.scrape)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(10)

    def read(self) -> None:
        """Counts events."""
        connection = http.client.HTTPConnection(self.address, timeout=10)
        connection.request("GET", "/api/v1/stream")
        answer = connection.getresponse()
        while not self.stop.is_set():
            self.events += answer.readline().startswith(b"event:")
        connection.close()

    def scrape(self) -> None:
        """Requests every endpoint, again and again."""
        while not self.stop.wait(self.every):
            began = time.monotonic()
            get(self.address, "/metrics")
            self.scrapes += 1
            self.slowest = max(self.slowest, time.monotonic() - began)


def get(address: str, path: str, timeout: float = 10.0) -> bytes:
    """The body of an answer."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


class Collector:
    """`atmost collect` in a process of its own."""

    def __init__(self, source: Path | None = None) -> None:
        """Args: source: the src folder of another checkout; None takes this one."""
        self.environment = {**os.environ, **({} if source is None else {"PYTHONPATH": str(source)})}

    def __enter__(self) -> Self:
        free = [part for kind in ("statsd", "syslog", "gelf", "http") for part in (f"--{kind}", "127.0.0.1:0")]
        self.file = tempfile.NamedTemporaryFile("w+b", suffix=".jsonl")
        command = [sys.executable, "-m", "atmost", "collect", "--json", "--bind", "udp://127.0.0.1:0", *free]
        self.child = subprocess.Popen(command, stdout=self.file, stderr=subprocess.DEVNULL, env=self.environment)
        while not (lines := Path(self.file.name).read_bytes().splitlines()):
            time.sleep(0.05)
        where = {each["kind"]: each["url"] for each in json.loads(lines[0])["addresses"]}
        self.url = where["atmost"]
        self.ports = {kind: int(url.rstrip("/").rpartition(":")[2]) for kind, url in where.items()}
        self.address = f"127.0.0.1:{self.ports['http']}"
        self.process = psutil.Process(self.child.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self.child.terminate()
        self.child.wait(20)
        self.file.close()

    def cpu(self) -> float:
        """CPU time so far (s)."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def receiving_cpu(self) -> float:
        """CPU time of the busiest thread (s), which under load is the receiving one."""
        return float(max(thread.user_time + thread.system_time for thread in self.process.threads()))

    def delivered(self) -> int:
        """Our own messages so far; waits for the next account, which is taken once a second."""
        last = self.overview()["totals"]["delivered"]
        while (now := self.overview()["totals"]["delivered"]) == last:
            time.sleep(0.02)
        return int(now)

    def overview(self) -> dict[str, Any]:
        """The account of this moment."""
        found: dict[str, Any] = json.loads(get(self.address, "/api/v1/overview"))
        return found


def _log(handler: logging.Handler, seconds: float) -> None:
    logger = logging.Logger("bench")  # noqa: LOG001  of this process alone
    logger.addHandler(handler)
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for _ in range(10):
            number += 1
            logger.warning("line %d of a service", number)
        time.sleep(PAUSE)
    handler.close()


def together(seconds: float) -> dict[str, Any]:
    """Everybody at once, with reader and scraper."""
    with Collector() as collector:
        jobs: list[tuple[Any, tuple[Any, ...]]] = [(ours, (collector.url, seconds, f"shop-{n}")) for n in range(3)]
        jobs += [(each, (collector.ports[each.__name__], seconds)) for each in (statsd, syslog, gelf)]
        senders = [multiprocessing.Process(target=target, args=arguments) for target, arguments in jobs]
        before, began = collector.cpu(), time.monotonic()
        with Reader(collector.address) as reader:
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            time.sleep(2.5)  # the grace has passed: missing messages are lost by now
            found, lasted = collector.overview(), time.monotonic() - began
        cpu = collector.cpu() - before
        totals = found["totals"]
        taken = totals["delivered"] + sum(each["accepted"] for each in found["listeners"] if each["kind"] != "atmost")
        return {
            "seconds": round(lasted, 1),
            "delivered": totals["delivered"],
            "lost": totals["lost"],
            "lost_by_place": totals["lost_by_place"],
            "listeners": {
                each["kind"]: {
                    name: each[name] for name in ("received", "accepted", "rejected", "kernel_drops", "queue_drops")
                }
                for each in found["listeners"]
            },
            "memory_mib": round(found["memory"]["bytes"] / 2**20, 1),
            "cpu_seconds": round(cpu, 2),
            "cpu_us_a_message": round(cpu / taken * 1e6, 1),
            "events": reader.events,
            "scrapes": reader.scrapes,
            "slowest_scrape_ms": round(reader.slowest * 1000, 1),
        }


def rates(seconds: float) -> dict[bool, list[tuple[float, float]]]:
    """Measures receiving from one sender flat out, in turn without and with reader and scraper.

    Returns:
        Messages per second, and CPU time of the receiving thread per message (µs), which hardly depends on other load.
    """
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with Collector() as collector:
        sender = multiprocessing.Process(target=flat_out, args=(collector.url, 3600.0))
        sender.start()
        while not collector.overview()["totals"]["delivered"]:
            time.sleep(0.1)
        for turn in range(2 * TURNS):
            with contextlib.ExitStack() as stack:
                if turn % 2:
                    stack.enter_context(Reader(collector.address))
                before, cpu, began = collector.delivered(), collector.receiving_cpu(), time.monotonic()
                time.sleep(seconds / (2 * TURNS))
                count = collector.delivered() - before
                spent, lasted = collector.receiving_cpu() - cpu, time.monotonic() - began
                found[bool(turn % 2)].append((count / lasted, spent / count * 1e6))
        sender.terminate()
        sender.join()
    return found


def main() -> None:
    """Runs both parts and prints them."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="approximate duration of both parts together")
    options = parser.parse_args()
    whole = together(options.seconds / 2)
    found = rates(options.seconds / 2)
    for name, which in (("received_a_second", 0), ("receiving_cpu_us_a_message", 1)):
        alone, watched = ([round(turn[which], 2) for turn in found[read]] for read in (False, True))
        pairs = [with_both / without for without, with_both in zip(alone, watched, strict=True)]
        whole[name] = {
            "alone": statistics.median(alone),
            "with_reader_and_scraper": statistics.median(watched),
            "ratio": round(statistics.median(pairs), 3),
            "turns": [alone, watched],
        }
    if options.json:
        print(json.dumps(whole))
        return
    for name, value in whole.items():
        print(f"{name:27} {json.dumps(value) if isinstance(value, dict) else value}")


if __name__ == "__main__":
    main()
