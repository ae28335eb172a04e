"""HTTP connections within a bound, and an error in the interface's form for what is no HTTP. Requires the extra `server`.

uvicorn turns away requests that are too many, and keeps every connection that is open: those that ask nothing could take
every file descriptor there is. Here a few more than are served are told so by the gate, and the rest is cut off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import ClassVar, Final

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from atmost.collector.api.security import HEADERS
from atmost.collector.api.shapes import ErrorAnswer, ErrorDetail

ROOM: Final = 64
"""Connections beyond the bound that are still answered, with 503."""
_encode: Final = msgspec.json.Encoder().encode


class BoundedConnection(H11Protocol):
    """One connection; made by what `bounded` returns."""

    most: ClassVar[int]
    refused: ClassVar[Counter[str]]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes it, or cuts it off where there are too many."""
        if len(self.connections) < self.most:
            super().connection_made(transport)
            return
        self.refused["too_many_connections"] += 1
        self.transport = transport
        transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP; where an answer is under way already, nothing fits behind it."""
        self.refused["malformed_request"] += 1
        if self.conn.our_state is not h11.IDLE:
            if self.cycle is not None:
                self.cycle.disconnected = True
            self.transport.abort()
            return
        text = f"{msg.rstrip('.').lower()}: expected HTTP/1.1 with a Host header"
        body = _encode(ErrorAnswer(error=ErrorDetail(code="malformed_request", message=text)))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
            *HEADERS,
        ]
        answer = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        events = (answer, h11.Data(data=body), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()


def bounded(most: int, refused: Counter[str]) -> type[BoundedConnection]:
    """The class of a server's connections.

    Args:
        most: connections that are served at once.
        refused: where those that are not, and requests that are none, are counted.
    """
    return type("Connection", (BoundedConnection,), {"most": most + ROOM, "refused": refused})
