"""A real collector with real senders and real trouble, and what it exposes to Prometheus."""

import contextlib
import http.client
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import atmost
from atmost.collector.state.heartbeats import STATES
from atmost.core.datagram import Kind
from atmost.core.events import RefusalReason, Tail
from atmost.transport.base import wall_clock
from tests.cli.commands import Running, commands, start
from tests.deploy.promql import Scrape
from tests.real import forge, until

DEPLOY = Path(__file__).parents[2] / "deploy"
__all__ = ["commands", "start"]

HOST = "127.0.0.1"
OPEN = "application/openmetrics-text; version=1.0.0"

ON_TROUBLE = {
    ("atmost_datagrams_refused_total", "reason"): {str(reason) for reason in RefusalReason},
    ("atmost_sessions", "tail"): {str(tail) for tail in Tail},
    ("atmost_heartbeats", "state"): set(STATES),
}
"""Values that a label has only when there is reason to; they are the ones of the code."""


class Collector:
    """One that runs with the container's options, but on ports of its own."""

    def __init__(self, *arguments: str, http: str = f"{HOST}:0", **environment: str) -> None:
        """Args: arguments: of `atmost collect`. http: where it answers. environment: of the process."""
        flags = [f"--{kind}={HOST}:0" for kind in ("statsd", "syslog", "gelf")]
        config = str(DEPLOY / "container/collector.toml")
        program = ["-m", "atmost", "collect", "--config", config, "--bind", f"udp://{HOST}:0", "--http", http, *flags]
        self.running = Running([*program, *arguments], subprocess.DEVNULL, environment)
        try:
            self.running.until(lambda: any(line.split()[:1] == ["scrape"] for line in self.running.out))
        except AssertionError:
            self.running.kill()
            raise
        self.urls = dict(line.split()[:2] for line in self.running.out[:6])
        self.http = int(self.urls["page"].rstrip("/").rpartition(":")[2])

    def __enter__(self) -> Self:
        """It is running."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Ends it, whatever happened."""
        try:
            self.running.end(signal.SIGTERM)
        finally:
            self.running.kill()

    def port(self, kind: str) -> int:
        """Where a protocol is received."""
        return int(self.urls[kind].rpartition(":")[2])

    def ask(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and text of an answer."""
        with contextlib.closing(http.client.HTTPConnection(HOST, self.http, timeout=10)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def samples(self) -> dict[str, list[dict[str, str]]]:
        """What it exposes: by name, the labels of each sample."""
        status, text = self.ask("/metrics", Accept=OPEN)
        assert status == 200, text
        found: dict[str, list[dict[str, str]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(sample.labels)
        return found


@pytest.fixture(scope="session")
def samples() -> dict[str, list[dict[str, str]]]:
    """What a collector exposes that has seen agents, clients, losses, refusals, drops and silence."""
    with Collector("--set", "token_file=") as collector:
        ours = collector.urls["atmost"]
        flags = ["--url", ours, "--name", "web-3", "--interval", "0.2"]
        agent = Running(["-m", "atmost", "agent", *flags], subprocess.DEVNULL, {})
        try:
            with atmost.Sender(ours, name="shop") as sender:
                atmost.Heartbeat(sender, "worker-7", interval=0.2).start()
                crowd = atmost.Metrics({"url": ours, "name": "crowd"}, interval=0.2, max_series=1)
                crowded = crowd.counter("crowded_total", "", ("n",))
                for number in range(2):
                    crowded.labels(number).inc()
                with contextlib.closing(crowd), contextlib.closing(atmost.Metrics(sender, interval=0.2)) as metrics:
                    metrics.counter("orders_total", "Orders taken").inc(5)
                    metrics.histogram("order_seconds", unit="seconds").observe(0.2)
                    _trouble(collector)
                    found = until(lambda: _complete(collector.samples()))
        finally:
            agent.end()
            agent.kill()
    return found


@pytest.fixture
def scrape(samples: dict[str, list[dict[str, str]]]) -> Scrape:
    """The same, to infer labels from."""
    found = Scrape(samples, ON_TROUBLE)
    found.knows("up", frozenset())
    return found


def _trouble(collector: Collector) -> None:
    """Sends what makes the metrics of trouble appear."""
    began = wall_clock()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def tell(kind: str, data: bytes) -> None:
            sock.sendto(data, (HOST, collector.port(kind)))

        tell("atmost", b"not ours")
        tell("atmost", forge([("a", 1)], start_us=began + 100_000_000, sent_us=began + 100_000_000, random64=3))
        tell("atmost", forge(kind=Kind.BEACON, start_us=began, refused={"ENOBUFS": 3}))
        tell("atmost", forge([("a", 1)], start_us=began, sequence=0))
        tell("atmost", forge([("a", 2)], start_us=began, sequence=5, prior=5))
        tell("statsd", b"bar.hits:1|c\nthis is none\nbar.level:-5|g|#room:a")
        tell(
            "statsd",
            b"datadog.dogstatsd.client.packets_dropped:2|c|#client:py,client_version:0.52.0,client_transport:udp",
        )
        tell("syslog", b"<14>1 2026-01-01T00:00:00Z web-3 shop 1 - - hello")


def _complete(found: dict[str, list[dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
    """The scrape, once everything that was sent shows."""
    complete = {labels["metric"] for labels in found.get("atmost_series_completeness", [])}
    reasons = {labels["reason"] for labels in found.get("atmost_sender_dropped_total", [])}
    tails = {labels["tail"] for labels in found.get("atmost_sessions", [])}
    arrived = {"orders_total", "cpu_utilization", "memory_utilization", "disk_root_utilization"} <= complete
    beats = len(found.get("atmost_heartbeat_up", [])) == 2
    told = {
        "atmost_series_incomplete",
        "atmost_statsd_client_dropped_total",
        "bar_hits_total",
        "atmost_listener_noted_total",
    } <= found.keys()
    return found if arrived and reasons and beats and told and "alive" in tails else {}
