"""Heartbeats over a link that loses a quarter: lost beats raise no alarm, and a job reports how it ended."""

import threading
import time
from contextlib import suppress
from random import Random

import atmost
from atmost.heartbeats import watch
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.link import Link


def work() -> None:
    """Runs a worker that ends in order, and within it a job that fails."""
    with atmost.Sender(link.url, name="shop") as sender, atmost.Heartbeat(sender, "worker-7", interval=0.1):
        time.sleep(3)
        with suppress(RuntimeError), atmost.Heartbeat(sender, "nightly-report", interval=0.1):
            raise RuntimeError("no paper")


faults = FaultRules(LinkFaults(loss=0.25, duplicate=0.1), Random(7))
with atmost.Receiver("udp://127.0.0.1:0") as receiver, Link(receiver.url, faults) as link:
    worker = threading.Thread(target=work)
    worker.start()
    threading.Thread(target=link.run, args=(lambda: not worker.is_alive(),)).start()
    for change in watch(receiver, atmost.HeartbeatMonitor(), seconds=5):
        print(f"{change.name}: {change.before} → {change.state}, {change.verdict}")
    worker.join()
