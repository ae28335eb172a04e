"""Django middleware: metrics of requests by the pattern of their URL, and their identity in the logs (docs/frameworks.md).

    MIDDLEWARE = ["atmost.integrations.django.RequestMiddleware", ...]

The metrics go to the setting `ATMOST_URL`, or else to the environment variable of that name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings  # type: ignore[import-untyped]  # Django is not typed

from atmost.integrations.web import REQUEST_ID, HttpMetrics, HttpRequest


class RequestMiddleware:
    """Measures all requests; put it first, so that its measurements include the other middleware."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        """Args: get_response: serves the requests."""
        self._serve = get_response
        self._http = HttpMetrics(getattr(settings, "ATMOST_URL", None))
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Serves a request."""
        running = self._http.begin(request.method or "", request.headers.get(REQUEST_ID))
        if self._async:
            return self._await(request, running)
        try:
            return _answered(running, request, self._serve(request))
        finally:
            running.end()
            running.leave()

    async def _await(self, request: Any, running: HttpRequest) -> Any:
        serve: Callable[[Any], Awaitable[Any]] = self._serve
        try:
            return _answered(running, request, await serve(request))
        finally:
            running.end()
            running.leave()


def _answered(running: HttpRequest, request: Any, response: Any) -> Any:
    """Notes the answer's status, and which pattern matched."""
    running.status = str(response.status_code)
    if request.resolver_match is not None:
        running.route = f"/{request.resolver_match.route.removeprefix('^')}"
    if running.id is not None:
        response.headers[REQUEST_ID] = running.id
    return response
