"""Over real sockets and the link that loses, doubles and reorders: totals, completeness and the example."""

import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from atmost import Metrics, MetricsReader, Receiver, Sender
from atmost.lab.faults import PASSED, FaultRules, LinkFaults, Overruled
from atmost.lab.link import Link
from tests.metrics.scene import quiet
from tests.real import environment, until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.3, 0.6])
def test_totals_equal_the_truth_and_completeness_the_links_account(loss):
    """At every rate of loss, with duplicates and reordering: after the link heals nothing is missing from any total."""
    faults = LinkFaults(loss=loss, duplicate=0.1, reorder=0.1, reorder_delay=0.005)
    rules = Overruled(FaultRules(faults, Random(7)))
    with Receiver("udp://127.0.0.1:0") as receiver, Link(receiver.url, rules) as link:
        reader = MetricsReader(now=time.monotonic(), grace=10.0)
        with Sender(link.url, name="web-1", max_datagram=1432) as sender:
            metrics = quiet(Metrics(sender, 1.0))
            counters = metrics.counter("a_total", "", ("n",))
            gauge, histogram = metrics.gauge("g"), metrics.histogram("h")

            def turn(number):
                gauge.set(number)
                metrics.flush()
                sender.flush()
                link.step(0.002)
                while (event := receiver.next_event(0)) is not None:
                    reader.feed(event, time.monotonic())

            for number in range(150):
                counters.labels(number % 7).inc(number)
                histogram.observe(1.0 + number % 5)
                turn(number)
            rules.verdict = PASSED
            for number in range(150, 165):
                turn(number)
            account = until(lambda: (link.step(0.01), link.account().held_datagrams == 0 and link.account())[1])
            until(lambda: turn(165) or reader.total("h") == 150)
        assert reader.total("a_total") == sum(range(150))
        for label in range(7):
            assert reader.total("a_total", {"n": str(label)}) == sum(range(label, 150, 7))
        [source] = reader.sources(time.monotonic() + 30)
        assert source.lost == account.dropped_messages
        assert source.parts_lost == 0
        assert reader.stats().repeated == 0  # the receiver has refused every duplicate


def test_example():
    """It runs, is short, and its total is right."""
    path = ROOT / "examples" / "metrics.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 30
    done = subprocess.run(
        [sys.executable, path], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "requests: 2000 of 2000" in done.stdout
