"""The servers that Python services live in, for real: totals against the clients' own counts, and every session says goodbye."""

import concurrent.futures
import contextlib
import http.client
import json
import socket
import sysconfig
from pathlib import Path

import pytest

import atmost
from tests.real import until
from tests.services import SCRIPTS, fetch, free_port, observing, serving, settles

SHOP = """
import atmost
from atmost.integrations.wsgi import WsgiMiddleware

metrics = atmost.Metrics(atmost.Sender())
orders = metrics.counter("orders_total", "Orders taken.")

def shop(environ, start_response):
    orders.inc()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"taken"]

app = WsgiMiddleware(shop, metrics, route=lambda environ: "/orders")
"""
ASGI_SHOP = """
import atmost
from atmost.integrations.asgi import AsgiMiddleware
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

metrics = atmost.Metrics(atmost.Sender())
orders = metrics.counter("orders_total", "Orders taken.")

async def shop(request):
    orders.inc()
    return PlainTextResponse("taken")

app = AsgiMiddleware(Starlette(routes=[Route("/{path:path}", shop)]), metrics)
"""
EVENTLET = """
import signal, sys
import eventlet
eventlet.monkey_patch()
import eventlet.wsgi
from shop import app

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
eventlet.wsgi.server(eventlet.listen(("127.0.0.1", int(sys.argv[1]))), app, log_output=False)
"""
REQUESTS, CLIENTS = 300, 4
WORKERS = 3
RECYCLED = "7"
"""Requests after which a worker is replaced."""
READY = """
def post_worker_init(worker):
    print("a worker is ready", flush=True)
"""
GUNICORN = ["gunicorn", "--config", "ready.py", "--bind", "127.0.0.1:{port}", "--workers", str(WORKERS),
            "--no-control-socket", "shop:app"]  # fmt: skip
UVICORN = ["uvicorn", "--port", "{port}", "--log-level", "warning", "shop:app"]
UWSGI = ["uwsgi", "--plugin", "python3", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", "3",
         "--die-on-term", "--stats", "127.0.0.1:{stats}", "--module", "shop:app", "--pythonpath", sysconfig.get_path("purelib"),
         "--pythonpath", str(Path(atmost.__file__).parents[1])]  # fmt: skip
GEVENT = ["--enable-threads", "--plugin", "gevent_python3", "--gevent", "20"]
WSGI_SERVERS = {
    "gunicorn-sync": GUNICORN,
    "gunicorn-preload": [*GUNICORN, "--preload"],
    "gunicorn-gthread": [*GUNICORN, "--worker-class", "gthread", "--threads", "4"],
    "gunicorn-max-requests": [*GUNICORN, "--max-requests", RECYCLED],
    "gunicorn-gevent": [*GUNICORN, "--worker-class", "gevent"],
    "gunicorn-gevent-preload": [*GUNICORN, "--worker-class", "gevent", "--preload"],
    "eventlet": ["python", "eventlet_server.py", "{port}"],
    "uwsgi": UWSGI,
    "uwsgi-lazy": [*UWSGI, "--lazy-apps"],
    "uwsgi-threads": [*UWSGI, "--enable-threads", "--threads", "3"],
    "uwsgi-fork-hooks": [*UWSGI, "--enable-threads", "--py-call-uwsgi-fork-hooks"],
    "uwsgi-max-requests": [*UWSGI, "--enable-threads", "--max-requests", RECYCLED, "--min-worker-lifetime", "0"],
    "uwsgi-no-teardown": [*UWSGI, "--skip-atexit-teardown"],
    "uwsgi-gevent": [*UWSGI, *GEVENT, "--gevent-monkey-patch"],
    "uwsgi-gevent-early": [*UWSGI, *GEVENT, "--gevent-early-monkey-patch"],
}
ASGI_SERVERS = {
    "uvicorn": UVICORN,
    "uvicorn-asyncio": [*UVICORN, "--loop", "asyncio"],
    "uvicorn-uvloop": [*UVICORN, "--loop", "uvloop"],
    "uvicorn-workers": [*UVICORN, "--workers", "3"],
    "uvicorn-max-requests": [*UVICORN, "--limit-max-requests", "100000"],
}
QUICK = {"gunicorn-sync", "uvicorn"}


def command(server, port, stats=0):
    """How to start a server, from this environment or the system."""
    ports = {"{port}": str(port), "{stats}": str(stats)}
    program, *arguments = [
        part.replace("{port}", ports["{port}"]).replace("{stats}", ports["{stats}"])
        for part in (WSGI_SERVERS | ASGI_SERVERS)[server]
    ]
    own = SCRIPTS / program
    return [own if own.exists() else program, *arguments]


def are_ready(server, stats):
    """Whether every worker of a uWSGI serves and none is being recycled: one that is told to end meanwhile may not hear it, whatever it runs."""
    most = float(RECYCLED) if server.endswith("max-requests") else float("inf")
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", stats), 1) as connection:
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        workers = json.loads(answer)["workers"]
        return all(
            worker["accepting"] and worker["status"] == "idle" and worker["delta_requests"] < most for worker in workers
        )
    return False


def order(port, count):
    """Orders so often, over a connection each; returns how many answers came."""
    taken = 0
    for _ in range(count):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with contextlib.closing(connection), contextlib.suppress(http.client.HTTPException, ConnectionError):
            connection.request("GET", "/anything")
            taken += connection.getresponse().read() == b"taken"
    return taken


def marks(server):
    """What a test of this server needs, and whether it is slow."""
    wanted = [] if server in QUICK else [pytest.mark.slow]
    return [*wanted, pytest.mark.needs("uwsgi")] if server.startswith("uwsgi") else wanted


@pytest.mark.parametrize("server", [pytest.param(one, marks=marks(one)) for one in (*WSGI_SERVERS, *ASGI_SERVERS)])
def test_totals_are_those_of_the_clients(server, tmp_path):
    """Whatever the workers are, and however they end: nothing is counted twice, nothing is missing, and all say goodbye."""
    (tmp_path / "shop.py").write_text(ASGI_SHOP if server in ASGI_SERVERS else SHOP)
    (tmp_path / "ready.py").write_text(READY)
    (tmp_path / "eventlet_server.py").write_text(EVENTLET)
    port, stats = free_port(), free_port()
    with observing() as observer:
        with serving(*command(server, port, stats), cwd=tmp_path, port=port, ATMOST_URL=observer.url):
            if server.startswith("gunicorn"):  # a worker that is told to end before it is ready does not hear it
                until(lambda: (tmp_path / "output").read_text().count("a worker is ready") >= WORKERS)
            each = REQUESTS // CLIENTS
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
                taken = sum(clients.map(lambda _: order(port, each), range(CLIENTS)))
            assert taken > REQUESTS * 0.9
            assert fetch(port, "/once")[0] == 200
            if server.startswith("uwsgi"):
                until(lambda: are_ready(server, stats))
        settles(lambda: observer.total("orders_total"), taken + 1)
        settles(lambda: observer.total("http_requests_total", status="200"), taken + 1)
        settles(observer.is_quiet, wanted=True)


LOADED = """
import logging, os, random
import atmost

metrics = atmost.Metrics(interval=0.2)
loads, orders = metrics.counter("loads_total"), metrics.counter("orders_total")
loads.inc()
logging.getLogger().addHandler(atmost.LogHandler())
logging.getLogger().setLevel("INFO")
for number in range(5):
    logging.info("loading %d", number)
beat = atmost.Heartbeat(None, "shop", interval=0.2).start()
hints = atmost.Invalidator(os.environ["HINTS"], interval=0.2)
hints.invalidate("price")
cache = atmost.HintedCache(max_ttl=300, receiver=os.environ["HINTS"])

def app(environ, start_response):
    orders.inc()
    logging.info("taken")
    cache.get_or_load("price", random.random)
    start_response("200 OK", [])
    return [b"taken"]
"""
LOADING = {
    "uwsgi": UWSGI,
    "uwsgi-threads": [*UWSGI, "--enable-threads", "--threads", "3"],
    "uwsgi-fork-hooks": WSGI_SERVERS["uwsgi-fork-hooks"],
    "uwsgi-max-requests": WSGI_SERVERS["uwsgi-max-requests"],
    "uwsgi-gevent": WSGI_SERVERS["uwsgi-gevent"],
    "uwsgi-gevent-early": WSGI_SERVERS["uwsgi-gevent-early"],
}


@pytest.mark.slow
@pytest.mark.needs("uwsgi", "linux")
@pytest.mark.parametrize("server", LOADING)
def test_uwsgi_loads_the_program_without_a_thread(server, tmp_path):
    """What is said while it loads arrives, a heartbeat begins in one worker, and no thread can spoil a fork of the loading process."""
    (tmp_path / "shop.py").write_text(LOADED)
    port, stats, first = free_port(), free_port(), free_port()
    hints = f"udp://127.0.0.1:{first}-{first + 7}"
    with observing() as observer:
        arguments = command(server, port, stats)
        with serving(*arguments, cwd=tmp_path, port=port, ATMOST_URL=observer.url, HINTS=hints) as process:
            until(lambda: are_ready(server, stats))
            names = [path.read_text().strip() for path in Path(f"/proc/{process.pid}/task").glob("*/comm")]
            assert not [name for name in names if name.startswith("atmost")]
            if "gevent" not in server:
                assert len(names) == 1
            taken = order(port, 40)
            until(lambda: observer.subjects["heartbeats.shop"] >= 3 or order(port, 1))
            until(lambda: are_ready(server, stats))
        settles(lambda: observer.total("loads_total"), 1)
        settles(lambda: sum(record.message.startswith("loading") for record in observer.records), 5)
        settles(observer.is_quiet, wanted=True)
        assert taken == 40
        assert observer.total("orders_total") == sum(record.message == "taken" for record in observer.records) >= 40
