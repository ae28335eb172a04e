"""Describes the interface in OpenAPI 3.1, from the types of its answers; served at `/openapi.json`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

import atmost
from atmost.collector.api import questions, shapes
from atmost.collector.state.listing import SeriesList
from atmost.collector.state.records import LEVELS
from atmost.collector.state.series import COMBINED, FIGURES, LONGEST, QueryAnswer
from atmost.core.limits import MAX_TIME

_ANSWERS: Final = (
    shapes.ErrorAnswer,
    shapes.Overview,
    shapes.Senders,
    shapes.Sessions,
    shapes.Subjects,
    shapes.Ledgers,
    SeriesList,
    QueryAnswer,
    shapes.LogPage,
    shapes.LogEvent,
    shapes.Heartbeats,
    shapes.Forgotten,
    shapes.RejectedList,
    shapes.Health,
)
_PAIRS: Final = {
    "type": "array",
    "items": {"type": "string", "pattern": "^[^=]+=", "maxLength": questions.MAX_TEXT},
    "maxItems": questions.MAX_LABELS,
}


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    _, components = msgspec.json.schema_components(_ANSWERS, ref_template="#/components/schemas/{name}")
    text = {"type": "string", "maxLength": questions.MAX_TEXT}
    limit = _parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": questions.MAX_LIMIT}, "The most entries to return."
    )
    cursor = {"type": "integer", "minimum": 0, "maximum": questions.MAX_CURSOR}
    time = {"type": "number", "minimum": 0, "maximum": MAX_TIME}
    paths = {
        "/api/v1/overview": _path("The collector at a glance", "Overview"),
        "/api/v1/senders": _path(
            "Senders, those that are losing messages first; and senders never accepted",
            "Senders",
            [_parameter("match", text, "Part of a name or host, ignoring case."), limit],
        ),
        "/api/v1/sessions": _path(
            "The sessions of one sender",
            "Sessions",
            [_parameter("sender", {**text, "minLength": 1}, "The name of the sender.", required=True), limit],
        ),
        "/api/v1/subjects": _path("Every subject seen, with its rate and last payload", "Subjects"),
        "/api/v1/tap": _tap(text),
        "/api/v1/ledger": _path("The accounts of the receivers", "Ledgers"),
        "/api/v1/series": _path(
            "The series, by name",
            "SeriesList",
            [_parameter("match", text, "Part of a name, sender or label, ignoring case."), limit],
        ),
        "/api/v1/query": _path(
            "The steps of a series, one point for each; null where nothing is known", "QueryAnswer", _of_query(text)
        ),
        "/api/v1/logs": _path(
            "The log tail with its holes, oldest first",
            "LogPage",
            [
                limit,
                _parameter("after", cursor, "Only entries after this cursor, starting with the earliest."),
                _parameter("before", cursor, "Only entries before this cursor, starting with the latest."),
                _parameter("level", {"type": "string", "enum": list(LEVELS)}, "Only this level and higher ones."),
                _parameter("sender", text, "Only this sender's."),
                _parameter("text", text, "Only records that contain this text, ignoring case."),
                _parameter("logger", text, "Only records of this logger, or of one below it."),
                _parameter("field", _PAIRS, "Only records with this field, NAME=VALUE; may be repeated."),
                _parameter("since", time, "Only entries from this time on (seconds since 1970)."),
                _parameter("until", time, "Only entries up to this time (seconds since 1970)."),
            ],
        ),
        "/api/v1/heartbeats": _path("All heartbeats, the gravest state first", "Heartbeats")
        | {"delete": _forgetting(text)},
        "/api/v1/rejected": _path("Samples of rejected input", "RejectedList"),
        "/api/v1/stream": _stream(),
        "/metrics": _text("Everything for Prometheus, in the format that Accept asks for", "text/plain"),
        "/healthz": _path("Whether the process works", "Health", errors=False),
        "/readyz": _path("Whether it accepts messages", "Health", errors=False, unready=True),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "atmost collector",
            "version": atmost.__version__,
            "description": (
                "What arrived, what did not, and who is alive. Times are seconds since 1970; null means unknown, never 0. "
                "Where a token is set, every path with data asks for it: Authorization: Bearer TOKEN."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _of_query(text: dict[str, Any]) -> list[dict[str, Any]]:
    seconds = {"type": "number", "minimum": 1, "maximum": LONGEST}
    return [
        _parameter("name", {**text, "minLength": 1}, "The name of the series.", required=True),
        _parameter("sender", text, "Only this sender's."),
        _parameter("label", _PAIRS, "Only series with this label, NAME=VALUE; may be repeated."),
        _parameter("range", seconds, "How far back to look (seconds); default 300."),
        _parameter("end", {"type": "number"}, "The end of the range (seconds since 1970); default now."),
        _parameter("step", seconds, "Time between two points (seconds); by default about 300 points are returned."),
        _parameter(
            "as", {"type": "string", "enum": list(FIGURES)}, "Value, rate a second, or a quantile of a histogram."
        ),
        _parameter(
            "combine",
            {"type": "string", "enum": list(COMBINED)},
            "How several series become one; by default totals are added and values averaged. Not for quantiles.",
        ),
    ]


def _forgetting(text: dict[str, Any]) -> dict[str, Any]:
    """The one request that changes anything."""
    key = {"type": "integer", "minimum": 0, "maximum": 65_535}
    parameters = [
        _parameter("name", {**text, "minLength": 1}, "The heartbeat, or an expected pattern.", required=True),
        _parameter("key_id", key, "Only under this key number; default any."),
    ]
    found: dict[str, Any] = _path("Stops missing a heartbeat, until it beats again", "Forgotten", parameters)["get"]
    found["responses"] |= _errors("404")
    return found


def _parameter(name: str, schema: dict[str, Any], text: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema, "description": text}


def _path(
    text: str, shape: str, parameters: list[dict[str, Any]] | None = None, *, errors: bool = True, unready: bool = False
) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
    responses: dict[str, Any] = {"200": {"description": text, "content": content}}
    if unready:
        responses["503"] = {"description": "Not yet, or no longer", "content": content}
    if errors:
        responses |= _errors("400", "401")
    responses |= _errors("403")
    return {"get": {"summary": text, "parameters": parameters or [], "responses": responses}}


def _text(text: str, kind: str) -> dict[str, Any]:
    found = {"200": {"description": text, "content": {kind: {"schema": {"type": "string"}}}}}
    return {"get": {"summary": text, "parameters": [], "responses": found | _errors("401", "403")}}


def _stream() -> dict[str, Any]:
    path = _text(
        "Events as they happen: overview, senders, heartbeats, logs; their data are the shapes of the same names",
        "text/event-stream",
    )
    last = {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "string"}}
    path["get"]["parameters"] = [{**last, "description": "The cursor of the last log entry that is known."}]
    path["get"]["responses"] |= _errors("503")
    return path


def _tap(text: dict[str, Any]) -> dict[str, Any]:
    path = _text(
        "Messages as they arrive, one JSON object per line; {dropped} where the reader was too slow",
        "application/x-ndjson",
    )
    wanted = {"type": "array", "items": text, "maxItems": questions.MAX_LABELS}
    path["get"]["parameters"] = [_parameter("subject", wanted, "A pattern of subjects; may be repeated. Default: all.")]
    path["get"]["responses"] |= _errors("400", "503")
    return path


def _errors(*statuses: str) -> dict[str, Any]:
    texts = {
        "400": "A parameter is unknown or out of bounds",
        "401": "The token is missing or wrong",
        "403": "The Host header names another host, or a page of another site asks",
        "404": "There is no heartbeat of this name",
        "503": "Too many streams or taps are open",
    }
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    return {status: {"description": texts[status], "content": content} for status in statuses}
