"""Decides what a URL means: its transport and its parts, or one line that says what is wrong with it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from atmost.errors import AddressError

DEFAULT_URL: Final = "udp://127.0.0.1:7140"
DEFAULT_PORT: Final = 7140
_SCHEMES: Final = "udp://HOST:PORT, unix:///PATH, nats://HOST:PORT/CHANNEL or memory://NAME"
_OPTIONS: Final = {"udp": frozenset({"interface", "ttl"}), "unix": frozenset[str](), "memory": frozenset[str]()}


@dataclass(frozen=True, slots=True)
class Address:
    """A URL in parts."""

    url: str
    scheme: str
    host: str = ""
    """A host name or address, or the name of a memory network."""
    port: int = 0
    path: str = ""
    options: dict[str, str] = field(default_factory=dict)


def parse_url(url: str) -> Address:
    """Takes a URL apart.

    Raises:
        AddressError: it names no transport, no usable host, port or path, or an unknown option.
    """
    if not isinstance(url, str):
        raise AddressError(repr(url), f"a URL is text: {_SCHEMES}")
    if "\0" in unquote(url):
        raise AddressError(url, "a NUL character ends a name for the system, so that another address would be used")
    if url[:7].lower() == "nats://":  # several hosts, a user and a channel: taken apart by atmost.transport.nats.url
        return Address(url, "nats")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        detail = "the port must be from 0 to 65535" if "ort" in str(error) else str(error)
        raise AddressError(without_credentials(url), detail) from None
    if parts.scheme not in _OPTIONS:
        what = f"unknown scheme {parts.scheme!r}" if "://" in url else "no scheme"
        raise AddressError(without_credentials(url), f"{what}: write {_SCHEMES}")
    if parts.username is not None or parts.fragment:
        raise AddressError(url, "a user name or fragment has no meaning here")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - _OPTIONS[parts.scheme])
    if unknown:
        known = ", ".join(sorted(_OPTIONS[parts.scheme])) or "none"
        raise AddressError(url, f"unknown option {unknown[0]!r}; {parts.scheme} has: {known}")
    if parts.scheme == "unix":
        return _unix(url, parts.netloc, unquote(parts.path, errors="surrogateescape"))
    host = parts.hostname or ""
    if parts.scheme == "memory":
        if not parts.netloc or parts.path not in {"", "/"}:
            raise AddressError(url, "write memory://NAME")
        return Address(url, "memory", host=parts.netloc)
    if not host:
        raise AddressError(url, "no host: write udp://HOST:PORT, for example udp://127.0.0.1:7140")
    if parts.path not in {"", "/"}:
        raise AddressError(url, f"a path ({parts.path}) has no meaning for udp")
    return Address(url, "udp", host=host, port=DEFAULT_PORT if port is None else port, options=options)


def without_credentials(url: str) -> str:
    """A URL as it may be shown: without all that stands before its last @, for in one that is wrong a secret may stand anywhere there."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else scheme.rpartition("@")[2]


def _unix(url: str, netloc: str, path: str) -> Address:
    if netloc or not path.startswith("/") or path == "/":
        raise AddressError(url, "write unix:///PATH with an absolute path, for example unix:///run/atmost.sock")
    if len(os.fsencode(path)) > 107:  # sun_path is 108 bytes on Linux, 104 on macOS
        raise AddressError(url, "the path of a Unix socket has at most 107 bytes")
    return Address(url, "unix", path=path)
