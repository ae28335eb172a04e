"""Floods: hundreds of thousands of strangers' names, and memory stays within what the limits say."""

import gc
import socket

import psutil

from atmost.collector.daemon import CollectorDaemon
from atmost.collector.options import CollectorOptions
from tests.collector.daemon.scene import QUIET, Collector
from tests.collector.scene import T0, feed_statsd, make_state, message, session
from tests.real import until

SMALL = {
    "max_series": 200,
    "max_statsd_series": 200,
    "max_series_per_sender": 50,
    "max_histograms": 10,
    "max_senders": 100,
    "max_heartbeats": 100,
    "max_log_records": 500,
    "max_log_bytes": 1 << 20,
    "max_rejected": 50,
}


def test_a_hundred_thousand_tags_names_senders_and_lines():
    """Each beyond its limit is counted, and what the process needs does not grow with them."""
    state = make_state(**SMALL)
    gc.collect()
    before = psutil.Process().memory_info().rss
    for block in range(1000):
        lines = [f"m:1|{'c' if n % 2 else 'ms'}|#tag:{block}-{n}" for n in range(100)]
        feed_statsd(state, "\n".join(lines), T0 + block / 100)
        feed_statsd(state, f"bad{block}", T0 + block)
        by = session(f"sender-{block}", block + 1)
        for number in range(10):
            state.feed(message(f"metrics.m{block}-{number}", 1.0, by=by), T0 + block / 100, block / 100)
            state.feed(message("logs.app", {"message": "x" * 500, f"field{block}": "y"}, by=by), T0, block / 100)
            state.feed(message(f"heartbeats.w{block}-{number}", {"number": 0, "interval": 1.0}, by=by), T0, block / 100)
        if block % 100 == 0:
            state.tick(T0 + block / 100, block / 100)
    gc.collect()
    grown = psutil.Process().memory_info().rss - before
    assert grown < 32 << 20
    limits = {limit.name: limit for limit in state.limits()}
    for name in ("series", "statsd_series", "statsd_histograms", "log_records", "heartbeats"):
        assert limits[name].used <= limits[name].max
        assert limits[name].hit > 0
    assert limits["log_bytes"].used <= limits["log_bytes"].max
    assert len(state.rejected.latest()) <= 50
    assert len(state.heartbeats.rows(T0, 0.0)) <= 100


def test_a_flood_of_datagrams_does_not_hide_the_collector():
    """It answers while it is flooded from three sides, and counts what it took and what the kernel dropped."""
    options = CollectorOptions(
        **QUIET
        | SMALL
        | {"statsd": ("127.0.0.1:0",), "syslog": ("127.0.0.1:0",), "gelf": ("127.0.0.1:0",), "http": "127.0.0.1:0"}
    )
    with CollectorDaemon(options, environment={}) as daemon, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        collector = Collector(daemon)
        ports = [collector.port(kind) for kind in ("statsd", "syslog", "gelf")]
        for number in range(20_000):
            sock.sendto(b"%d:1|c|#x:%d" % (number, number), ("127.0.0.1", ports[0]))
            if number % 10 == 0:
                sock.sendto(b"<13>1 - - app%d - - - line" % number, ("127.0.0.1", ports[1]))
                sock.sendto(b"\x1e\x0f%08d\x00\x02x" % number, ("127.0.0.1", ports[2]))
            if number % 5000 == 0:
                assert collector.get("/healthz")[0] == 200
        until(lambda: sum(each.received + (each.kernel_drops or 0) for each in daemon.state.listeners) >= 24_000)
        assert daemon.defects == 0
        limits = {each["name"]: each for each in collector.json("/api/v1/overview")["memory"]["limits"]}
        assert limits["statsd_series"]["used"] == 200
        assert collector.get("/metrics")[0] == 200
