"""The server itself: slow and silent connections free their places, too many are turned away, nothing grows."""

import asyncio
import contextlib
import json
import socket
import time

import pytest

from atmost.collector import http
from atmost.collector.http import PATIENCE, Sweeper
from tests.collector.daemon.scene import collecting
from tests.real import BOUND, until


class Transport:
    """What a sweep looks at."""

    def __init__(self):
        self.unsent, self.aborted = 0, False

    def get_write_buffer_size(self):
        return self.unsent

    def abort(self):
        self.aborted = True


class Cycle:
    response_complete = False


class Connection:
    """A connection in any state."""

    def __init__(self):
        self.transport, self.cycle = Transport(), None


def everything(sock):
    """What comes until the other end closes."""
    return b"".join(iter(lambda: sock.recv(65_536), b""))


def swept(sweeper, connection, seconds, each=lambda second: None):
    """Whether a connection is ended within so many seconds."""
    for second in range(seconds):
        each(second)
        sweeper.sweep(float(second))
        if connection.transport.aborted:
            return True
    return False


def test_a_connection_that_asks_nothing_is_ended():
    """It holds a place that others may need."""
    connection = Connection()
    sweeper = Sweeper({connection})
    assert not swept(sweeper, connection, round(PATIENCE))
    assert swept(sweeper, connection, round(2 * PATIENCE))
    assert sweeper.cut == {"slow_request": 1}


def test_an_answer_that_is_not_taken_ends_it():
    """Unless it is taken, however slowly."""
    slow, stuck = Connection(), Connection()
    for each in (slow, stuck):
        each.cycle, each.transport.unsent = Cycle(), 1_000_000

    def read(second):
        slow.transport.unsent -= 1000

    sweeper = Sweeper({slow, stuck})
    assert swept(sweeper, stuck, 30, read)
    assert not slow.transport.aborted
    assert sweeper.cut == {"slow_reader": 1}


def test_a_long_stream_that_is_read_goes_on():
    """Its request is under way, and it owes nothing."""
    connection = Connection()
    connection.cycle = Cycle()
    assert not swept(Sweeper({connection}), connection, 100)


def test_the_sweep_goes_round(monkeypatch):
    """Once a second, in the server's loop."""
    monkeypatch.setattr(http, "EVERY", 0.01)
    monkeypatch.setattr(http, "PATIENCE", 0.02)
    connection = Connection()

    async def scene():
        task = asyncio.ensure_future(Sweeper({connection}).run())
        async with asyncio.timeout(20):
            while not connection.transport.aborted:  # noqa: ASYNC110  it sets no event
                await asyncio.sleep(0.005)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(scene())


def test_slow_clients_free_their_places(monkeypatch):
    """Silent ones, and those that send half a request; the collector answers others meanwhile and afterwards."""
    monkeypatch.setattr(http, "EVERY", 0.05)
    monkeypatch.setattr(http, "PATIENCE", 0.3)
    with collecting(http="127.0.0.1:0") as collector:
        with contextlib.ExitStack() as stack:
            slow = []
            for opening in (b"", b"GET / HTTP/1.1\r\nHost: local"):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", collector.port("http")), BOUND))
                sock.sendall(opening)
                slow.append(sock)
            assert collector.get("/healthz")[0] == 200
            for sock in slow:
                with contextlib.suppress(ConnectionResetError):
                    assert sock.recv(1000) == b""
        until(lambda: collector.daemon.http.counts["http_slow_requests"] >= 2)


def test_more_connections_than_allowed_are_turned_away():
    """And the others are served; a place that is free again serves again."""
    with collecting(http="127.0.0.1:0") as other:
        assert other.get("/healthz")[0] == 200
    from atmost.collector.daemon import CollectorDaemon
    from atmost.collector.options import CollectorOptions
    from tests.collector.daemon.scene import QUIET, Collector

    options = CollectorOptions(**QUIET | {"http": "127.0.0.1:0", "max_connections": 4})
    with CollectorDaemon(options, environment={}) as daemon:
        collector = Collector(daemon)
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", collector.port("http")), BOUND))
                sock.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert sock.recv(10) == b"HTTP/1.1 2"
            assert collector.get("/")[0] == 503
            assert collector.get("/healthz")[0] == 200
        until(lambda: collector.get("/")[0] == 200)


def test_silent_connections_beyond_the_bound_are_cut_off(monkeypatch):
    """They would take every file descriptor there is; who is served keeps his place, and each that goes is counted."""
    monkeypatch.setattr(http, "ROOM", 2)
    with collecting(http="127.0.0.1:0", max_connections=4) as collector, contextlib.ExitStack() as stack:
        reader = stack.enter_context(socket.create_connection(("127.0.0.1", collector.port("http")), BOUND))
        reader.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert reader.recv(10) == b"HTTP/1.1 2"
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", collector.port("http")), BOUND))
            for _ in range(15)
        ]
        for sock in silent[:10]:  # those that have waited longest
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1000) == b""
        assert collector.daemon.http.counts["http_refused"] == 10
        assert reader.recv(10)
        silent[-1].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, _, body = everything(silent[-1]).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"content-security-policy" in head
        assert json.loads(body)["error"]["code"] == "busy"


def test_what_is_no_http_gets_the_error_of_the_interface():
    """With the headers that are on every answer; counted, and no line in the log for each."""
    with collecting(http="127.0.0.1:0") as collector:
        for request in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", collector.port("http")), BOUND) as sock:
                sock.sendall(request)
                head, _, body = everything(sock).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400")
            assert b"content-security-policy" in head
            assert b"nosniff" in head
            assert json.loads(body)["error"]["code"] == "malformed_request"
        assert collector.daemon.http.counts["http_refused"] == 2


def test_nonsense_behind_a_request_ends_the_connection(caplog):
    """Also while its answer is under way, or has been given; nothing of it is a fault of the collector's."""
    with collecting(http="127.0.0.1:0") as collector:
        chunked = b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        for together in (True, False):
            for line in (b"GET /api/v1/stream", b"POST /"):
                with socket.create_connection(("127.0.0.1", collector.port("http")), BOUND) as sock:
                    sock.sendall(line + chunked + (b"nonsense\r\n" if together else b""))
                    if not together:
                        assert sock.recv(10).startswith(b"HTTP/1.1 ")
                        sock.sendall(b"nonsense\r\n")
                    with contextlib.suppress(ConnectionResetError):
                        everything(sock)
        assert collector.get("/healthz")[0] == 200
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []


def test_a_request_of_any_size_is_refused():
    """A head beyond 16 KB; a body is not read."""
    with collecting(http="127.0.0.1:0") as collector:
        for request in (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
            b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"nonsense\r\n\r\n",
        ):
            with (
                socket.create_connection(("127.0.0.1", collector.port("http")), BOUND) as sock,
                contextlib.suppress(ConnectionError),
            ):
                sock.sendall(request)
                assert sock.recv(1000).startswith(b"HTTP/1.1 4")
        with socket.create_connection(("127.0.0.1", collector.port("http")), BOUND) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000)
            assert sock.recv(1000).startswith(b"HTTP/1.1 405")
        assert collector.get("/healthz")[0] == 200


def test_it_stops_with_streams_open():
    """Within seconds; the reader sees the end."""
    with collecting(http="127.0.0.1:0") as collector:
        sock = socket.create_connection(("127.0.0.1", collector.port("http")), BOUND)
        sock.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(10) == b"HTTP/1.1 2"
        began = time.monotonic()
    with sock, contextlib.suppress(ConnectionResetError):
        while sock.recv(65_536):
            pass
    assert time.monotonic() - began < BOUND


def test_what_cannot_be_served_is_told():
    """A name that does not resolve, an address that this host has not."""
    from atmost import AddressError, BindError
    from atmost.collector.options import Place

    with pytest.raises(AddressError, match="cannot resolve"):
        http.bind_http(Place("no-such-host.invalid", 1))
    with pytest.raises(BindError, match="--http off"):
        http.bind_http(Place("192.0.2.1", 7141))


@pytest.mark.needs("ipv6")
def test_ipv6():
    """Its address is in brackets."""
    with collecting(http="[::1]:0") as collector:
        assert collector.places["http"].startswith("http://[::1]:")


def test_a_hundred_and_fifty_that_drip_lock_nobody_out():
    """Each sends a byte now and then: a reader is served, and health is answered, within the default bounds."""
    with collecting(http="127.0.0.1:0") as collector, contextlib.ExitStack() as stack:
        for _ in range(150):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", collector.port("http")), BOUND))
            sock.sendall(b"GET /")
        assert collector.get("/healthz")[0] == 200
        assert collector.get("/api/v1/overview")[0] == 200
        assert collector.daemon.http.counts["http_refused"] >= 80


def test_answers_that_nobody_takes_are_bounded_together(monkeypatch):
    """Beyond the bound nothing more is answered, but health; it is over when the slow readers are cut off."""
    monkeypatch.setattr(http, "MAX_UNSENT", 1 << 18)
    monkeypatch.setattr(http, "PATIENCE", 0.5)
    monkeypatch.setattr(http, "EVERY", 0.05)
    with collecting(http="127.0.0.1:0", gelf=("127.0.0.1:0",)) as collector, contextlib.ExitStack() as stack:
        message = json.dumps({"version": "1.1", "host": "h", "short_message": "x" * 30_000}).encode()
        for number in range(60):
            collector.send("gelf", message)
            collector.took("gelf", number + 1)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", collector.port("http")))
            sock.sendall(b"GET /api/v1/logs?limit=5000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: collector.get("/api/v1/overview")[0] == 503)
        assert collector.get("/healthz")[0] == 200
        until(lambda: collector.get("/api/v1/overview")[0] == 200)
        assert collector.daemon.http.counts["http_slow_readers"] >= 1
