"""WSGI middleware: metrics of requests by route, and their identity in the logs (docs/frameworks.md).

    app = WsgiMiddleware(app)                                  # any WSGI application
    app = WsgiMiddleware(app, route=lambda environ: environ.get("my.route"))

It needs no closing: what a worker has counted is sent when the worker ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from atmost.integrations.web import REQUEST_ID, GivenMetrics, HttpMetrics, HttpRequest

Environ = dict[str, Any]
ROUTE: Final = "atmost.route"
"""Where an application may note the template it matched, in the environment of a request."""
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class WsgiMiddleware:
    """Measures a WSGI application."""

    def __init__(
        self,
        app: App,
        metrics: GivenMetrics = None,
        *,
        route: Callable[[Environ], str | None] | None = None,
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
        self._route = route or route_of

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serves a request; its duration ends with its answer's last byte."""
        request = self._http.begin(environ.get("REQUEST_METHOD", ""), environ.get("HTTP_X_REQUEST_ID"))

        def starting(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            request.status = status[:3]
            if request.id is not None:
                headers = [*headers, (REQUEST_ID, request.id)]
            return start_response(status, headers, *rest)

        def end() -> None:
            request.end(lambda: self._route(environ))

        try:
            answer = self._app(environ, starting)
        except BaseException:
            end()
            request.leave()
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(answer, list | tuple) or (isinstance(wrapper, type) and isinstance(answer, wrapper)):
            end()  # the whole answer is there; a file is left to the server, which sends it without copying
            request.leave()
            return answer
        return _Answer(answer, request, end)


class _Answer:
    """An answer that is made while it is sent."""

    def __init__(self, answer: Iterable[bytes], request: HttpRequest, end: Callable[[], None]) -> None:
        self._answer, self._request, self._end = answer, request, end

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer
        except Exception:
            self._request.status = "500"
            raise
        finally:
            self._end()  # not every server closes an answer that it has read to its end

    def close(self) -> None:
        """Called when the server has sent the answer, or has given up."""
        try:
            close = getattr(self._answer, "close", None)
            if close is not None:
                close()
        finally:
            self._end()
            self._request.leave()


def route_of(environ: Environ) -> str | None:
    """Returns the template that the framework matched (Flask, Bottle, Pyramid); None when it is unknown."""
    noted = environ.get(ROUTE)
    if noted is not None:
        return str(noted)
    bottle = getattr(environ.get("bottle.route"), "rule", None)
    if bottle is not None:
        return str(bottle)
    pyramid = getattr(environ.get("bfg.routes.route"), "pattern", None)
    return None if pyramid is None else str(pyramid)
