"""Parses nats:// URLs: servers, channel, shards, credentials and TLS; the error for a wrong URL is one line that says why."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from atmost.core.shards import MAX_SHARDS
from atmost.errors import AddressError
from atmost.transport.base import without_credentials

DEFAULT_PORT: Final = 4222
DEFAULT_SHARDS: Final = 16
DEFAULT_LEASE: Final = 1.0
DEFAULT_PING: Final = 10.0
_FORM: Final = "write nats://HOST:PORT/CHANNEL, for example nats://127.0.0.1:4222/telemetry"
_OPTIONS: Final = frozenset({"shards", "tls", "ca", "cert", "cert_key", "creds", "nkey", "lease", "ping"})
_CHANNEL: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", re.ASCII)
_MAX_CHANNEL: Final = 128


class Tls(StrEnum):
    """When a connection is encrypted."""

    ASKED = ""
    """When the server asks for it."""
    REQUIRED = "1"
    """Always: a server that does not offer it is refused."""
    FIRST = "first"
    """Always, and before the server says anything."""


class Server(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """As in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """A nats:// URL in parts."""

    url: str
    """As it may be shown: without credentials."""
    servers: tuple[Server, ...]
    channel: str
    shards: int = DEFAULT_SHARDS
    """Number of shards; the same at every sender and receiver of the channel."""
    user: str | None = None
    password: str | None = None
    token: str | None = None
    tls: Tls = Tls.ASKED
    ca: str | None = None
    """A file with the certificates that are trusted instead of the system's."""
    cert: str | None = None
    """A file with this end's own certificate."""
    cert_key: str | None = None
    """A file with its key, when the key is not in `cert`."""
    creds: str | None = None
    """A file with a user's JWT and seed."""
    nkey: str | None = None
    """A file with a seed."""
    lease: float = DEFAULT_LEASE
    """How long a receiver holds its shards without hearing itself (seconds)."""
    ping: float = DEFAULT_PING
    """Seconds of silence after which a server is asked whether it is alive; after as many again it is given up."""

    def subject(self, shard: int) -> str:
        """The subject of a shard's datagrams."""
        return f"atmost.{self.channel}.{shard}"

    @property
    def presence(self) -> str:
        """The subject on which receivers announce what they own."""
        return f"atmost.{self.channel}.owners"


def parse_nats(url: str) -> NatsAddress:
    """Parses a nats:// URL; without a host the servers are those of `NATS_URL`, or else 127.0.0.1:4222.

    Raises:
        AddressError: the channel is missing, or a part cannot be used; the message never holds credentials.
    """
    shown = without_credentials(url)
    rest, _, fragment = url[len("nats://") :].partition("#")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if any("@" in part for part in (path, fragment, *options)):  # behind a secret that was cut in two
        raise AddressError(shown, "in a user, password or token / is written %2F, ? %3F and # %23")
    if fragment:
        raise AddressError(shown, "a fragment has no meaning here")
    if unknown := sorted(set(options) - _OPTIONS):
        shown = shown.partition("?")[0]  # what is taken for an option may be a secret
        raise AddressError(shown, f"unknown option {unknown[0]!r}; nats has: {', '.join(sorted(_OPTIONS))}")
    channel = unquote(path.rstrip("/"))
    if not channel:
        raise AddressError(shown, f"no channel: {_FORM}")
    if not _CHANNEL.fullmatch(channel) or len(channel) > _MAX_CHANNEL:
        raise AddressError(
            shown,
            f"channel {channel[:40]!r}: tokens of letters, digits, - and _, divided by dots, {_MAX_CHANNEL} at most",
        )
    tls = _tls(shown, options)
    if not authority:
        authority, asked = _environment()
        tls = Tls.REQUIRED if asked and tls is Tls.ASKED else tls
    user, password, token, servers = _authority(shown, authority)
    files = {name: options.get(name) or None for name in ("ca", "cert", "cert_key", "creds", "nkey")}
    if sum((user is not None or token is not None, files["creds"] is not None, files["nkey"] is not None)) > 1:
        raise AddressError(shown, "give only one of user and password, a token, nkey and creds")
    return NatsAddress(
        url=f"nats://{','.join(map(str, servers))}/{channel}" + (f"?{query}" if query else ""),
        servers=servers,
        channel=channel,
        shards=int(_number(shown, options, "shards", DEFAULT_SHARDS, 1, MAX_SHARDS, whole=True)),
        user=user,
        password=password,
        token=token,
        tls=tls,
        lease=_number(shown, options, "lease", DEFAULT_LEASE, 0.05, 60),
        ping=_number(shown, options, "ping", DEFAULT_PING, 0.05, 3600),
        **files,
    )


def read_port(text: str) -> int | None:
    """The port in `text`; None when there is none. The length is checked first, because `int` refuses thousands of digits."""
    known = text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65_535
    return int(text) if known else None


def _environment() -> tuple[str, bool]:
    """The servers of `NATS_URL`, and whether it asks for TLS."""
    found = os.environ.get("NATS_URL") or f"127.0.0.1:{DEFAULT_PORT}"
    parts = [part.strip() for part in found.split(",")]
    return ",".join(part.split("://")[-1].rstrip("/") for part in parts), any(p.startswith("tls://") for p in parts)


def _authority(shown: str, text: str) -> tuple[str | None, str | None, str | None, tuple[Server, ...]]:
    """User, password, token and servers of `[user:pass@|token@]host:port[,host:port]`."""
    users = set()
    servers = []
    for part in text.split(","):
        who, _, where = part.rpartition("@")
        users |= {who} if who else set()
        servers.append(_server(shown, where))
    if len(users) > 1:
        raise AddressError(shown, "give one user for all servers; a comma in a password is written %2C")
    if not users:
        return None, None, None, tuple(servers)
    user, colon, password = users.pop().partition(":")
    if not colon:
        return None, None, unquote(user), tuple(servers)
    return unquote(user), unquote(password), None, tuple(servers)


def _server(shown: str, text: str) -> Server:
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise AddressError(shown, "write an IPv6 address in brackets: [::1]:4222")
        port = rest[1:]
    elif ":" in text:
        host, _, port = text.partition(":")
    if not host or any(c.isspace() or not c.isprintable() for c in host):
        raise AddressError(shown, f"a server without a host: {_FORM}")
    number = read_port(port) if port else DEFAULT_PORT
    if number is None:
        raise AddressError(shown, "the port must be from 1 to 65535")
    return Server(host, number)


def _tls(shown: str, options: dict[str, str]) -> Tls:
    text = options.get("tls", "")
    if text not in {"", "1", "first"}:
        raise AddressError(
            shown, f"tls={text}: write 1 (always encrypt) or first (begin TLS before the server's greeting)"
        )
    if not text and (options.get("ca") or options.get("cert")):
        return Tls.REQUIRED
    return Tls(text)


def _number(
    shown: str, options: dict[str, str], name: str, usual: float, low: float, high: float, *, whole: bool = False
) -> float:
    text = options.get(name, "")
    if not text:
        return usual
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise AddressError(shown, f"{name}={text}: {'a whole number' if whole else 'seconds'} from {low:g} to {high:g}")
    return number
