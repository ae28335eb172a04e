"""Middleware: requests by route template, their duration, those in progress, and their identity in the logs."""

import asyncio
import logging

import flask
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

import atmost
from atmost.integrations.asgi import AsgiMiddleware
from atmost.integrations.flask import measure
from atmost.integrations.web import UNMATCHED, request_id
from atmost.integrations.wsgi import WsgiMiddleware
from atmost.metrics import Metrics
from tests.real import until
from tests.services import observing, settles


@pytest.fixture
def observer():
    """Adds up what this process sends."""
    with observing() as observer:
        yield observer


@pytest.fixture
def metrics(observer):
    """The metrics of a service, which sends every 50 ms."""
    with atmost.Sender(observer.url, name="web") as sender, Metrics(sender, interval=0.05) as metrics:
        yield metrics


def starlette_app():
    """Routes, mounts, streams and failures."""

    async def user(request):
        logging.getLogger("app").warning("serving %s", request.path_params["user_id"])
        return PlainTextResponse(str(request_id()))

    async def stream(_request):
        async def parts():
            for _ in range(3):
                await asyncio.sleep(0.01)
                yield b"part"

        return StreamingResponse(parts())

    async def fail(_request):
        raise ValueError("on purpose")

    inner = Starlette(routes=[Route("/items/{item}", user, name="item")])
    tenants = [Route("/{user_id}/orders/{order}", user)]
    return Starlette(
        routes=[
            Route("/users/{user_id:int}", user),
            Route("/stream", stream),
            Route("/fail", fail),
            Mount("/tenants/{tenant}", routes=tenants),
            Mount("/inner/{user_id}", app=inner),
        ]
    )


def asked(app, *paths, **headers):
    """The answers of an ASGI application."""

    async def ask():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            return [await client.get(path) for path in paths]

    return asyncio.run(ask())


@pytest.mark.parametrize("how", ["outside", "inside"])
def test_asgi_requests_by_route_template(observer, metrics, how):
    """Whatever strangers ask for, there is one series for each route and status; a mount's parameters are not filled in."""
    app = starlette_app()
    if how == "outside":
        app = AsgiMiddleware(app, metrics)
    else:
        app.add_middleware(AsgiMiddleware, metrics=metrics)
    paths = [*(f"/users/{n}" for n in range(20)), "/stream", "/fail", *(f"/wp-{n}.php" for n in range(20))]
    answers = asked(app, *paths, "/tenants/a/7/orders/8", "/inner/9/items/10")
    assert [answer.status_code for answer in answers] == [200] * 21 + [500] + [404] * 20 + [200, 200]
    wanted = {
        ("GET", "/users/{user_id}", "200"): 20,
        ("GET", "/stream", "200"): 1,
        ("GET", "/fail", "500"): 1,
        ("GET", UNMATCHED, "404"): 20,
        ("GET", "/tenants/{tenant}/{user_id}/orders/{order}", "200"): 1,
        ("GET", "/inner/{user_id}/items/{item}", "200"): 1,
    }
    settles(observer.routes, wanted)
    settles(lambda: observer.total("http_request_duration_seconds"), 44)
    settles(lambda: [last for *_, last in observer.metrics.series("http_requests_in_progress")], [0])


def test_a_request_carries_its_identity_into_the_logs(observer, metrics):
    """What the client named it, when that can stand in a log; else a new one. The answer says which."""
    app = AsgiMiddleware(starlette_app(), metrics)
    handler = atmost.LogHandler(observer.url)
    logging.getLogger("app").addHandler(handler)
    try:
        answers = [
            *asked(app, "/users/1", **{"X-Request-ID": "from-the-proxy"}),
            *asked(app, "/users/2"),
            *asked(app, "/users/3", **{"X-Request-ID": "x" * 500}),
        ]
        logging.getLogger("app").warning("outside")
    finally:
        logging.getLogger("app").removeHandler(handler)
        handler.close()
    identities = [answer.headers["X-Request-ID"] for answer in answers]
    assert [answer.text for answer in answers] == identities
    assert identities[0] == "from-the-proxy"
    assert len(set(identities)) == 3
    assert max(map(len, identities)) < 30
    until(lambda: len(observer.records) == 4)
    said = {record.message: (record.fields or {}).get("request_id") for record in observer.records}
    assert said == dict(zip(["serving 1", "serving 2", "serving 3"], identities, strict=True)) | {"outside": None}


@pytest.mark.parametrize("knows", [True, False])
def test_the_end_of_a_lifespan_closes_everything(observer, knows):
    """Also of an application that does not know about lifespans; it is sent before the server goes on."""

    async def plain(scope, _receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def main(app):
        asked_for, told = asyncio.Queue(), asyncio.Queue()
        task = asyncio.create_task(app({"type": "lifespan"}, asked_for.get, told.put))
        await asked_for.put({"type": "lifespan.startup"})
        assert await told.get() == {"type": "lifespan.startup.complete"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            await client.get("/users/1")
        await asked_for.put({"type": "lifespan.shutdown"})
        assert await told.get() == {"type": "lifespan.shutdown.complete"}
        await task

    app = AsgiMiddleware(starlette_app() if knows else plain, {"url": observer.url, "name": "web"})
    asyncio.run(main(app))
    settles(lambda: observer.total("http_requests_total"), 1)
    settles(observer.is_quiet, wanted=True)


def wsgi_answer(app, path, **environ):
    """Status, headers and body of a WSGI application's answer, as a server takes it."""
    started = []
    given = {"REQUEST_METHOD": "GET", "PATH_INFO": path, **environ}
    answer = app(given, lambda status, headers, *_: started.append((status, dict(headers))))
    try:
        body = b"".join(answer)
    finally:
        getattr(answer, "close", lambda: None)()
    return *started[0], body


def test_wsgi_counts_what_is_sent_to_its_end(observer, metrics):
    """An answer that is made while it is sent ends with its last byte, or where it breaks; a list and a file are counted at once."""

    class File:
        def __init__(self, body):
            self.body = body

        def __iter__(self):
            return iter([self.body])

    def app(environ, start_response):
        start_response("200 OK", [])
        what = environ["PATH_INFO"]
        if what == "/raise":
            raise ValueError("on purpose")
        if what == "/file":
            return environ["wsgi.file_wrapper"](b"file")
        return [b"list"] if what == "/list" else parts(what)

    def parts(what):
        yield (request_id() or "").encode()
        if what == "/break":
            raise ValueError("on purpose")

    measured = WsgiMiddleware(app, metrics, route=lambda environ: environ["PATH_INFO"])
    assert wsgi_answer(measured, "/list")[2] == b"list"
    assert wsgi_answer(measured, "/parts", HTTP_X_REQUEST_ID="mine")[1:] == ({"X-Request-ID": "mine"}, b"mine")
    assert isinstance(measured({"PATH_INFO": "/file", "wsgi.file_wrapper": File}, lambda *_: None), File)
    for broken in ("/break", "/raise"):
        with pytest.raises(ValueError, match="on purpose"):
            wsgi_answer(measured, broken)
    assert request_id() is None
    wanted = {
        ("GET", "/list", "200"): 1,
        ("GET", "/parts", "200"): 1,
        ("OTHER", "/file", "200"): 1,
        ("GET", "/break", "500"): 1,
        ("GET", "/raise", "200"): 1,
    }
    settles(observer.routes, wanted)


def test_flask_requests_by_rule(observer, metrics):
    """Its error pages too."""
    app = flask.Flask("shop")

    @app.get("/orders/<int:number>")
    def order(number):
        return f"{number} {request_id()}"

    @app.get("/fail")
    def fail():
        raise ValueError("on purpose")

    measure(app, metrics)
    client = app.test_client()
    for number in range(10):
        answer = client.get(f"/orders/{number}", buffered=True)
        assert answer.text == f"{number} {answer.headers['X-Request-ID']}"
        assert client.get(f"/secret/{number}", buffered=True).status_code == 404
    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert client.get("/fail", buffered=True).status_code == 500
    wanted = {
        ("GET", "/orders/<int:number>", "200"): 10,
        ("GET", UNMATCHED, "404"): 10,
        ("GET", "/fail", "500"): 1,
    }
    settles(observer.routes, wanted)
