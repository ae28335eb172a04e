"""Where a listener of a foreign protocol, or the HTTP interface, is: HOST:PORT, a Unix socket's path, or off."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from atmost.errors import ConfigError

OFF: Final = "off"


@dataclass(frozen=True, slots=True)
class Place:
    """One address to listen at; a path when `path` is not empty, else host and port."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def url(self) -> str:
        """As the transports write it."""
        if self.path:
            return f"unix://{self.path}"
        return f"udp://{_bracketed(self.host)}:{self.port}"

    @property
    def text(self) -> str:
        """As the options write it."""
        return self.path or f"{_bracketed(self.host)}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this host reaches it."""
        return bool(self.path) or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host as written is this host only; a name counts when it is `localhost`."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def parse_place(text: str, option: str, *, path: bool = True) -> Place | None:
    """Reads one address; None when it is off.

    Args:
        text: HOST:PORT (an IPv6 address in brackets), an absolute path, `unix:///PATH`, or `off`.
        option: whose it is, for the message.
        path: whether a Unix socket is possible.

    Raises:
        ConfigError: it is none of these.
    """
    if text == OFF:
        return None
    given = text.removeprefix("unix://") if text.startswith("unix:///") else text
    if given.startswith("/"):
        if not path:
            raise ConfigError(option, f"{text!r}: expected HOST:PORT or off")
        return Place(path=given)
    host, colon, port = text.removeprefix("udp://").rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or not port.isascii() or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        also = ", an absolute PATH" if path else ""
        raise ConfigError(option, f"{text!r}: expected HOST:PORT (for IPv6 [ADDRESS]:PORT){also} or off")
    return Place(host=host, port=int(port))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
