"""A state without sockets, messages made by hand, and an application that is asked without a network."""

import asyncio
from typing import Any

import httpx

from atmost.collector.options import CollectorOptions
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.state import CollectorState
from atmost.core.events import Arrival, Message, Session
from atmost.ingest import statsd

T0 = 1_767_225_600.0
"""A moment on a slot of every width."""
STATSD = "udp://127.0.0.1:8125"


def make_state(now: float = T0, mono: float = 0.0, **options: Any) -> CollectorState:
    """A state that has seen nothing."""
    return CollectorState(CollectorOptions(**options), now, mono)


def session(name: str = "web-1", number: int = 1) -> Session:
    """A sender's session."""
    one = Session(b"\0\0" + number.to_bytes(8, "big") + number.to_bytes(8, "big"), 0)
    one.name, one.host, one.pid = name, "host-1", 4242
    return one


def message(
    subject: str, payload: Any = None, *, by: Session | None = None, sequence: int = 0, t: float = T0
) -> Message:
    """A message as a receiver yields it."""
    return Message(subject, payload, Arrival(by or session(), sequence, int(t * 1e6), int(t * 1e6)))


def feed_statsd(state: CollectorState, text: str, now: float = T0, peer: str = "127.0.0.1:9") -> ListenerStats:
    """Gives a datagram of StatsD to the state."""
    stats = next((each for each in state.listeners if each.kind == "statsd"), None)
    if stats is None:
        stats = ListenerStats("statsd", STATSD)
        state.listeners.append(stats)
    stats.received += 1
    state.feed_statsd(statsd.parse(text.encode()), stats, peer.rpartition(":")[0], peer, now)
    return stats


class Asked:
    """An application and its state, whose clocks the test sets."""

    def __init__(self, **options: Any) -> None:
        from atmost.collector.api.app import CollectorApp
        from atmost.collector.api.views import Views
        from atmost.collector.prometheus.exporter import Exporter

        self.t, self.mono = T0, 0.0
        self.state = make_state(**options)
        self.views = Views(self.state, lambda: self.t, lambda: self.mono)
        self.checks = {"receiving": True}
        self.exporter = Exporter(self.views)
        self.app = CollectorApp(
            self.views, ready=lambda: self.checks, host="127.0.0.1", max_streams=2, exporter=self.exporter
        )

    def get(self, path: str, method: str = "GET", host: str = "127.0.0.1:7141", **headers: str) -> httpx.Response:
        """What the application answers."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(ask())

    def json(self, path: str) -> Any:
        """The answer's value; it must be one."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    def error(self, path: str) -> Any:
        """The code of the answer's error."""
        answer = self.get(path)
        assert answer.status_code == 400, answer.text
        return answer.json()["error"]["code"]
