"""Asks a collector's HTTP interface over one kept connection.

Blocking; one thread at a time, except `close`, which ends a question that another thread waits for.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from atmost.cli.options import DEFAULT_PAGE
from atmost.transport.base import without_credentials

MAX_ANSWER: Final = 32 << 20
"""Bytes of one answer; a collector's are bounded far below."""
LOG_LINES: Final = 200
"""Log records asked for at once."""
_PATIENCE: Final = 5.0

Object = dict[str, Any]


class SourceError(Exception):
    """No answer, or none that can be shown; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a collector said at one moment, as its interface says it."""

    overview: Object
    senders: Object
    heartbeats: Object
    logs: Object
    """Only what is new since the snapshot before."""


class Source:
    """The collector that a command asks, over HTTP."""

    def __init__(self, url: str = DEFAULT_PAGE, token: str = "") -> None:
        """Connects when it is first asked.

        Args:
            url: http://HOST:PORT, or https; a path before /api is kept.
            token: shown with every question; empty shows none.

        Raises:
            ValueError: the address is none, and how one looks.
        """
        shown = without_credentials(url).partition("?")[0]
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(f"{shown!r} is not the address of a collector: write one like {DEFAULT_PAGE}") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{shown!r} is not the address of a collector: write one like {DEFAULT_PAGE}")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(f"{shown!r}: an address has no user name or query here; a token is given with --token")
        self.url = url.rstrip("/")
        default = 443 if parts.scheme == "https" else 80
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, port or default, timeout=_PATIENCE)
        self._path = parts.path.rstrip("/")
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._started: float | None = None
        self._cursor: int | None = None

    def snapshot(self) -> Snapshot:
        """Everything as it is now, and the log since the last snapshot.

        Raises:
            SourceError: no collector answers there, or it does not answer this.
        """
        overview = self.get("overview")
        if overview.get("started") != self._started:
            self._started, self._cursor = overview.get("started"), None
        question = {"limit": LOG_LINES} | ({} if self._cursor is None else {"after": self._cursor})
        snapshot = Snapshot(overview, self.get("senders"), self.get("heartbeats"), self.get("logs", **question))
        self._cursor = snapshot.logs.get("cursor")
        return snapshot

    def get(self, name: str, /, **question: Any) -> Object:
        """One object of the interface.

        Args:
            name: of the path under /api/v1.
            question: its parameters.

        Raises:
            SourceError: as `snapshot`.
        """
        return self._answer("GET", name, question)

    def delete(self, name: str, /, **question: Any) -> Object:
        """Has something forgotten.

        Args:
            name: of the path under /api/v1.
            question: its parameters.

        Raises:
            SourceError: as `snapshot`; also when there is nothing of this name.
        """
        return self._answer("DELETE", name, question)

    def _answer(self, method: str, name: str, question: dict[str, Any]) -> Object:
        path = f"{self._path}/api/v1/{name}" + (f"?{urlencode(question)}" if question else "")
        try:
            status, body = self._ask(method, path)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        if status == 401:
            raise self._wants_token()
        answer = _decoded(body)
        if status != 200 or answer is None:
            raise SourceError(self._refusal(status, answer))
        return answer

    def lines(self, name: str, /, **question: Any) -> Iterator[bytes]:
        """The lines of an answer that does not end, as they come; empty ones say that it is still open.

        Raises:
            SourceError: as `snapshot`; also when the collector ends.
        """
        path = f"{self._path}/api/v1/{name}" + (f"?{urlencode(question, doseq=True)}" if question else "")
        try:
            self._connection.request("GET", path, headers=self._headers)
            answer = self._connection.getresponse()
            if answer.status == 200:
                yield from _lines_of(answer)
            text = answer.read(MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        if answer.status == 401:
            raise self._wants_token()
        raise SourceError(
            f"the collector at {self.url} has ended"
            if answer.status == 200
            else self._refusal(answer.status, _decoded(text))
        )

    def close(self) -> None:
        """Ends the connection; the next question opens another. May be called from any thread."""
        sock = self._connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        kept = self._connection.sock is not None
        try:
            return self._once(method, path)
        except (http.client.RemoteDisconnected, ConnectionError):
            if not kept:
                raise
        self._connection.close()  # a kept connection that the collector has closed meanwhile
        return self._once(method, path)

    def _once(self, method: str, path: str) -> tuple[int, bytes]:
        self._connection.request(method, path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read(MAX_ANSWER + 1)
        if len(body) > MAX_ANSWER:
            raise http.client.HTTPException(f"an answer of more than {MAX_ANSWER} bytes")
        if answer.length:
            raise http.client.HTTPException("the answer ended early")
        return answer.status, body

    def _unreachable(self, error: Exception) -> SourceError:
        self.close()
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return SourceError(
            f"no collector answers at {self.url} ({reason}): start one with 'atmost collect', "
            "or say where it listens with --collector"
        )

    def _wants_token(self) -> SourceError:
        return SourceError(f"the collector at {self.url} asks for its token: give it with --token, or in ATMOST_TOKEN")

    def _refusal(self, status: int, answer: Object | None) -> str:
        error = answer.get("error") if answer else None
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            return f"the collector at {self.url} refuses: {error['message']}"
        return f"what answers at {self.url} is no collector (status {status}): say where one listens with --collector"


def _lines_of(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    rest = b""
    while part := answer.read1(65_536):
        *whole, rest = (rest + part).split(b"\n")
        if len(rest) > MAX_ANSWER:
            raise http.client.HTTPException(f"a line of more than {MAX_ANSWER} bytes")
        yield from whole


def _decoded(body: bytes) -> Object | None:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
