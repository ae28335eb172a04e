"""ASGI middleware: metrics of requests by route, and their identity in the logs (docs/frameworks.md).

    app = AsgiMiddleware(app)                                  # any ASGI application
    app.add_middleware(AsgiMiddleware)                         # Starlette, FastAPI

At the end of the server's lifespan all of atmost's objects in the process say their last words, whether or not the application
knows about lifespans, because some servers end by a signal afterwards. An object that is used again begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from atmost.integrations.web import REQUEST_ID, GivenMetrics, HttpMetrics
from atmost.lifecycle import close_all

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_HEADER = REQUEST_ID.lower().encode()


class AsgiMiddleware:
    """Measures an ASGI application."""

    def __init__(
        self,
        app: App,
        metrics: GivenMetrics = None,
        *,
        route: Callable[[Scope], str | None] | None = None,
        request_ids: bool = True,
    ) -> None:
        """Prepares to measure.

        Args:
            app: the application that serves the requests.
            metrics: a `Metrics`, or the sender for one; None takes the metrics that the process shares, from `ATMOST_URL`.
            route: returns the template of a request after it was served, for frameworks that this module does not know.
            request_ids: whether log records and answers carry the identity of their request.
        """
        self._app = app
        self._http = HttpMetrics(metrics, request_ids=request_ids)
        self._route = route
        self._templates = _Templates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request, a lifespan or a WebSocket; only requests are counted."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        request = self._http.begin(scope["method"], given.decode("latin-1"))
        root = scope.get("app") or self._app  # read before an application mounted below puts itself there

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                request.status = str(message["status"])
                if request.id is not None:
                    message["headers"] = [*message.get("headers", ()), (_HEADER, request.id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            request.status = "499"  # the client went away
            raise
        finally:
            find = self._route
            request.end(lambda: find(scope) if find is not None else self._templates.find(scope, root))
            request.leave()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the lifespan on, and takes it over from an application that does not know it."""
        seen: list[str] = []
        sent: list[str] = []

        async def receiving() -> MutableMapping[str, Any]:
            message = await receive()
            seen.append(message["type"])
            return message

        async def sending(message: MutableMapping[str, Any]) -> None:
            sent.append(message["type"])
            if message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(close_all)
            await send(message)

        try:
            await self._app(scope, receiving, sending)
        except BaseException:
            if sent or not _is_unknown(seen):  # the application knows lifespans, and failed in one
                raise
        if sent:
            return
        for what in ("startup", "shutdown"):
            if f"lifespan.{what}" not in seen:
                await receiving()
            await sending({"type": f"lifespan.{what}.complete"})


class _Templates:
    """Finds the template that a framework matched: Starlette's, FastAPI's, Litestar's."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, list[tuple[frozenset[str], str]]]] = {}
        """By an endpoint's id: the endpoint, and for each of its routes the names of the parameters and the template."""

    def find(self, scope: Scope, root: object) -> str | None:
        """Returns the template; None when no route matched, or when the route that matched is unknown.

        Args:
            scope: of the request, after it was served.
            root: the application, which has the routes.
        """
        if (template := scope.get("path_template")) is not None:  # Litestar
            return str(template)
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return None
        if id(endpoint) not in self._known:  # routes may be added later
            self._known = {id(endpoint): (endpoint, [])}
            self._learn(getattr(root, "routes", ()), "", frozenset())
        several = self._known[id(endpoint)][1]
        given = frozenset(scope.get("path_params", ()))
        return next((path for names, path in several if names == given), several[0][1] if several else None)

    def _learn(self, routes: Iterable[Any], head: str, names: frozenset[str]) -> None:
        for route in routes:
            below = getattr(route, "routes", None) or ()
            own = frozenset(getattr(route, "param_convertors", ()))
            endpoint = getattr(route, "endpoint", None)
            path = head + str(getattr(route, "path_format", getattr(route, "path", "")))
            if endpoint is None:  # a mount, whose own last parameter is the rest of the path
                endpoint, own, path = (
                    getattr(route, "app", None),
                    own - {"path"},
                    head + str(getattr(route, "path", "")),
                )
            if endpoint is not None:
                self._known.setdefault(id(endpoint), (endpoint, []))[1].append((names | own, path))
            self._learn(below, path, names | own)


def _is_unknown(seen: list[str]) -> bool:
    """Whether an application that raised may simply not know about lifespans, because it has not reached the shutdown."""
    return "lifespan.shutdown" not in seen
