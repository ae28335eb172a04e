"""The servers that Python services live in, for real: totals against the clients' own counts, and every session says goodbye."""

import concurrent.futures
import contextlib
import http.client
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
REQUESTS, CLIENTS = 300, 4
WORKERS = 3
READY = """
def post_worker_init(worker):
    print("a worker is ready", flush=True)
"""
GUNICORN = ["gunicorn", "--config", "ready.py", "--bind", "127.0.0.1:{port}", "--workers", str(WORKERS),
            "--no-control-socket", "shop:app"]  # fmt: skip
UVICORN = ["uvicorn", "--port", "{port}", "--log-level", "warning", "shop:app"]
UWSGI = ["uwsgi", "--plugin", "python3", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", "3",
         "--die-on-term", "--module", "shop:app", "--pythonpath", sysconfig.get_path("purelib"),
         "--pythonpath", str(Path(atmost.__file__).parents[1])]  # fmt: skip
WSGI_SERVERS = {
    "gunicorn-sync": GUNICORN,
    "gunicorn-preload": [*GUNICORN, "--preload"],
    "gunicorn-gthread": [*GUNICORN, "--worker-class", "gthread", "--threads", "4"],
    "gunicorn-max-requests": [*GUNICORN, "--max-requests", "7"],
    "gunicorn-gevent": [*GUNICORN, "--worker-class", "gevent"],
    "gunicorn-gevent-preload": [*GUNICORN, "--worker-class", "gevent", "--preload"],
    "uwsgi": UWSGI,
    "uwsgi-lazy": [*UWSGI, "--lazy-apps"],
    "uwsgi-threads": [*UWSGI, "--enable-threads", "--threads", "3"],
    "uwsgi-gevent": [*UWSGI, "--plugin", "gevent_python3", "--gevent", "20", "--gevent-monkey-patch"],
}
REPORTED = {
    "uwsgi": "one process does not always end on SIGTERM",
    "uwsgi-lazy": "one process does not always end on SIGTERM",
    "uwsgi-threads": "one session never says goodbye",
    "uwsgi-gevent": "nothing of the workers' counts arrives",
}
"""What is wrong still under uWSGI, which forks in C and whose worker threads are its own."""
ASGI_SERVERS = {
    "uvicorn": UVICORN,
    "uvicorn-asyncio": [*UVICORN, "--loop", "asyncio"],
    "uvicorn-uvloop": [*UVICORN, "--loop", "uvloop"],
    "uvicorn-workers": [*UVICORN, "--workers", "3"],
    "uvicorn-max-requests": [*UVICORN, "--limit-max-requests", "100000"],
}
QUICK = {"gunicorn-sync", "uvicorn"}


def command(server, port):
    """How to start a server, from this environment or the system."""
    program, *arguments = [part.replace("{port}", str(port)) for part in (WSGI_SERVERS | ASGI_SERVERS)[server]]
    own = SCRIPTS / program
    return [own if own.exists() else program, *arguments]


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
    if server in REPORTED:
        wanted.append(pytest.mark.xfail(reason=REPORTED[server], strict=False))
    return [*wanted, pytest.mark.needs("uwsgi")] if server.startswith("uwsgi") else wanted


@pytest.mark.parametrize("server", [pytest.param(one, marks=marks(one)) for one in (*WSGI_SERVERS, *ASGI_SERVERS)])
def test_totals_are_those_of_the_clients(server, tmp_path):
    """Whatever the workers are, and however they end: nothing is counted twice, nothing is missing, and all say goodbye."""
    (tmp_path / "shop.py").write_text(ASGI_SHOP if server in ASGI_SERVERS else SHOP)
    (tmp_path / "ready.py").write_text(READY)
    port = free_port()
    with observing() as observer:
        with serving(*command(server, port), cwd=tmp_path, port=port, ATMOST_URL=observer.url):
            if server.startswith("gunicorn"):  # a worker that is told to end before it is ready does not hear it
                until(lambda: (tmp_path / "output").read_text().count("a worker is ready") >= WORKERS)
            each = REQUESTS // CLIENTS
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
                taken = sum(clients.map(lambda _: order(port, each), range(CLIENTS)))
            assert taken > REQUESTS * 0.9
            assert fetch(port, "/once")[0] == 200
        settles(lambda: observer.total("orders_total"), taken + 1)
        settles(lambda: observer.total("http_requests_total", status="200"), taken + 1)
        settles(observer.is_quiet, wanted=True)
