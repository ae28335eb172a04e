"""Metrics over a link that loses a third of all datagrams: the totals are right as soon as any later snapshot comes."""

import time
from random import Random

import atmost
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.link import Link

receiver = atmost.Receiver("udp://127.0.0.1:0")
reader = atmost.MetricsReader(now=time.monotonic(), grace=0.2)
with Link(receiver.url, FaultRules(LinkFaults(loss=0.3, duplicate=0.1), Random(7))) as link:
    metrics = atmost.Metrics(atmost.Sender(link.url, name="shop"), interval=0.05)
    requests = metrics.counter("http_requests_total", "Requests served", ("route",))
    latency = metrics.histogram("http_request_seconds", "Time to answer", unit="seconds")
    for number in range(2000):
        requests.labels("/" if number % 3 else "/cart").inc()
        latency.observe(0.001 * (1 + number % 100))
        link.step(0.001)
    while not (reader.total("http_requests_total") == reader.total("http_request_seconds") == 2000):
        link.step(0.01)
        while (event := receiver.next_event(timeout=0)) is not None:
            reader.feed(event, time.monotonic())
time.sleep(0.3)
[source], window = reader.sources(time.monotonic()), reader.window("http_request_seconds", 60, time.monotonic())
print(f"requests: {reader.total('http_requests_total')} of 2000, p99: {window.quantile(0.99):.4f} s")
print(f"snapshots: {source.complete} of {source.snapshots}, lost: {source.lost}")
receiver.close()
