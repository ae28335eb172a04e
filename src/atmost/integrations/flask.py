"""Flask: metrics of requests by rule, and their identity in the logs (docs/frameworks.md).

    app = Flask(__name__)
    measure(app)

Flask's own error pages are counted like other answers; a request that no rule matched has the route `(unmatched)`.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, request

from atmost.integrations.web import GivenMetrics
from atmost.integrations.wsgi import ROUTE, WsgiMiddleware


def measure(app: Flask, metrics: GivenMetrics = None, *, request_ids: bool = True) -> None:
    """Measures an application, once for all of its blueprints.

    Args:
        app: the application.
        metrics: a `Metrics`, or the sender for one; None takes the metrics that the process shares, from `ATMOST_URL`.
        request_ids: whether log records and answers carry the identity of their request.
    """

    def note_rule(_endpoint: str | None, _values: dict[str, Any] | None) -> None:
        request.environ[ROUTE] = None if request.url_rule is None else request.url_rule.rule

    app.url_value_preprocessors.setdefault(None, []).insert(0, note_rule)  # before any that answers in its place
    app.wsgi_app = WsgiMiddleware(app.wsgi_app, metrics, request_ids=request_ids)  # type: ignore[method-assign]
