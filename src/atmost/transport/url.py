"""Decides what a URL means: one table of schemes, each with how it is read and what serves its two ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from atmost.core.shards import Shards
from atmost.errors import AddressError, OptionError
from atmost.transport.base import Address, Inlet, Outlet, without_credentials
from atmost.transport.memory import MemoryInlet, MemoryOutlet
from atmost.transport.udp import UdpOutlet, bind_udp
from atmost.transport.unix import UnixOutlet, bind_unix

DEFAULT_URL: Final = "udp://127.0.0.1:7140"
DEFAULT_PORT: Final = 7140
_MAX_UNIX_PATH: Final = 107
"""sun_path has 108 bytes on Linux (104 on macOS), the last of them NUL."""


def _parse_udp(url: str, parts: SplitResult) -> Address:
    if not parts.hostname:
        raise AddressError(url, "no host: write udp://HOST:PORT, for example udp://127.0.0.1:7140")
    if parts.path not in {"", "/"}:
        raise AddressError(url, f"a path ({parts.path}) has no meaning for udp")
    port = DEFAULT_PORT if parts.port is None else parts.port
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Address(url, "udp", host=parts.hostname, port=port, options=options)


def _parse_unix(url: str, parts: SplitResult) -> Address:
    path = unquote(parts.path, errors="surrogateescape")
    if parts.netloc or not path.startswith("/") or path == "/":
        raise AddressError(url, "write unix:///PATH with an absolute path, for example unix:///run/atmost.sock")
    if len(os.fsencode(path)) > _MAX_UNIX_PATH:
        raise AddressError(url, f"the path of a Unix socket has at most {_MAX_UNIX_PATH} bytes")
    return Address(url, "unix", path=path)


def _parse_memory(url: str, parts: SplitResult) -> Address:
    if not parts.netloc or parts.path not in {"", "/"}:
        raise AddressError(url, "write memory://NAME")
    return Address(url, "memory", host=parts.netloc)


def _nats_outlet(address: Address) -> Outlet:
    from atmost.transport.nats.outlet import NatsOutlet

    return NatsOutlet(address)


def _nats_inlet(address: Address, shards: Shards | None) -> Inlet:
    from atmost.transport.nats.inlet import NatsInlet

    return NatsInlet(address, shards)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of address."""

    form: str
    """How its URLs are written."""
    parse: Callable[[str, SplitResult], Address] | None
    """Parses a URL; None where the transport does that itself."""
    outlet: Callable[[Address], Outlet]
    inlet: Callable[[Address, Shards | None], Inlet]
    options: frozenset[str] = frozenset()
    shards: bool = False
    """Whether several receivers may divide an address (R17)."""


_SCHEMES: Final = {
    "udp": Scheme(
        "udp://HOST:PORT",
        _parse_udp,
        UdpOutlet,
        lambda address, _: bind_udp(address),
        options=frozenset({"interface", "ttl"}),
    ),
    "unix": Scheme("unix:///PATH", _parse_unix, UnixOutlet, lambda address, _: bind_unix(address)),
    # Several hosts, a user and a channel: parsed by atmost.transport.nats.url.
    "nats": Scheme("nats://HOST:PORT/CHANNEL", None, _nats_outlet, _nats_inlet, shards=True),
    "memory": Scheme("memory://NAME", _parse_memory, MemoryOutlet, lambda address, _: MemoryInlet(address)),
}
_FORMS: Final = ", ".join(scheme.form for scheme in list(_SCHEMES.values())[:-1])
_KNOWN: Final = f"{_FORMS} or {list(_SCHEMES.values())[-1].form}"


def parse_url(url: str) -> Address:
    """Parses a URL.

    Raises:
        AddressError: its scheme, host, port or path cannot be used, or an option is unknown.
    """
    if not isinstance(url, str):
        raise AddressError(repr(url), f"not a string: write {_KNOWN}")
    if "\0" in unquote(url):
        raise AddressError(
            without_credentials(url), "a NUL character would end the name early, so that another address would be used"
        )
    name = url.partition("://")[0].lower()
    scheme = _SCHEMES.get(name) if "://" in url else None
    if scheme is not None and scheme.parse is None:
        return Address(url, name)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        detail = "the port must be from 0 to 65535" if "ort" in str(error) else str(error)
        raise AddressError(without_credentials(url), detail) from None
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or scheme.parse is None:
        what = f"unknown scheme {parts.scheme!r}" if "://" in url else "no scheme"
        raise AddressError(without_credentials(url), f"{what}: write {_KNOWN}")
    if parts.username is not None or parts.fragment:
        raise AddressError(without_credentials(url), "a user name or fragment has no meaning here")
    unknown = sorted(set(dict(parse_qsl(parts.query, keep_blank_values=True))) - scheme.options)
    if unknown:
        known = ", ".join(sorted(scheme.options)) or "none"
        raise AddressError(url.partition("?")[0], f"unknown option {unknown[0]!r}; {parts.scheme} has: {known}")
    return scheme.parse(url, parts)


def has_shards(url: str) -> bool:
    """Whether several receivers may divide this address.

    Raises:
        AddressError: as `parse_url`.
    """
    return _SCHEMES[parse_url(url).scheme].shards


def open_outlet(url: str) -> Outlet:
    """The sending end for `url`.

    Raises:
        AddressError: the URL cannot be used for sending.
    """
    address = parse_url(url)
    return _SCHEMES[address.scheme].outlet(address)


def open_inlet(url: str, shards: Shards | None = None) -> Inlet:
    """The receiving end for `url`, bound exclusively.

    Args:
        url: where.
        shards: which shards of a nats:// channel are received here; None takes all of them.

    Raises:
        AddressError: the URL cannot be used.
        AddressInUse: another receiver has the address.
        BindError: the system, or the server, refused.
        OptionError: this kind of address has no shards, or another number of them.
    """
    address = parse_url(url)
    scheme = _SCHEMES[address.scheme]
    if shards is not None and not scheme.shards:
        raise OptionError("shards", str(shards), f"None for {address.scheme}://: only a nats:// channel has shards")
    return scheme.inlet(address, shards)
