"""What the web integrations share: the metrics of a request, and the identity that its log records carry.

| metric | labels |
| --- | --- |
| `http_requests_total` | `method`, `route`, `status` |
| `http_request_duration_seconds` | `method`, `route` |
| `http_requests_in_progress` | – |

A route is the template that the framework matched, such as `/users/{user_id}`; never the path of the request, which strangers
choose. A request that matched none has the route `(unmatched)`. Safe from any thread and task.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Token
from typing import Any, Final

from atmost.endpoint.opening import GivenSender
from atmost.lifecycle import Floor, register
from atmost.logs import log_fields
from atmost.metrics import Metrics

UNMATCHED: Final = "(unmatched)"
REQUEST_ID: Final = "X-Request-ID"
MAX_REQUEST_ID: Final = 128
"""The most characters of a request's identity taken from its header."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})

GivenMetrics = Metrics | GivenSender
"""A `Metrics`; or the sender for one, see `GivenSender`; or None, which takes the metrics that the process shares."""


def request_id() -> str | None:
    """Returns the identity of the request that this thread or task serves: its `X-Request-ID`, or one made here; None outside a request."""
    fields = log_fields.get()
    return None if fields is None else fields.get("request_id")


class _Shared:
    """The metrics that a process shares when none are given, over one sender from `ATMOST_URL`."""

    def __init__(self) -> None:
        self._metrics: Metrics | None = None
        register(self, Floor.USE)

    def metrics(self) -> Metrics:
        """Returns them, made when they are first asked for."""
        if self._metrics is None:
            self._metrics = Metrics()
        return self._metrics

    def renew(self, *, seen: bool) -> None:
        """Nothing to do: sender and metrics renew themselves."""


_shared: Final = _Shared()


def metrics_of(given: GivenMetrics) -> Metrics:
    """Returns the metrics to use: those that were given, new ones over the sender that was given, or those that the process shares.

    Raises:
        OptionError: the argument is not a `Metrics`, a sender, a URL or a sender's options.
        AddressError: the URL cannot be used.
    """
    if given is None:
        return _shared.metrics()
    if isinstance(given, Metrics):
        return given
    return Metrics(given)


class HttpMetrics:
    """The metrics of a web service."""

    def __init__(self, metrics: GivenMetrics = None, *, request_ids: bool = True) -> None:
        """Declares the metrics.

        Args:
            metrics: see `GivenMetrics`.
            request_ids: whether log records made during a request get its identity, as the field `request_id`.
        """
        self.metrics = metrics_of(metrics)
        self._total = self.metrics.counter("http_requests_total", "Requests served.", ("method", "route", "status"))
        self._duration = self.metrics.histogram(
            "http_request_duration_seconds", "From the request to the end of its answer.", ("method", "route")
        )
        self._running = self.metrics.gauge("http_requests_in_progress", "Requests that are being served.", mode="sum")
        self._request_ids = request_ids

    def begin(self, method: str, given_id: str | None) -> HttpRequest:
        """Begins to measure a request.

        Args:
            method: of the request; an unknown one counts as `OTHER`.
            given_id: its `X-Request-ID`, where it has one.
        """
        self._running.inc()
        identity = _checked_id(given_id) if self._request_ids else None
        return HttpRequest(self, method if method in _METHODS else "OTHER", identity)

    def ended(self, method: str, route: str, status: str, seconds: float) -> None:
        """Books a request."""
        self._running.dec()
        self._total.labels(method, route, status).inc()
        self._duration.labels(method, route).observe(seconds)


class HttpRequest:
    """A request that is being served; its end counts once."""

    __slots__ = ("_began", "_ended", "_fields", "_metrics", "_token", "id", "method", "route", "status")

    def __init__(self, metrics: HttpMetrics, method: str, identity: str | None) -> None:
        """Args: metrics: count it. method: one of the known ones. identity: carried by log records made meanwhile, or None."""
        self._metrics = metrics
        self.method = method
        self.id = identity
        self.route = UNMATCHED
        self.status = "500"
        """The answer's status; 500 until there is one, because a request that raised is answered so."""
        self._ended = False
        self._fields: Mapping[str, Any] | None = None
        self._token: Token[Mapping[str, Any] | None] | None = None
        if identity is not None:
            self._fields = {**(log_fields.get() or {}), "request_id": identity}
            self._token = log_fields.set(self._fields)
        self._began = time.perf_counter()

    def end(self, find_route: Callable[[], str | None] | None = None) -> None:
        """Counts the request, once its answer was sent or it is clear that there will be none.

        Args:
            find_route: returns the template that was matched. If it raises, the request counts as unmatched, and its answer is not lost.
        """
        if self._ended:
            return
        self._ended = True
        if find_route is not None:
            with suppress(Exception):
                self.route = find_route() or UNMATCHED
        self._metrics.ended(self.method, self.route, self.status, time.perf_counter() - self._began)

    def leave(self) -> None:
        """Ends the request's identity in this thread or task."""
        token, self._token = self._token, None
        if token is not None:
            try:
                log_fields.reset(token)
            except ValueError:  # the end came in another context than the beginning
                if log_fields.get() is self._fields:
                    log_fields.set(None)


def _checked_id(given: str | None) -> str:
    """Returns the identity given with a request if it is fit for a log and a header, or else a new one."""
    if given and len(given) <= MAX_REQUEST_ID and given.isascii() and given.isprintable():
        return given
    return secrets.token_hex(8)
