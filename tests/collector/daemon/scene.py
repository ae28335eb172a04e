"""A whole collector in this process, on free ports, with real sockets; asked over HTTP."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from atmost.collector.daemon import CollectorDaemon
from atmost.collector.options import CollectorOptions
from atmost.collector.state.listeners import ListenerStats
from tests.real import BOUND, until

QUIET: dict[str, Any] = {"bind": ("off",), "statsd": ("off",), "syslog": ("off",), "gelf": ("off",), "http": "off"}
FREE: dict[str, Any] = {
    "bind": ("udp://127.0.0.1:0",),
    "statsd": ("127.0.0.1:0",),
    "syslog": ("127.0.0.1:0",),
    "gelf": ("127.0.0.1:0",),
    "http": "127.0.0.1:0",
}


class Collector:
    """A daemon, and what it answers."""

    def __init__(self, daemon: CollectorDaemon) -> None:
        self.daemon = daemon
        self.places = dict(daemon.addresses)

    def port(self, where: str | ListenerStats) -> int:
        """Where a protocol is received, or one of several listeners."""
        address = self.places[where] if isinstance(where, str) else where.address
        return int(address.rstrip("/").rpartition(":")[2])

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port("http"), timeout=BOUND)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """The value of an answer."""
        status, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def send(self, where: str | ListenerStats, *datagrams: bytes) -> None:
        """Sends datagrams of a protocol."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for datagram in datagrams:
                sock.sendto(datagram, ("127.0.0.1", self.port(where)))

    def listener(self, kind: str) -> Any:
        """The account of a listener."""
        return next(each for each in self.json("/api/v1/overview")["listeners"] if each["kind"] == kind)

    def took(self, kind: str, count: int) -> None:
        """Waits until a foreign listener has received so many datagrams."""
        stats = next(each for each in self.daemon.state.listeners if each.kind == kind)
        until(lambda: stats.received >= count)
        with self.daemon.state.lock:
            pass


@contextmanager
def collecting(**options: Any) -> Iterator[Collector]:
    """A collector that runs; with nothing but what is named."""
    with CollectorDaemon(CollectorOptions(**QUIET | options), environment={}) as daemon:
        yield Collector(daemon)
