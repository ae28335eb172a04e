"""The HTTP thread: uvicorn with a loop of its own, on a socket bound before, so that a taken port is known at the start.

Connections are bounded in number and in time. uvicorn limits requests but not open connections, so idle ones could use up all
file descriptors. The gate therefore answers a few connections beyond the limit with 503; beyond those, the connection that has
waited longest without a request is closed. Unsent answers are bounded in bytes. A connection that sends no complete request, or
reads no answer, would keep its place forever, so a sweep once a second ends it. Requires the extra `server`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from atmost.collector.options import CollectorOptions, Place, parse_place
from atmost.collector.state.state import CollectorState
from atmost.errors import AddressError, BindError, MissingExtra
from atmost.lifecycle import HERE, Floor, notice_fork, register, unregister

try:
    import h11
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from atmost.collector.api.app import CollectorApp
    from atmost.collector.api.security import HEADERS
    from atmost.collector.api.shapes import ErrorAnswer, ErrorDetail
    from atmost.collector.api.views import Views
    from atmost.collector.prometheus.exporter import Exporter
except ImportError as error:
    raise MissingExtra("server", "the collector's page and API (or switch them off: --http off)") from error

ROOM: Final = 64
"""Connections beyond the limit that are still answered, with 503."""
_encode: Final = msgspec.json.Encoder().encode
_SHARE: Final = 2
"""Idle connections of one peer may take at most 1/2 of the places."""
_LEAST_SHARE: Final = 8
MAX_UNSENT: Final = 32 << 20
"""Bytes of unsent answers, over all connections; beyond it requests are refused."""
PATIENCE: Final = 10.0
"""Time for a complete request, and to read any part of an answer (seconds)."""
EVERY: Final = 1.0
_MOVE: Final = "move the page with --http HOST:PORT, or switch it off with --http off"
_MAX_HEAD: Final = 16_384
"""Longest head of a request (bytes)."""
_KEEP_ALIVE: Final = 15
_GRACE: Final = 2
_BACKLOG: Final = 128
"""Connections that wait in the kernel, and that are accepted in one go."""
_SEND_BUFFER: Final = 1 << 18
"""Kernel buffer for each connection's answers (bytes)."""
_START: Final = 10.0


def make_http(
    state: CollectorState,
    options: CollectorOptions,
    address: str,
    token: str,
    *,
    now: Callable[[], float],
    ready: Callable[[], dict[str, bool]],
    defects: Callable[[], int],
) -> HttpServer:
    """Makes the server of a collector's page, API and exporter; it listens at once, and answers from `start` on.

    Args:
        state: what is shown.
        options: limits and names.
        address: HOST:PORT.
        token: the token that readers must show; empty for none.
        now: seconds since 1970 that never step back.
        ready: what must be true for /readyz, by name.
        defects: internal errors of the collector so far.

    Raises:
        BindError: the port is taken or not permitted.
    """
    place = parse_place(address, "http", path=False)
    assert place is not None
    views = Views(state, now)
    counts: list[HttpServer] = []
    exporter = Exporter(views, lambda: counts[0].counts | {"defects": defects()})
    app = CollectorApp(views, ready=ready, host=place.host, max_streams=options.max_streams, exporter=exporter)
    app.gate.change(token, options.http_hosts)
    server = HttpServer(app, bind_http(place), options.max_connections, local=place.loopback)
    counts.append(server)
    return server


def bind_http(place: Place) -> socket.socket:
    """Opens the listening socket.

    Raises:
        AddressError: the name cannot be resolved.
        BindError: the port is taken or not permitted; the message says how to move it.
    """
    url = f"http://{place.text}"
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise AddressError(url, f"cannot resolve {place.host!r}: {getattr(error, 'strerror', error)}") from None
    family, _, _, _, target = found[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if os.name == "posix":  # connections of the last run may linger; still no second listener can share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER
        )  # inherited by each connection, so that unsent bytes are counted by us
        sock.bind(target)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise BindError(url, f"it is in use: stop the program that serves there, {_MOVE}") from None
        if error.errno == errno.EACCES:
            raise BindError(
                url, f"no permission: ports below 1024 need root or CAP_NET_BIND_SERVICE; {_MOVE}"
            ) from None
        raise BindError(url, f"{error.strerror or error}; {_MOVE}") from None
    sock.setblocking(False)
    return sock


def url_of(sock: socket.socket) -> str:
    """The URL at which a browser on this host finds it."""
    host, port, *_ = sock.getsockname()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class HttpServer:
    """The HTTP server in its thread; it serves until stopped."""

    def __init__(self, app: CollectorApp, sock: socket.socket, max_connections: int, *, local: bool) -> None:
        """Args: app: answers requests. sock: listening; closed with the server. max_connections: at once. local: on loopback."""
        self.url = url_of(sock)
        self.local = local
        self._app = app
        self._sock = sock
        config = uvicorn.Config(
            app,
            http=bounded(max_connections, app.gate.refused),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_GRACE,
            h11_max_incomplete_event_size=_MAX_HEAD,
        )
        self._server = uvicorn.Server(config)
        connections = self._server.server_state.connections
        self._sweeper = Sweeper(connections)
        app.gate.busy = lambda: len(connections) > max_connections or _unsent(connections) > MAX_UNSENT
        self._thread = threading.Thread(target=self._run, name="atmost-http", daemon=True)
        self._started = threading.Event()
        self.failed: BaseException | None = None
        if not HERE[0]:
            notice_fork()
        register(self, Floor.TRANSPORT)

    def start(self) -> None:
        """Starts to answer.

        Raises:
            BindError: the server did not come up.
        """
        self._thread.start()
        if not self._started.wait(_START) or self.failed is not None:
            raise BindError(self.url, f"the HTTP server did not start: {self.failed or 'no answer'}")

    @property
    def running(self) -> bool:
        """Whether it answers."""
        return self._thread.is_alive() and self.failed is None

    @property
    def counts(self) -> dict[str, int]:
        """Counts of requests and of refusals, by kind."""
        cut: Counter[str] = self._sweeper.cut
        streams = self._app.streams
        return {
            "http_requests": self._server.server_state.total_requests,
            "http_refused": sum(self._app.gate.refused.values()),
            "http_slow_requests": cut["slow_request"],
            "http_slow_readers": cut["slow_reader"] + streams.cut,
            "http_streams_refused": streams.refused,
            "http_stream_entries_skipped": streams.skipped,
        }

    def change(self, token: str, hosts: Iterable[str], max_streams: int) -> None:
        """Replaces the token, the accepted host names and the limit on streams."""
        self._app.gate.change(token, hosts)
        self._app.streams.max_streams = max_streams

    def stop(self) -> None:
        """Stops; running streams and requests end within two seconds."""
        self._app.close()
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(_GRACE * 3)
        self._sock.close()
        unregister(self)

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002
        """Closes a forked child's copies of the sockets, so that a connection ends when the collector closes it."""
        connections = self._server.server_state.connections
        while connections:  # each only once, also where an interrupted renewal is taken up again
            connection = connections.pop()
            sock = connection.transport.get_extra_info("socket") if connection.transport is not None else None
            if sock is not None and sock.fileno() >= 0:
                os.close(sock.fileno())
        if self._sock.fileno() >= 0:
            os.close(self._sock.detach())

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  `start` raises it; afterwards `running` is false
            self.failed = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        sweeping = asyncio.ensure_future(self._sweeper.run())
        serving: asyncio.Future[Any] = asyncio.ensure_future(self._server.serve(sockets=[self._sock]))
        while not self._server.started and not serving.done():  # noqa: ASYNC110  uvicorn sets a flag, not an event
            await asyncio.sleep(0.005)
        self._started.set()
        try:
            await serving
        finally:
            sweeping.cancel()


def _unsent(connections: set[Any]) -> int:
    """Bytes of answers not sent yet, over all connections."""
    return sum(each.transport.get_write_buffer_size() for each in list(connections) if each.transport is not None)


class BoundedConnection(H11Protocol):
    """One connection; `bounded` makes the class for a server."""

    most: ClassVar[int]
    refused: ClassVar[Counter[str]]
    made: float = 0.0
    """When it was opened (the loop's clock, seconds)."""
    peer: str = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accepts it; if there are too many, closes the connection that has waited longest without a request.

        Idle connections of one peer may take only a part of the places, so that one peer cannot displace all others.
        """
        self.made = asyncio.get_running_loop().time()
        self.peer = str((transport.get_extra_info("peername") or ("",))[0])
        others = self._others()
        waiting = [other for other in others if other.waits]
        own = [other for other in waiting if other.peer == self.peer]
        if len(others) >= self.most or len(own) >= max(_LEAST_SHARE, self.most // _SHARE):
            if not waiting:
                self.refused["too_many_connections"] += 1
                self.transport = transport
                transport.abort()
                return
            crowd = own if len(own) >= _LEAST_SHARE else waiting
            self.refused["made_room"] += 1
            min(crowd, key=lambda other: other.made).transport.abort()
        super().connection_made(transport)

    @property
    def waits(self) -> bool:
        """Whether no request is being answered: there was none yet, or none since the last answer."""
        return self.cycle is None or self.cycle.response_complete

    def _others(self) -> list[BoundedConnection]:
        """The other open connections, without those that are closing, which are still in uvicorn's set."""
        return [
            other
            for other in self.connections
            if isinstance(other, BoundedConnection) and other.transport is not None and not other.transport.is_closing()
        ]

    def send_400_response(self, msg: str) -> None:
        """Answers a malformed request with 400; if another answer has begun, only closes the connection."""
        self.refused["malformed_request"] += 1
        if self.conn.our_state is not h11.IDLE:
            if self.cycle is not None:
                self.cycle.disconnected = True
            self.transport.abort()
            return
        text = f"{msg.rstrip('.').lower()}: expected HTTP/1.1 with a Host header"
        body = _encode(ErrorAnswer(error=ErrorDetail(code="malformed_request", message=text)))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
            *HEADERS,
        ]
        answer = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        events = (answer, h11.Data(data=body), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()


def bounded(most: int, refused: Counter[str]) -> type[BoundedConnection]:
    """The class of a server's connections.

    Args:
        most: connections served at once.
        refused: counts refused connections and malformed requests.
    """
    return type("Connection", (BoundedConnection,), {"most": most + ROOM, "refused": refused})


class _Seen(NamedTuple):
    """A connection at the last sweep."""

    since: float
    """When it last made progress (the loop's clock, seconds)."""
    cycle: int
    """Identity of the present request; that of None before the first."""
    unsent: int
    """Bytes of answers not sent yet."""


class Sweeper:
    """Ends connections that make no progress."""

    def __init__(self, connections: set[Any]) -> None:
        """Args: connections: the server's, each with `transport` and `cycle`."""
        self._connections = connections
        self._seen: dict[int, _Seen] = {}
        self.cut: Counter[str] = Counter()
        """Connections ended, by reason: `slow_request`, `slow_reader`."""

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            self.sweep(asyncio.get_running_loop().time())

    def sweep(self, now: float) -> None:
        """Checks every connection.

        Args:
            now: seconds on the loop's clock.
        """
        before, self._seen = self._seen, {}
        for connection in list(self._connections):
            transport = connection.transport
            if transport is None:
                continue
            cycle, unsent = connection.cycle, transport.get_write_buffer_size()
            busy = cycle is not None and not cycle.response_complete
            last = before.get(id(connection))
            stuck = last is not None and last.cycle == id(cycle) and (unsent >= last.unsent if unsent else not busy)
            since = last.since if last is not None and stuck else now
            if now - since >= PATIENCE:
                self.cut["slow_reader" if unsent else "slow_request"] += 1
                transport.abort()
            else:
                self._seen[id(connection)] = _Seen(since, id(cycle), unsent)
