"""The application: routes requests to page, API and exporter.

It serves one collector, and has no state of its own except counters. Requires the extra `server`.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from atmost.collector.api import questions, shapes
from atmost.collector.api.openapi import document
from atmost.collector.api.security import Gate, refuse
from atmost.collector.api.stream import Streams
from atmost.collector.api.tap import serve_tap
from atmost.collector.api.views import Views
from atmost.collector.prometheus.exporter import Exporter
from atmost.collector.state.series import QuestionError
from atmost.errors import SubjectError

_encode: Final = msgspec.json.Encoder().encode
_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
_TEXTS: Final = ("text/", "application/json", "image/svg")


class CollectorApp:
    """Page, interface and exporter of one collector."""

    def __init__(
        self, views: Views, *, ready: Callable[[], dict[str, bool]], host: str, max_streams: int, exporter: Exporter
    ) -> None:
        """Puts it together.

        Args:
            views: make the answers.
            ready: what must be true for /readyz, by name.
            host: the bound address, for the check of the Host header.
            max_streams: readers of the event stream at once.
            exporter: answers /metrics.
        """
        self._views = views
        self._ready = ready
        self._exporter = exporter
        self.streams = Streams(views, max_streams)
        self._files = _page_files()
        self._description = b""
        """The OpenAPI document, made at the first request for it."""
        routes = [
            Route("/api/v1/overview", self._overview),
            Route("/api/v1/senders", self._senders),
            Route("/api/v1/sessions", self._sessions),
            Route("/api/v1/subjects", self._subjects),
            Route("/api/v1/ledger", self._ledger),
            Route("/api/v1/series", self._series),
            Route("/api/v1/query", self._query),
            Route("/api/v1/logs", self._logs),
            Route("/api/v1/heartbeats", self._heartbeats, methods=["GET"]),
            Route("/api/v1/heartbeats", self._forget, methods=["DELETE"]),
            Route("/api/v1/rejected", self._rejected),
            Route("/metrics", self._metrics),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/openapi.json", self._openapi),
            Route("/{path:path}", self._file),
        ]
        handlers: dict[Any, Any] = {QuestionError: _bad_question, HTTPException: _http_error, Exception: _defect}
        self._routes = Starlette(routes=routes, exception_handlers=handlers)
        self.gate = Gate(self._answer, host=host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await self.gate(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/api/v1/stream":
            await self.streams.serve(scope, receive, send, _resume_at(scope))
        elif scope["type"] == "http" and scope["path"] == "/api/v1/tap":
            await self._tap(scope, receive, send)
        else:
            await self._routes(scope, receive, send)

    def close(self) -> None:
        """Ends every stream and tap."""
        self.streams.closing = True
        self._views.state.closing = True

    async def _tap(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            given = questions.Parameters(scope["query_string"].decode("latin-1"))
            questions.only(given, ("subject",))
            patterns = given.values.get("subject") or [">"]
            await serve_tap(self._views.state, patterns, scope, receive, send)
        except (QuestionError, SubjectError) as error:
            await refuse(send, 400, "bad_subject", str(error))

    async def _subjects(self, request: Request) -> Response:
        questions.only(_given(request), ())
        return _json(self._views.subjects())

    async def _overview(self, request: Request) -> Response:
        questions.only(_given(request), ())
        return _json(self._views.overview())

    async def _senders(self, request: Request) -> Response:
        given = _given(request)
        questions.only(given, ("match", "limit"))
        return _json(self._views.senders(questions.limit(given, 500), questions.text(given, "match")))

    async def _sessions(self, request: Request) -> Response:
        given = _given(request)
        questions.only(given, ("sender", "limit"))
        return _json(self._views.sessions(questions.required(given, "sender"), questions.limit(given, 100)))

    async def _ledger(self, request: Request) -> Response:
        questions.only(_given(request), ())
        return _json(self._views.ledgers())

    async def _series(self, request: Request) -> Response:
        given = _given(request)
        questions.only(given, ("match", "limit"))
        return _json(self._views.series(questions.text(given, "match"), questions.limit(given, 500)))

    async def _query(self, request: Request) -> Response:
        asked = questions.question(_given(request), self._views.now())
        return _json(await run_in_threadpool(self._views.query, asked))  # a quantile of many histograms takes a while

    async def _logs(self, request: Request) -> Response:
        given = _given(request)
        questions.only(
            given, ("limit", "after", "before", "level", "sender", "text", "logger", "field", "since", "until")
        )
        after, before = questions.cursors(given)
        return _json(self._views.logs(questions.log_filter(given), questions.limit(given, 200), after, before))

    async def _heartbeats(self, request: Request) -> Response:
        questions.only(_given(request), ())
        return _json(self._views.heartbeats())

    async def _forget(self, request: Request) -> Response:
        given = _given(request)
        questions.only(given, ("name", "key_id"))
        name = questions.required(given, "name")
        if not self._views.forget(name, questions.whole(given, "key_id", None, 0, 65_535)):
            return _failure(404, "no_such_heartbeat", f"no heartbeat is called {name!r}: /api/v1/heartbeats lists them")
        return _json(shapes.Forgotten(forgotten=name))

    async def _rejected(self, request: Request) -> Response:
        questions.only(_given(request), ())
        return _json(self._views.rejected())

    async def _metrics(self, request: Request) -> Response:
        body, kind = self._exporter.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": kind})

    async def _healthz(self, request: Request) -> Response:  # noqa: ARG002  every answer takes its request
        return _json(shapes.Health(status="ok", uptime=self._views.now() - self._views.state.started))

    async def _readyz(self, request: Request) -> Response:  # noqa: ARG002  as above
        checks = self._ready()
        sound = all(checks.values())
        uptime = self._views.now() - self._views.state.started
        return _json(
            shapes.Health(status="ready" if sound else "not ready", uptime=uptime, checks=checks), 200 if sound else 503
        )

    async def _openapi(self, request: Request) -> Response:  # noqa: ARG002  as above
        if not self._description:
            self._description = _encode(document())
        return Response(self._description, media_type="application/json")

    async def _file(self, request: Request) -> Response:
        found = self._files.get(request.path_params["path"] or "index.html")
        if found is None:
            raise HTTPException(404)
        suffix = PurePosixPath(found.name).suffix
        kind = _TYPES.get(suffix) or mimetypes.guess_type(found.name)[0] or "application/octet-stream"
        if kind.startswith(_TEXTS):
            kind += "; charset=utf-8"
        return Response(found.read_bytes(), headers={"content-type": kind, "cache-control": "no-cache"})


def _page_files() -> dict[str, Traversable]:
    """The page's files by path; no other file is served."""
    found: dict[str, Traversable] = {}

    def walk(folder: Traversable, prefix: str) -> None:
        for each in folder.iterdir():
            if each.is_dir():
                walk(each, f"{prefix}{each.name}/")
            elif not each.name.startswith((".", "__")) and not each.name.endswith((".py", ".pyc")):
                found[prefix + each.name] = each

    folder = resources.files("atmost.collector").joinpath("page")
    if folder.is_dir():
        walk(folder, "")
    return found


def _given(request: Request) -> questions.Parameters:
    return questions.Parameters(request.url.query)


def _resume_at(scope: Scope) -> int | None:
    """The cursor in Last-Event-ID; None if it is absent or not a number."""
    text = dict(scope["headers"]).get(b"last-event-id", b"")
    return int(text) if text.isdigit() and len(text) <= 16 else None


def _json(value: Any, status: int = 200) -> Response:
    return Response(_encode(value), status, media_type="application/json")


def _failure(status: int, code: str, message: str) -> Response:
    return _json(shapes.ErrorAnswer(error=shapes.ErrorDetail(code=code, message=message)), status)


async def _bad_question(_request: Request, error: QuestionError) -> Response:
    return _failure(400, error.code, str(error))


async def _http_error(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        return _failure(404, "not_found", f"nothing at {request.url.path[:200]}; /openapi.json lists what there is")
    return _failure(error.status_code, "bad_request", error.detail)


async def _defect(_request: Request, error: Exception) -> Response:
    return _failure(500, "defect", f"the collector failed to answer: {type(error).__name__}; it goes on")
