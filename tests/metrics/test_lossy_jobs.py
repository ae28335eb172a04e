"""Short jobs over a link that loses a tenth: what the reader says of its totals against what the jobs counted themselves."""

import time
from random import Random

import pytest

from atmost import MetricsReader, Receiver
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.link import Link
from tests.real import program, until

JOBS = """
import os, sys, atmost

url, jobs, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
sender = atmost.Sender(url, name="job")
metrics = atmost.Metrics(sender, 3600)
counter = metrics.counter("done_total")
latency = metrics.histogram("job_seconds")
running = []
for number in range(jobs):
    pid = os.fork()
    if pid == 0:
        for _ in range(20):
            counter.inc()
            latency.observe(0.5)
        if how == "close":
            metrics.close()
            sender.close()
        elif how == "close_all":
            atmost.close_all(0.2)
        os._exit(0)
    running.append(pid)
    if len(running) == 10:
        for each in running:
            os.waitpid(each, 0)
        running.clear()
for each in running:
    os.waitpid(each, 0)
os._exit(0)
"""


def count(jobs, how, loss):
    """Runs the jobs over a link; returns the reader, when nothing is on its way any more."""
    rules = FaultRules(LinkFaults(loss=loss, duplicate=0.02), Random(11))
    with Receiver("udp://127.0.0.1:0", grace=0.2) as receiver, Link(receiver.url, rules) as link:
        reader = MetricsReader(now=time.monotonic(), grace=0.5)

        def turn():
            link.step(0.005)
            while (event := receiver.next_event(0)) is not None:
                reader.feed(event, time.monotonic())

        with program(JOBS, link.url, jobs, how) as running:
            until(lambda: turn() or running.process.poll() is not None)
        settled = time.monotonic() + 1.5
        until(lambda: turn() or time.monotonic() > settled)
        return reader


@pytest.mark.parametrize("how", ["close", "close_all"])
def test_a_hundred_jobs_over_ten_percent_loss(how):
    """2,000 of 2,000, and nothing in doubt: the last snapshot of each arrives with one of its repeats."""
    reader = count(100, how, 0.1)
    now = time.monotonic()
    total, observed = reader.total_of("done_total", now), reader.total_of("job_seconds", now)
    assert (total.value, observed.value) == (2000, 2000)
    assert (total.completeness, observed.completeness) == (1.0, 1.0)


def test_jobs_over_a_link_that_loses_most():
    """Whatever is missing, the total never stands there as complete: at 70 % some jobs lose all of their repeats."""
    reader = count(60, "close", 0.7)
    total = reader.total_of("done_total", time.monotonic())
    assert total.value is not None
    assert total.value < 1200
    assert (total.completeness, total.reasons) == (None, ("tail_unknown",))
