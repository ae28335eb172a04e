"""Taps: the messages of a running collector as they arrive, one JSON object per line, for `atmost listen --collector`.

Messages that a reader does not take in time are dropped, and a line gives their number; receiving never waits for a tap.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from atmost.collector.api.security import refuse
from atmost.collector.api.stream import PATIENCE, until_gone
from atmost.collector.state.state import CollectorState
from atmost.collector.state.subjects import Tapping
from atmost.core.names import matcher

MAX_TAPS: Final = 4
EVERY: Final = 0.1
"""Seconds between two batches of messages."""
ALIVE_EVERY: Final = 0.5
"""Silence after which an empty line shows that the tap is still open (seconds)."""
_encode: Final = msgspec.json.Encoder().encode


async def serve_tap(state: CollectorState, patterns: Iterable[str], scope: Scope, receive: Receive, send: Send) -> None:
    """Serves one tap until its reader goes.

    Args:
        state: what is tapped.
        patterns: of the subjects wanted.
        scope, receive, send: of ASGI.
    """
    tap = Tapping(matcher(patterns))
    with state.lock:
        full = len(state.subjects.taps) >= MAX_TAPS
        if not full:
            state.subjects.taps.append(tap)
    if full:
        text = f"{MAX_TAPS} taps are open, which is the most: end one"
        await refuse(send, 503, "too_many_taps", text, [(b"retry-after", b"5")])
        return
    gone = asyncio.ensure_future(until_gone(receive))
    try:
        headers = [(b"content-type", b"application/x-ndjson"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD":
            await _lines(state, tap, send, gone)
    except TimeoutError:
        pass
    finally:
        with state.lock:
            state.subjects.taps.remove(tap)
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), 1.0)


async def _lines(state: CollectorState, tap: Tapping, send: Send, gone: asyncio.Future[None]) -> None:
    loop = asyncio.get_running_loop()
    said, dropped = loop.time() - ALIVE_EVERY, 0
    while not gone.done() and not state.closing:
        with state.lock:
            found, missed = tap.drain(), tap.dropped
        if missed > dropped:
            found.append(_encode({"dropped": missed - dropped}))
            dropped = missed
        if found or loop.time() - said >= ALIVE_EVERY:
            said = loop.time()
            body = b"".join(line + b"\n" for line in found) or b"\n"
            await asyncio.wait_for(send({"type": "http.response.body", "body": body, "more_body": True}), PATIENCE)
        await asyncio.wait((gone,), timeout=EVERY)
