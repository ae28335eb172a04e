"""The page's event stream: overview, senders, heartbeats and log entries as they come, as text/event-stream.

Events that are the same for all readers are rendered once. A slow reader misses log entries and receives their number; after
ten seconds without reading it is disconnected. Nothing is queued for it. A `Streams` object belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from atmost.collector.api.security import refuse
from atmost.collector.api.views import Views
from atmost.collector.state.records import Entry, Record

OVERVIEW_EVERY: Final = 1.0
SENDERS_EVERY: Final = 2.0
HEARTBEATS_EVERY: Final = 5.0
HEARTBEATS_LEAST: Final = 0.25
LOGS_EVERY: Final = 0.25
COMMENT_EVERY: Final = 15.0
MAX_ENTRIES: Final = 200
"""Log entries in one event."""
MAX_EVENT: Final = 1 << 20
"""Bytes of log entries in one event; a single entry may be larger, bounded by `max_record`."""
MAX_SHARED: Final = 4 << 20
"""Bytes of encoded records kept for other readers."""
SENDERS: Final = 200
HEARTBEATS: Final = 500
"""Rows in one event."""
PATIENCE: Final = 10.0
"""How long a reader may read nothing (seconds)."""
_encode: Final = msgspec.json.Encoder().encode


class Streams:
    """Serves all readers of the event stream."""

    def __init__(self, views: Views, max_streams: int) -> None:
        """Args: views: what is shown. max_streams: readers at once."""
        self._views = views
        self.max_streams = max_streams
        self.open = 0
        self.refused = 0
        """Readers refused because the limit was reached."""
        self.cut = 0
        """Readers disconnected because they read nothing for too long."""
        self.skipped = 0
        """Log entries that readers missed."""
        self.closing = False
        """Set when the collector stops: every stream ends."""
        self._rendered: dict[str, tuple[float, bytes]] = {}
        self._records: OrderedDict[int, bytes] = OrderedDict()
        """The last encoded records, by cursor; `_bytes` in total."""
        self._bytes = 0

    async def serve(self, scope: Scope, receive: Receive, send: Send, cursor: int | None) -> None:
        """Serves one reader until it goes.

        Args:
            scope, receive, send: of ASGI.
            cursor: the last log entry it has; None starts with the next.
        """
        if self.open >= self.max_streams:
            self.refused += 1
            text = f"{self.max_streams} streams are open, which is max_streams: close one, or raise it"
            await refuse(send, 503, "too_many_streams", text, [(b"retry-after", b"5")])
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        self.open += 1
        gone = asyncio.ensure_future(until_gone(receive))
        try:
            await self._serve(send, gone, self._views.log_cursor() if cursor is None else cursor)
        except TimeoutError:
            self.cut += 1
        finally:
            self.open -= 1
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), 1.0)

    async def _serve(self, send: Send, gone: asyncio.Future[None], cursor: int) -> None:
        loop = asyncio.get_running_loop()
        due = dict.fromkeys(("overview", "senders", "heartbeats", "comment"), 0.0)
        changes = -1
        while not gone.done() and not self.closing:
            now, parts = loop.time(), list[bytes]()
            if now >= due["overview"]:
                due["overview"] = now + OVERVIEW_EVERY
                parts.append(self._shared("overview", self._views.overview, OVERVIEW_EVERY))
            if now >= due["senders"]:
                due["senders"] = now + SENDERS_EVERY
                parts.append(self._shared("senders", lambda: self._views.senders(SENDERS), SENDERS_EVERY))
            present = self._views.heartbeat_changes()
            if now >= due["heartbeats"] or present != changes:
                due["heartbeats"], changes = now + HEARTBEATS_EVERY, present
                parts.append(self._shared("heartbeats", lambda: self._views.heartbeats(HEARTBEATS), HEARTBEATS_LEAST))
            if self._views.log_cursor() > cursor:
                cursor, event = self._logs(cursor)
                parts.append(event)
            if parts:
                due["comment"] = now + COMMENT_EVERY
            elif now >= due["comment"]:
                due["comment"] = now + COMMENT_EVERY
                parts.append(b": still here\n\n")
            if parts:
                body = {"type": "http.response.body", "body": b"".join(parts), "more_body": True}
                await asyncio.wait_for(send(body), PATIENCE)
            await asyncio.wait((gone,), timeout=LOGS_EVERY)

    def _logs(self, cursor: int) -> tuple[int, bytes]:
        """The newest entries since a cursor, as many as fit one event; each record is encoded once for all readers."""
        page = self._views.logs_since(cursor, MAX_ENTRIES)
        parts, size = list[bytes](), 0
        for entry in reversed(page.entries):
            part = self._encoded(entry)
            size += len(part)
            if parts and size > MAX_EVENT:
                break
            parts.append(part)
        skipped = page.skipped + len(page.entries) - len(parts)
        self.skipped += skipped
        records = [msgspec.Raw(part) for part in reversed(parts)]
        return page.cursor, _event("logs", {"cursor": page.cursor, "records": records, "skipped": skipped}, page.cursor)

    def _encoded(self, entry: Entry) -> bytes:
        """An entry as JSON; only records are cached, because a gap may change."""
        if not isinstance(entry, Record):
            return _encode(entry)
        known = self._records.get(entry.cursor)
        if known is None:
            known = self._records[entry.cursor] = _encode(entry)
            self._bytes += len(known)
            while self._bytes > MAX_SHARED and len(self._records) > 1:
                self._bytes -= len(self._records.popitem(last=False)[1])
        return known

    def _shared(self, kind: str, make: Callable[[], Any], fresh: float) -> bytes:
        """An event shared by all readers, rendered again once it is older than half its interval."""
        now = asyncio.get_running_loop().time()
        made, body = self._rendered.get(kind, (float("-inf"), b""))
        if now - made >= fresh / 2:
            body = _event(kind, make())
            self._rendered[kind] = (now, body)
        return body


def _event(kind: str, value: Any, cursor: int | None = None) -> bytes:
    number = b"" if cursor is None else b"id: %d\n" % cursor
    return b"event: %b\n%bdata: %b\n\n" % (kind.encode(), number, _encode(value))


async def until_gone(receive: Receive) -> None:
    """Returns when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
