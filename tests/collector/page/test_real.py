"""The page and `atmost top` on the real collector, with real senders over real sockets."""

import logging
import re
import signal
import socket

import pytest

import atmost
from atmost.lab.faults import DROPPED, PASSED
from tests.cli.commands import run, start
from tests.cli.test_listen import through_a_link
from tests.collector.page.test_connection import GONE, is_live
from tests.collector.page.test_logs import lines
from tests.real import program, until

__all__ = ["run", "start"]

pytestmark = pytest.mark.needs("chromium")

BEATS = """
import sys, atmost
sender = atmost.Sender(sys.argv[1], name="mortal")
atmost.Heartbeat(sender, "mortal", interval=0.1).start()
print("beating", flush=True)
sys.stdin.read()
"""


class Collector:
    """`atmost collect` on free ports."""

    def __init__(self, start, **ports):
        places = {
            "--bind": "udp://127.0.0.1:0",
            "--http": "127.0.0.1:0",
            "--statsd": "127.0.0.1:0",
            "--syslog": "127.0.0.1:0",
        }
        self.command = start("collect", *[word for pair in (places | ports).items() for word in pair], "--gelf", "off")
        self.at = {}
        self.command.until(self._told)

    def _told(self):
        told = re.findall(
            r"^\s+(atmost|statsd|syslog|page)\s+(\S+)", "".join(self.command.out + self.command.err), re.MULTILINE
        )
        self.at = dict(told)
        return {"atmost", "statsd", "syslog", "page"} <= self.at.keys()


def udp(place):
    """Host and port of an address."""
    host, _, port = place.removeprefix("udp://").rpartition(":")
    return host, int(port)


def test_what_real_senders_say(start, run, visit):
    """Readings of two protocols, a line lost on the way as a hole in place, syslog, a rejected line, the balanced account, and the same in `atmost top`."""
    collector = Collector(start)
    page = visit(collector.at["page"])
    is_live(page)
    with (
        through_a_link(collector.at["atmost"], lambda datagram: DROPPED if b"astray" in datagram else PASSED) as url,
        atmost.Sender(url, name="checkout-1", linger=0) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        logger = logging.getLogger("shop")
        logger.setLevel(logging.INFO)
        handler = atmost.LogHandler(sender)
        logger.addHandler(handler)
        for text in ("before", "astray", "after"):
            logger.info(text)
        until(lambda: any("1 lost here (1 INFO)" in line for line in lines(page)))
        until(lambda: [line.split(" process=")[0] for line in lines(page)][::2] == ["shop before", "shop after"])
        metrics = atmost.Metrics(sender, interval=0.2)
        metrics.gauge("queue_length", "Waiting").set(42)
        client.sendto(b"cart.hits:3|c\ncart.size:many|g", udp(collector.at["statsd"]))
        client.sendto(b"<13>Oct 11 22:14:15 web-9 su: hello from syslog", udp(collector.at["syslog"]))
        until(lambda: page.locator(".chart-card").count() == 3)  # of all loss, and of each family
        until(lambda: page.inner_text("article[aria-label='queue_length'] .last") == "42")
        until(lambda: any("hello from syslog" in line for line in lines(page)))
        until(lambda: "cart.size:many|g" in page.inner_text("#rejected-body"))
        until(lambda: page.locator("#senders tbody tr").count() == 1)
        until(lambda: "1 in flight" in page.inner_text("#senders tbody"))
        until(lambda: page.locator(".ledger[data-balanced=true]").count() == 1)
        assert page.locator(".identity[data-holds=false]").count() == 0
        shown = run("top", "--once", "--collector", collector.at["page"])
        assert (shown.status, shown.err) == (0, "")
        assert "-- 1 lost here (1 INFO) of checkout-1" in shown.out
        assert re.search(r"^checkout-1 .* in flight 1 ", shown.out, re.MULTILINE)
        logger.removeHandler(handler)
        handler.close()
        metrics.close()


def test_a_life_that_ends_and_a_collector_that_starts_anew(start, visit):
    """A killed process is down, its successor is up; and after a restart of the collector the page goes on by itself."""
    collector = Collector(start)
    page = visit(collector.at["page"], tolerated=GONE)
    is_live(page)
    card = page.locator(".card", has_text="mortal")
    with program(BEATS, collector.at["atmost"]) as mortal:
        assert mortal.line() == "beating"
        until(lambda: card.count() == 1 and card.get_attribute("data-state") == "up")
        mortal.kill()
        until(lambda: card.get_attribute("data-state") == "down")
        assert "silent for" in card.inner_text()
    with program(BEATS, collector.at["atmost"]) as successor:
        assert successor.line() == "beating"
        until(lambda: card.get_attribute("data-state") == "up")
        collector.command.end(signal.SIGTERM)
        until(lambda: page.inner_text("#link-status") == "Not connected")
        ports = {"--bind": collector.at["atmost"], "--http": collector.at["page"].split("/")[2]}
        again = Collector(start, **ports)
        assert again.at["page"] == collector.at["page"]
        is_live(page)
        until(lambda: card.count() == 1 and card.get_attribute("data-state") == "up")
