"""A collector that says what the test wants: the page's folder and the contract's answers over real HTTP, nothing else.

It can be stopped and started again on its port, with what it knew or as another life, and it remembers what it was asked.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import atmost
from tests.collector.page.answers import Object, overview
from tests.real import BOUND

FOLDER = Path(atmost.__file__).parent / "collector" / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
RANKS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}


class FakeCollector:
    """What a test sets is what the page is told; `changed()` tells it at once."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.overview: Object = {}
        self.senders: list[Object] = []
        self.told = 500
        """Senders that one answer holds."""
        self.sessions: dict[str, list[Object]] = {}
        self.refused: list[Object] = []
        self.subjects: list[Object] = []
        self.heartbeats: list[Object] = []
        self.series: list[Object] = []
        self.points: dict[str, list[Object]] = {}
        """By name, or by name, labels and sender with `|` between them."""
        self.units: dict[str, str] = {}
        self.incomplete: dict[str, list[str]] = {}
        self.receivers: list[Object] = []
        self.rejected: list[Object] = []
        self.asked: list[tuple[str, Object, Object]] = []
        self.refuses_streams = False
        self._logs: list[Object | None] = []
        self._changed = threading.Condition()
        self._changes = 0
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._running = False
        self.port = 0
        self.forget()

    def forget(self) -> None:
        """Become another life: nothing known, nobody heard, cursors from the start."""
        self._logs = []
        self.senders, self.heartbeats, self.series, self.points, self.receivers, self.rejected = [], [], [], {}, [], []
        self.sessions, self.refused, self.subjects = {}, [], []
        self.overview = overview()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the port it had before."""
        self._running = True
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every stream."""
        if self._server is None or self._thread is None:
            return
        self._running = False
        self.changed()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(BOUND)
        self._server = None

    def log(self, *records: Object) -> None:
        """Add records, each with the next cursor, and tell the streams."""
        with self._changed:
            for record in records:
                self._logs.append({"cursor": len(self._logs) + 1, **record})
        self.changed()

    def correct(self, cursor: int, **changes: Any) -> None:
        """Change what is held of a record; no stream says so."""
        held = self._logs[cursor - 1]
        assert held is not None
        held |= changes

    def close(self, cursor: int) -> None:
        """Take a hole out that has none lost any more; no stream says so."""
        self._logs[cursor - 1] = None

    def changed(self) -> None:
        """Tell every stream the state as it is now."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def paths(self) -> list[str]:
        """What was asked for so far."""
        return [path for path, _, _ in self.asked]

    def answer(self, path: str, query: Object, labels: list[str]) -> Object | None:
        """One object of the interface."""
        now = time.time()
        match path:
            case "overview":
                return self.overview | {"now": now}
            case "senders":
                return self._senders(query) | {"now": now}
            case "sessions":
                return {"sessions": self.sessions.get(query["sender"], []), "truncated": 0}
            case "heartbeats":
                return {"now": now, "heartbeats": self.heartbeats, "truncated": 0}
            case "ledger":
                return {"receivers": self.receivers}
            case "subjects":
                return {"now": now, "subjects": self.subjects}
            case "rejected":
                return {"rejected": self.rejected}
            case "series":
                found = [
                    one
                    for one in self.series
                    if query.get("match", "") in json.dumps([one["name"], one["labels"], one["sender"]])
                ]
                limit = int(query.get("limit", 100))
                return {"series": found[:limit], "truncated": max(0, len(found) - limit)}
            case "query":
                return self._query(query, labels)
            case "logs":
                return self._tail(query)
        return None

    def since(self, cursor: int) -> list[Object]:
        """The log's records after a cursor."""
        return [one for one in self._logs[cursor : cursor + 200] if one is not None]

    @property
    def cursor(self) -> int:
        """After the last record."""
        return len(self._logs)

    def stream(self, write: Any, cursor: int) -> None:
        """Speak to one page until it goes, or this collector stops."""
        said = -1
        while self._running:
            if said != self._changes:
                said = self._changes
                for name in ("overview", "senders", "heartbeats"):
                    write(f"event: {name}\ndata: {json.dumps(self.answer(name, {}, []))}\n\n")
            while records := self.since(cursor):
                cursor = records[-1]["cursor"]
                write(
                    f"id: {cursor}\nevent: logs\ndata: {json.dumps({'cursor': cursor, 'records': records, 'skipped': 0})}\n\n"
                )
            with self._changed:
                if said == self._changes and self._running:
                    self._changed.wait(1.0)
            write(": still here\n\n")

    def _senders(self, query: Object) -> Object:
        found = [one for one in self.senders if query.get("match", "") in one["name"]]
        return {
            "senders": found[: self.told],
            "truncated": max(0, len(found) - self.told),
            "refused": self.refused,
        }

    def _query(self, query: Object, labels: list[str]) -> Object:
        key = "|".join([query["name"], *labels, *([query["sender"]] if "sender" in query else [])])
        points = self.points.get(key, self.points.get(query["name"], []))
        start, end = (
            (points[0]["t"], points[-1]["t"] + points[1]["t"] - points[0]["t"])
            if points
            else (time.time() - 60, time.time())
        )
        step = points[1]["t"] - points[0]["t"] if len(points) > 1 else 1.0
        kind = next((one["kind"] for one in self.series if one["name"] == query["name"]), "gauge")
        unit = self.units.get(query["name"], "")
        return {
            "name": query["name"],
            "kind": kind,
            "unit": unit,
            "step": step,
            "start": start,
            "end": end,
            "points": points,
            "incomplete": self.incomplete.get(query["name"], []),
        }

    def _tail(self, query: Object) -> Object:
        level = RANKS.get(query.get("level", ""), 0)

        def passes(one: Object) -> bool:
            if query.get("sender", one["sender"]) != one["sender"]:
                return False
            if not float(query.get("since", 0)) <= one["t"] <= float(query.get("until", 1e12)):
                return False
            if one["type"] == "gap":
                return sum((one["by_level"] or {}).values()) < one["lost"] or any(
                    RANKS.get(name, level) >= level for name in one["by_level"]
                )
            name, _, value = query.get("field", "").partition("=")
            if name and str(one["fields"].get(name)) != value:
                return False
            if "logger" in query and not f"{one['logger']}.".startswith(f"{query['logger']}."):
                return False
            return RANKS.get(one["level"], level) >= level and query.get("text", "").lower() in one["message"].lower()

        before = int(query.get("before", len(self._logs) + 1))
        after = int(query.get("after", 0))
        found = [one for one in self._logs if one and after < one["cursor"] < before and passes(one)]
        limit = int(query.get("limit", 100))
        records = found[:limit] if "after" in query else found[-limit:]
        return {"cursor": len(self._logs), "records": records, "truncated": len(found) > limit}


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True


def _handler(fake: FakeCollector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 2.0

        def do_DELETE(self) -> None:
            query = dict(parse_qsl(urlsplit(self.path).query))
            fake.asked.append((f"DELETE {urlsplit(self.path).path}", query, dict(self.headers)))
            before = len(fake.heartbeats)
            fake.heartbeats = [one for one in fake.heartbeats if one["name"] != query["name"]]
            if len(fake.heartbeats) == before:
                return self._error(404, "no_such_heartbeat", "There is no such heartbeat.")
            return self._send(200, "application/json", json.dumps({"forgotten": query["name"]}).encode())

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            labels = [value for name, value in parse_qsl(parts.query) if name == "label"]
            fake.asked.append((parts.path, query, dict(self.headers)))
            if not parts.path.startswith("/api/v1/"):
                return self._file(parts.path.removeprefix("/") or "index.html")
            if fake.token is not None and self.headers.get("Authorization") != f"Bearer {fake.token}":
                return self._error(401, "token_wanted", "The token is missing or wrong.")
            name = parts.path.removeprefix("/api/v1/")
            if name == "stream":
                return self._stream()
            answer = fake.answer(name, query, labels)
            if answer is None:
                return self._error(404, "no_such_path", "There is nothing here.")
            return self._send(200, "application/json", json.dumps(answer).encode())

        def _stream(self) -> None:
            if fake.refuses_streams:
                return self._error(503, "too_many_streams", "Too many pages are open: close one.")
            self._head(200, "text/event-stream")
            with suppress(OSError):  # the page went
                fake.stream(self._say, int(self.headers.get("Last-Event-ID", fake.cursor)))
            return None

        def _say(self, text: str) -> None:
            self.wfile.write(text.encode())
            self.wfile.flush()

        def _file(self, name: str) -> None:
            path = FOLDER / name
            if path.parent != FOLDER or not path.is_file():
                return self._error(404, "no_such_file", "There is nothing here.")
            return self._send(200, KINDS[path.suffix], path.read_bytes())

        def _error(self, status: int, code: str, message: str) -> None:
            self._send(status, "application/json", json.dumps({"error": {"code": code, "message": message}}).encode())

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self._head(status, kind, len(content))
            self.wfile.write(content)

        def _head(self, status: int, kind: str, length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Cache-Control", "no-store")
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing of requests."""

    return Handler
