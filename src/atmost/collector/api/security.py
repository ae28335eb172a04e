"""Who may ask, and what every answer carries: host check, token, methods and headers, as one ASGI layer around the rest.

Promise: an answer without the security headers does not leave; a token is compared in constant time and never logged.
On loopback the Host header must name this host, or a page of a stranger could ask through a name that it lets point here
(DNS rebinding). Elsewhere the token decides.
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
"""Paths that show data, and need the token where there is one; the page itself and its scripts hold none."""
_HEALTH: Final = ("/healthz", "/readyz")
"""Answered however busy it is."""
MAX_ADDRESS: Final = 8192
MAX_HEAD: Final = 16_384
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]%]+))(?::[0-9]*)?")
_METHODS: Final = ("GET", "HEAD")
_CHANGING: Final = {"/api/v1/heartbeats": "DELETE"}
"""What may be changed, by path."""
_OWN_SITE: Final = (b"", b"same-origin", b"none")
"""Values of Sec-Fetch-Site that a browser sends for this page itself, or for what the reader typed; other programs send none."""
_encode: Final = msgspec.json.Encoder().encode


class Gate:
    """The layer around the application."""

    def __init__(self, app: ASGIApp, *, host: str, token: str = "", hosts: Iterable[str] = ()) -> None:
        """Wraps an application.

        Args:
            app: what answers.
            host: where it is bound.
            token: what must be shown for data; empty asks for none.
            hosts: names in the Host header that are right too.
        """
        self._app = app
        self._host = host.lower()
        self.refused: Counter[str] = Counter()
        """Requests refused, by code; connections too, where they are too many."""
        self.busy: Callable[[], bool] = lambda: False
        """Whether there are more connections than are served."""
        self.change(token, hosts)

    def change(self, token: str, hosts: Iterable[str]) -> None:
        """Asks for another token, and takes other names, from now on."""
        self._token = token.encode()
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or lets the application answer."""
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
    """The host of a header; empty when it is none, as with a zone, or something behind a bracket."""
    found = _HOST.fullmatch(header)
    return "" if found is None else found[1] or found[2]
