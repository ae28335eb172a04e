"""What loss does to metrics: the same increments through links that lose, by `atmost.Metrics` and by StatsD.

    python -m benchmarks.loss_metrics [--loss 0 1 5 30 60] [--seconds 6] [--seed 1] [--json]

Real senders and receivers over UDP on loopback, each through a link of its own with the same faults and seed: loss, 5 %
duplicates, 10 % reordered. Twenty counters, a gauge and a histogram change all the time; then the link heals, and after
the ten seconds in which every series is repeated the totals are compared with the truth.
StatsD is the `statsd` package with its defaults, one datagram per increment; its receiving side adds up what arrives.
"""

from __future__ import annotations

import math
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import statsd

import atmost
from benchmarks.common import arguments, show
from benchmarks.lossy_path import LossyPath

COUNTERS = 20
INTERVAL = 0.05
"""Seconds between snapshots, so that some seconds hold many."""
REPEAT = 10.5
_LINE = re.compile(rb"([\w.]+):([-+.\w]+)\|([cg])")


class StatsdSide:
    """Adds up what a StatsD server would."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(0.05)
        self.totals: Counter[str] = Counter()
        self.gauges: list[float] = []

    def take(self, until: Callable[[], bool]) -> None:
        """Reads until it is stopped."""
        while not until():
            try:
                data = self.sock.recv(65_536)
            except TimeoutError:
                continue
            for name, value, kind in _LINE.findall(data):
                if kind == b"c":
                    self.totals[name.decode()] += int(value)
                else:
                    self.gauges.append(float(value))


def main() -> None:
    """Runs every loss rate in turn, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--loss", type=float, nargs="+", default=[0, 1, 5, 30, 60], help="percent (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="seconds with faults at each loss rate (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the faults and the measured values (%(default)s)")
    options = parser.parse_args()
    rows = [run(loss / 100, options.seconds, options.seed) for loss in options.loss]
    titles = {
        "loss_%": "loss %",
        "wrong_totals": "wrong totals",
        "statsd_error_%": "StatsD error %",
        "statsd_worst_%": "StatsD worst %",
        "gauge_error_%": "gauge mean error %",
        "gauge_skew_%": "of it skew %",
        "statsd_gauge_%": "StatsD's mean error %",
        "histogram_missing": "observations missing",
        "lost": "snapshots lost, reader",
        "link_lost": "link",
        "completeness": "completeness",
        "link_completeness": "link",
    }
    show(rows, as_json=options.json, titles=titles)


def run(loss: float, seconds: float, seed: int) -> dict[str, float]:
    """Measures one loss rate."""
    receiver, other = atmost.Receiver("udp://127.0.0.1:0"), StatsdSide()
    path = LossyPath(receiver.url, loss, seed)
    other_path = LossyPath(f"udp://127.0.0.1:{other.sock.getsockname()[1]}", loss, seed)
    reader, ended = atmost.MetricsReader(now=time.monotonic()), threading.Event()

    def read() -> None:
        while not ended.is_set():
            event = receiver.next_event(0.05)
            if event is not None:
                reader.feed(event, time.monotonic())

    threads = [threading.Thread(target=read), threading.Thread(target=other.take, args=(ended.is_set,))]
    for thread in threads:
        thread.start()
    measured = measure(path.link.url, other_path.link.address, seconds, Random(seed), [path, other_path])
    time.sleep(3.0)
    account = path.end()
    other_path.end()
    ended.set()
    for thread in threads:
        thread.join()
    now = time.monotonic()
    result = compare(reader, other, measured, now) | {"loss_%": loss * 100, "link_lost": account.dropped_messages}
    result["link_completeness"] = account.forwarded_messages / account.received_messages
    receiver.close()
    other.sock.close()
    return result


def measure(
    url: str, address: tuple[str, int], seconds: float, chance: Random, paths: list[LossyPath]
) -> dict[str, Any]:
    """Does the work that is measured, both ways; returns the truth."""
    sender = atmost.Sender(url, name="bench", max_datagram=1432)
    metrics = atmost.Metrics(sender, INTERVAL)
    client = statsd.StatsClient(*address)
    depths: list[float] = []
    truth: Counter[str] = Counter()

    def depth() -> float:
        value = 10 + 5 * math.sin(len(depths) / 7) + random.random()
        depths.append(value)
        client.gauge("depth", value)
        return value

    counters = [metrics.counter(f"c{number}_total") for number in range(COUNTERS)]
    latency = metrics.histogram("latency_seconds", unit="seconds")
    metrics.gauge("depth", callback=depth)
    began, observed = time.monotonic(), 0
    while time.monotonic() < began + seconds:
        for _ in range(4):
            # Some counters move all the time, others hardly ever.
            number = int(COUNTERS * chance.random() ** 3)
            counters[number].inc()
            client.incr(f"c{number}_total")
            truth[f"c{number}_total"] += 1
            latency.observe(chance.randrange(1, 40) / 1000)  # few enough buckets that every snapshot is one part
            observed += 1
        time.sleep(0.002)
    for path in paths:
        path.heal()
    time.sleep(REPEAT)
    metrics._rhythm.stop()  # noqa: SLF001  no last snapshot: healing must not depend on it
    return {"truth": truth, "depths": depths, "observed": observed, "metrics": metrics, "sender": sender}


def compare(reader: atmost.MetricsReader, other: StatsdSide, measured: dict[str, Any], now: float) -> dict[str, float]:
    """The errors of both."""
    truth: Counter[str] = measured["truth"]
    wrong = sum(reader.total(name) != count for name, count in truth.items())
    errors = [abs(other.totals[name] - count) / count for name, count in truth.items()]
    mean = sum(measured["depths"]) / len(measured["depths"])
    seen = reader.window("depth", 120, now)
    [source] = reader.sources(now)
    assert seen.mean is not None
    # Snapshot n had the gauge's nth value: arrivals are known by number, and each must count once.
    gone = {each.snapshot for each in source.missing}
    came = [value for number, value in enumerate(measured["depths"]) if number not in gone]
    return {
        "wrong_totals": wrong,
        "statsd_error_%": 100 * abs(sum(other.totals.values()) - truth.total()) / truth.total(),
        "statsd_worst_%": 100 * max(errors),
        "gauge_error_%": 100 * abs(seen.mean - mean) / mean,
        "gauge_skew_%": 100 * abs(seen.mean - sum(came) / len(came)) / mean,
        "statsd_gauge_%": 100 * abs(sum(other.gauges) / len(other.gauges) - mean) / mean,
        "histogram_missing": measured["observed"] - (reader.total("latency_seconds") or 0),
        "lost": source.lost + source.parts_lost,
        "completeness": seen.received / (seen.received + seen.lost),
    }


if __name__ == "__main__":
    main()
