"""Access control as one ASGI layer around the application: host check, token, methods and security headers.

Every answer has the security headers; tokens are compared in constant time and never logged. On loopback the Host header must
name this host; otherwise a foreign web page could read data through a DNS name that it points here (DNS rebinding).
Elsewhere the token decides.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atmost.collector.api.shapes import ErrorAnswer, ErrorDetail
from atmost.collector.options import is_loopback

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_CLOSED: Final = ("/api/", "/metrics")
"""Paths that show data and need the token if one is set; the page itself and its scripts contain no data."""
_HEALTH: Final = ("/healthz", "/readyz")
"""Answered even when busy."""
MAX_ADDRESS: Final = 8192
MAX_HEAD: Final = 16_384
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]%]+))(?::[0-9]*)?")
_METHODS: Final = ("GET", "HEAD")
_CHANGING: Final = {"/api/v1/heartbeats": "DELETE"}
"""The methods that change anything, by path."""
_OWN_SITE: Final = (b"", b"same-origin", b"none")
"""Accepted values of Sec-Fetch-Site: from this page, from a typed address, or absent, as from programs that are not browsers."""
_encode: Final = msgspec.json.Encoder().encode


class Gate:
    """The layer around the application."""

    def __init__(self, app: ASGIApp, *, host: str, token: str = "", hosts: Iterable[str] = ()) -> None:
        """Wraps an application.

        Args:
            app: the application.
            host: the bound address.
            token: the token required for data; empty for none.
            hosts: further names accepted in the Host header.
        """
        self._app = app
        self._host = host.lower()
        self.refused: Counter[str] = Counter()
        """Requests refused, by code; and connections refused because there were too many."""
        self.busy: Callable[[], bool] = lambda: False
        """Whether there are too many connections, or too many bytes unsent."""
        self.change(token, hosts)

    def change(self, token: str, hosts: Iterable[str]) -> None:
        """Replaces the token and the accepted host names."""
        self._token = token.encode()
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses the request, or passes it to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
                if not any(name == b"cache-control" for name, _ in message["headers"]):
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, guarded)
            return
        status, code, text, headers = refusal
        self.refused[code] += 1
        await refuse(guarded, status, code, text, headers)

    def _refusal(self, scope: Scope) -> tuple[int, str, str, list[tuple[bytes, bytes]]] | None:
        if scope["path"] not in _HEALTH and self.busy():
            text = "too many connections at once (max_connections), or too much that nobody takes: try again"
            return 503, "busy", text, [(b"retry-after", b"1"), (b"connection", b"close")]
        changing = _CHANGING.get(scope["path"])
        if scope["method"] not in _METHODS and scope["method"] != changing:
            allowed = ", ".join((*_METHODS, changing) if changing else _METHODS)
            return 405, "bad_method", f"only {allowed} are answered here", [(b"allow", allowed.encode())]
        if len(scope["path"]) + len(scope["query_string"]) > MAX_ADDRESS:
            return 414, "long_address", f"an address has at most {MAX_ADDRESS} characters", []
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD:
            return 431, "large_head", f"the headers have at most {MAX_HEAD} bytes", []
        headers = dict(scope["headers"])
        if not self._knows(headers.get(b"host", b"").decode("latin-1")):
            text = "the Host header names another host; add the name to http_hosts if it is right"
            return 403, "bad_host", text, []
        if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
            return 400, "body", "a request has no body here", [(b"connection", b"close")]
        if scope["path"].startswith(_CLOSED) and headers.get(b"sec-fetch-site", b"") not in _OWN_SITE:
            return 403, "cross_site", "a page of another site asks: its reader may look here, that page may not", []
        if self._token and scope["path"].startswith(_CLOSED):
            kind, _, shown = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(shown.strip(), self._token):
                text = "show the token: Authorization: Bearer TOKEN"
                return 401, "unauthorized", text, [(b"www-authenticate", b"Bearer")]
        return None

    def _knows(self, header: str) -> bool:
        name = _without_port(header).lower()
        if name in self._hosts:
            return True
        if not is_loopback(self._host):
            return not self._hosts
        return name == self._host or is_loopback(name)


async def refuse(send: Send, status: int, code: str, text: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Sends an error in the interface's form."""
    body = _encode(ErrorAnswer(error=ErrorDetail(code=code, message=text)))
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*kind, *headers]})
    await send({"type": "http.response.body", "body": body})


def _without_port(header: str) -> str:
    """The host in a Host header; empty if it is malformed, for example with a zone or with text behind a bracket."""
    found = _HOST.fullmatch(header)
    return "" if found is None else found[1] or found[2]
