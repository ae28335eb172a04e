"""Every option of the collector, with its meaning, unit, default and range, and how they are read: file < environment < flags.

The dataclass is the only list of them: file, environment, `--set`, `--print-config` and docs/collector.md follow it.
In the environment an option is ATMOST_COLLECT_ and its name in capitals; lists are separated by commas.
The receivers read ATMOST_BIND and ATMOST_KEY themselves when no option says otherwise.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from atmost.core.limits import GRACE, MAX_QUEUE, MAX_SESSIONS
from atmost.endpoint.checking import read_file, read_secret
from atmost.errors import ConfigError
from atmost.ingest.statsd import StatsdMapping, read_mapping
from atmost.metrics.state import most_plain
from atmost.transport.base import without_credentials

MEBIBYTE: Final = 1 << 20
_MAX_FILE: Final = MEBIBYTE
"""Bytes of a configuration or of a mapping file; each is read again at every SIGHUP."""
CHOICES: Final = {
    "log_format": ("keyvalue", "json"),
    "statsd_gauges": ("statsd", "dogstatsd"),
    "statsd_timer_unit": ("seconds", "milliseconds"),
    "syslog_host": ("field", "peer"),
}
"""Options with a few fixed values."""
PLACE_OPTIONS: Final = {"statsd": {"gauges": "statsd_gauges"}, "syslog": {"host": "syslog_host"}}
"""Options that may be set for one listener, behind a `?` in its address."""
FINE_SLOTS: Final = 600
"""Slots of 1 second."""
COARSE_SLOT: Final = 10.0
COARSE_SLOTS: Final = 2160
"""Six hours."""
_SERIES_BYTES: Final = (FINE_SLOTS + COARSE_SLOTS) * 20 + 9000
"""Ours: a gauge with losses, the longest name and labels; what a session of plain readings lost takes less."""
_STATSD_BYTES: Final = (FINE_SLOTS + COARSE_SLOTS) * 13 + 30_000
_SPELLINGS_BYTES: Final = 1536
"""What is remembered of the lines that write a series of StatsD."""
_LINES_BYTES: Final = 4 * MEBIBYTE
"""Whole lines of StatsD, numbers, and values not booked yet."""
_RING_BYTES: Final = (FINE_SLOTS + COARSE_SLOTS) * 16
_HISTOGRAM_BYTES: Final = 17 << 16
_READERS_BYTES: Final = 48 * MEBIBYTE
"""Unsent answers, encoded records shared by readers, and messages waiting for taps."""
_FLOW_SERIES: Final = 4
"""Series that the collector itself counts for each sender."""
_SESSION_BYTES: Final = 20_480
"""A session at a receiver, with the longest report, and its line in the ledgers."""
_SENDER_BYTES: Final = 24_576
"""What metrics and logs know of a session."""
_HELD_BYTES: Final = 48 * MEBIBYTE
"""Log records that wait for others, gaps in logs, and their totals."""
_LIFE_BYTES: Final = 12_288
"""A life of a log handler, with gaps of as many levels as it may have."""
_RETIRED_BYTES: Final = 64 * MEBIBYTE
"""Totals of processes that are gone."""
_SAMPLES_BYTES: Final = 32 * MEBIBYTE
"""Subjects, refused senders, chunks of GELF, numbers of syslog's senders."""
_SAMPLE_BYTES: Final = 2048
_HEARTBEAT_BYTES: Final = 24_576
_QUEUED_BYTES: Final = 1280
_MEMBER_BYTES: Final = 192
MEMBERS_IN_ALL: Final = 100
"""Members of all StatsD sets together, as a multiple of what one set may have."""
_BASE_BYTES: Final = 96 * MEBIBYTE
"""The process with its libraries and work in progress."""


class Meaning(NamedTuple):
    """Description, unit, range and reload of an option."""

    text: str
    unit: str
    least: float | None
    most: float | None
    reload: bool

    @property
    def range(self) -> str:
        """The range in words; requires `least`."""
        return f"{self.least:,.10g} or more" if self.most is None else f"{self.least:,.10g} to {self.most:,.10g}"


def option(
    default: Any,
    text: str,
    *,
    unit: str = "",
    least: float | None = None,
    most: float | None = None,
    reload: bool = False,
) -> Any:
    """Makes a field with its meaning."""
    return field(default=default, metadata={"meaning": Meaning(text, unit, least, most, reload)})


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorOptions:
    """All options of a collector."""

    bind: tuple[str, ...] = option(
        (), "where our senders are received: URLs, or off; empty takes ATMOST_BIND, then udp://127.0.0.1:7140"
    )
    shards: str = option("", "the shards received here of a nats:// address in bind, such as 0-7/16; empty takes all")
    audience: str = option("", "the audience that both ends agreed on")
    key_file: str = option(
        "", "a file with a key of 'atmost keygen' on each line; empty takes ATMOST_KEY, then no key", reload=True
    )
    workers: int = option(1, "processes that share the first address of bind", unit="processes", least=1, most=1024)
    grace: float = option(
        GRACE,
        "how long a missing message may still arrive before it counts as lost",
        unit="seconds",
        least=0.001,
        most=60,
    )
    statsd: tuple[str, ...] = option(
        ("127.0.0.1:8125",), "where StatsD and DogStatsD are received: HOST:PORT, paths of Unix sockets, or off"
    )
    statsd_gauges: str = option(
        "statsd",
        "meaning of a gauge's sign: statsd (a change) or dogstatsd (a value); for one listener HOST:PORT?gauges=dogstatsd",
        reload=True,
    )
    statsd_timer_unit: str = option(
        "seconds",
        "unit of timers at /metrics and in the API: seconds, as in statsd_exporter, or milliseconds, as sent",
    )
    statsd_mapping: str = option(
        "", "a mapping file of statsd_exporter, with rules from StatsD's names to names and labels", reload=True
    )
    syslog: tuple[str, ...] = option(("127.0.0.1:5514",), "where syslog is received: HOST:PORT, paths, or off")
    syslog_host: str = option(
        "field",
        "meaning of the word after an RFC 3164 time if no tag follows it: field (it is the host) or peer (it begins "
        "the text); for one listener HOST:PORT?host=peer",
        reload=True,
    )
    gelf: tuple[str, ...] = option(("127.0.0.1:12201",), "where GELF is received: HOST:PORT, paths, or off")
    unix_mode: str = option(
        "",
        "permissions of the Unix sockets in bind, statsd, syslog and gelf, such as 0660; empty leaves them to the umask",
    )
    http: str = option("127.0.0.1:7141", "where page, API and /metrics are served: HOST:PORT, or off")
    http_hosts: tuple[str, ...] = option(
        (), "further host names under which the page is requested, such as a proxy's", reload=True
    )
    token: str = option("", "the token that readers must show; required unless http is on loopback", reload=True)
    token_file: str = option("", "a file that holds the token, readable by its owner only", reload=True)
    expect: tuple[str, ...] = option(
        (),
        "heartbeats expected even before they are first heard: names, or patterns such as 'worker-*'",
        reload=True,
    )
    state_dir: str = option(
        "",
        "a folder that keeps known heartbeats over a restart; empty takes STATE_DIRECTORY, then the user's "
        "(XDG_STATE_HOME, ~/.local/state); off keeps none",
    )
    max_series: int = option(
        4000, "series of our senders kept, 6 KB each when new, up to 64 KB after six hours", unit="series", least=1
    )
    max_series_per_sender: int = option(
        2000, "series of one sender's registry, or of one session", unit="series", least=1
    )
    max_statsd_series: int = option(4000, "series of StatsD kept, of the same size", unit="series", least=1)
    max_histograms: int = option(
        250, "histograms among our senders' series, and as many among StatsD's: up to 1 MB each", unit="series", least=1
    )
    max_senders: int = option(
        MAX_SESSIONS,
        "sessions remembered by each address in bind and each worker",
        unit="sessions",
        least=1,
        most=1_000_000,
    )
    max_heartbeats: int = option(4096, "heartbeats watched", unit="heartbeats", least=1, most=1_000_000)
    max_queue: int = option(MAX_QUEUE, "messages that wait for the state", unit="messages", least=1, most=1 << 30)
    max_log_records: int = option(20_000, "records of the log tail", unit="records", least=1, reload=True)
    max_log_bytes: int = option(32 * MEBIBYTE, "bytes of the log tail", unit="bytes", least=65_536, reload=True)
    max_log_records_per_sender: int = option(
        10_000,
        "records of one sender in the tail; beyond it that sender's oldest are dropped",
        unit="records",
        least=1,
        reload=True,
    )
    max_record: int = option(
        65_536,
        "characters of a record's message, and of its exception; the rest is cut and marked",
        unit="characters",
        least=256,
    )
    max_set_values: int = option(1000, "different values of one StatsD set in ten seconds", unit="values", least=1)
    max_rejected: int = option(200, "samples of rejected input", unit="samples", least=1, most=10_000)
    max_streams: int = option(
        16, "readers of the event stream at once", unit="streams", least=1, most=1000, reload=True
    )
    max_connections: int = option(64, "HTTP connections at once", unit="connections", least=4, most=10_000)
    max_exported: int = option(10_000, "series that /metrics shows", unit="series", least=1, reload=True)
    max_exported_senders: int = option(
        100,
        "senders with labels of their own at /metrics; the others are folded into 'other'",
        unit="senders",
        least=0,
        reload=True,
    )
    log_format: str = option("keyvalue", "format of the collector's own log on stderr: keyvalue or json")

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            ConfigError: a value is not valid.
        """
        for each in fields(self):
            check(each, getattr(self, each.name))
        for name, words in CHOICES.items():
            if getattr(self, name) not in words:
                raise ConfigError(name, f"{getattr(self, name)!r}: expected {' or '.join(words)}")
        if self.unix_mode and not re.fullmatch("0?[0-7]{3}", self.unix_mode):
            raise ConfigError("unix_mode", f"{self.unix_mode!r}: expected three octal digits in quotes, such as '0660'")
        if self.token and self.token_file:
            raise ConfigError("token", "give token or token_file, not both")

    def receivers(self, addresses: int) -> int:
        """The number of receivers, each with its own sessions: one per address, but one per worker at the first."""
        return max(1, addresses) + self.workers - 1

    def memory_bound(self) -> int:
        """About the most memory that the process can need, whatever is sent to it (bytes)."""
        return sum(self.memory_bounds().values())

    def memory_bounds(self) -> dict[str, int]:
        """The same by what it is needed for; `python -m benchmarks.memory` fills each (bytes)."""
        return {
            "process": _BASE_BYTES,
            "series": self.max_series * _SERIES_BYTES
            + self.max_statsd_series * (_STATSD_BYTES + _SPELLINGS_BYTES)
            + _LINES_BYTES
            + min(self.max_senders, most_plain(self.max_series)) * _RING_BYTES
            + (self.max_exported_senders + 1) * _FLOW_SERIES * _RING_BYTES,
            "histograms": 2 * self.max_histograms * _HISTOGRAM_BYTES,
            "senders": self.max_senders * (_SENDER_BYTES + _SESSION_BYTES * self.receivers(len(self.bind))),
            "retired": _RETIRED_BYTES,
            "heartbeats": self.max_heartbeats * _HEARTBEAT_BYTES,
            "logs": self.max_log_bytes * 2 + self.max_senders * _LIFE_BYTES + _HELD_BYTES,
            "queue": self.max_queue * _QUEUED_BYTES * self.receivers(len(self.bind)),
            "samples": _SAMPLES_BYTES + self.max_rejected * _SAMPLE_BYTES,
            "sets": MEMBERS_IN_ALL * (self.max_set_values * _MEMBER_BYTES + 8192),
            "readers": _READERS_BYTES,
        }


def meaning_of(each: Field[Any]) -> Meaning:
    """The meaning of a field."""
    found: Meaning = each.metadata["meaning"]
    return found


def check(each: Field[Any], value: object) -> None:
    """Checks the type and range of a value.

    Raises:
        ConfigError: the value is not valid; the message says what is expected.
    """
    meaning, default = meaning_of(each), each.default
    kind = type(default)
    if kind is tuple:
        sound = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        wanted = "a text or a list of texts"
    elif kind is float:
        sound, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
    elif kind is int:
        sound, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    else:
        sound, wanted = isinstance(value, str), "a text"
    if not sound:
        raise ConfigError(each.name, f"{value!r}: expected {wanted}")
    if isinstance(value, int | float):
        least, most = meaning.least, meaning.most
        if not (least is None or value >= least) or not (most is None or value <= most):
            raise ConfigError(each.name, f"{value!r}: expected {meaning.range} {meaning.unit}".rstrip())


OFF: Final = "off"


@dataclass(frozen=True, slots=True)
class Place:
    """One address to listen at; a path when `path` is not empty, else host and port."""

    host: str = ""
    port: int = 0
    path: str = ""
    options: tuple[tuple[str, str], ...] = ()
    """Options of this listener alone, by the names of `CollectorOptions`."""

    @property
    def url(self) -> str:
        """The address as a URL."""
        if self.path:
            return f"unix://{self.path}"
        return f"udp://{_bracketed(self.host)}:{self.port}"

    @property
    def text(self) -> str:
        """The address as written in options."""
        return self.path or f"{_bracketed(self.host)}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this host reaches it."""
        return bool(self.path) or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host is a loopback address; of names only `localhost` counts."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def parse_place(text: str, option: str, *, path: bool = True) -> Place | None:
    """Parses one address; None for `off`.

    Args:
        text: HOST:PORT (an IPv6 address in brackets), an absolute path, `unix:///PATH`, or `off`; options of this listener
            behind a `?`, as in `127.0.0.1:8126?gauges=dogstatsd`.
        option: its option's name, for error messages and for the listener options allowed.
        path: whether a Unix socket is allowed.

    Raises:
        ConfigError: the address is not valid.
    """
    if text == OFF:
        return None
    own: tuple[tuple[str, str], ...] = ()
    if option in PLACE_OPTIONS and "?" in text:
        text, _, query = text.partition("?")
        own = tuple(_place_option(part, option) for part in query.split("&"))
    shown = without_credentials(text)
    given = text.removeprefix("unix://") if text.startswith("unix:///") else text
    if given.startswith("/"):
        if not path:
            raise ConfigError(option, f"{shown!r}: expected HOST:PORT or off")
        return Place(path=given, options=own)
    host, colon, port = text.removeprefix("udp://").rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or not port.isascii() or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        also = ", an absolute PATH" if path else ""
        raise ConfigError(option, f"{shown!r}: expected HOST:PORT (for IPv6 [ADDRESS]:PORT){also} or off")
    return Place(host=host, port=int(port), options=own)


def _place_option(text: str, kind: str) -> tuple[str, str]:
    """One listener option, under its full name, with its value.

    Raises:
        ConfigError: the option is unknown, or its value is not allowed.
    """
    name, _, value = text.partition("=")
    whole = PLACE_OPTIONS[kind].get(name)
    if whole is None:
        raise ConfigError(kind, f"{text!r}: expected {', '.join(f'{each}=' for each in PLACE_OPTIONS[kind])}")
    if value not in CHOICES[whole]:
        raise ConfigError(kind, f"{text!r}: expected {name}={' or '.join(CHOICES[whole])}")
    return whole, value


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


PREFIX: Final = "ATMOST_COLLECT_"
_FIELDS: Final[dict[str, Field[Any]]] = {each.name: each for each in fields(CollectorOptions)}
_LEAST_TOKEN: Final = 16


def load_options(
    file: str | None = None,
    environment: Mapping[str, str] | None = None,
    settings: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> CollectorOptions:
    """Combines the options from all sources.

    Args:
        file: a TOML file; None reads none.
        environment: of the process.
        settings: `NAME=VALUE`, as given to `--set`.
        flags: by name; None and empty tuples are not set.

    Raises:
        ConfigError: an unknown name, with the nearest one; a value of the wrong kind; a file that cannot be read.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values |= _from_file(Path(file))
    values |= _from_environment(environment or {})
    values |= _from_settings(settings)
    values |= {name: value for name, value in (flags or {}).items() if value is not None and value != ()}
    return CollectorOptions(**values)


def read_token(options: CollectorOptions) -> str:
    """The token, from the option or its file; empty if there is none.

    Raises:
        ConfigError: the file cannot be read or can be read by others, or the token is too short.
    """
    token = options.token
    if options.token_file:
        path = Path(options.token_file)
        try:
            token = read_secret(path).strip()
        except ValueError as error:  # a path with a NUL among them
            raise ConfigError("token_file", f"{path} {error}") from None
        if not token:
            raise ConfigError("token_file", f"{path} holds no token: write one with 'openssl rand -hex 16 > {path}'")
    if token and (len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise ConfigError(
            "token",
            f"expected {_LEAST_TOKEN} or more printable ASCII characters, for example from 'openssl rand -hex 16'",
        )
    return token


def load_mapping(options: CollectorOptions) -> StatsdMapping | None:
    """The rules for StatsD's names; None if there are none.

    Raises:
        ConfigError: the file cannot be read, or has an unsupported rule.
        MissingExtra: PyYAML is not installed.
    """
    if not options.statsd_mapping:
        return None
    path = Path(options.statsd_mapping)
    try:
        return read_mapping(read_file(path, _MAX_FILE)[0])
    except ValueError as error:
        raise ConfigError("statsd_mapping", f"{path}: {error}") from None


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest known name, or at the list of options."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else "; 'atmost collect --print-config' shows every option"


def _from_file(path: Path) -> dict[str, Any]:
    try:
        content, _ = read_file(path, _MAX_FILE)
    except ValueError as error:
        raise ConfigError(str(path), str(error)) from None
    try:
        document = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # including a number of thousands of digits, or nesting as deep
        raise ConfigError(str(path), f"is not TOML: {error}") from None
    found = {}
    for name, value in document.items():
        if name not in _FIELDS:
            raise ConfigError(f"{path}: {name}", f"no such option{nearest(name, _FIELDS)}")
        found[name] = _as_option(_FIELDS[name], value)
    return found


def _as_option(each: Field[Any], value: Any) -> Any:
    """Converts a TOML value: a string may stand for a list of one, and false for `off`."""
    if isinstance(each.default, tuple):
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    return "off" if isinstance(each.default, str) and value is False else value


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for key, text in environment.items():
        if key.startswith(PREFIX):
            name = key.removeprefix(PREFIX).lower()
            if name not in _FIELDS:
                raise ConfigError(key, f"no such option{nearest(key, [PREFIX + each.upper() for each in _FIELDS])}")
            found[name] = _parse(_FIELDS[name], text, key)
    return found


def _from_settings(settings: Iterable[str]) -> dict[str, Any]:
    found = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            known = f"{name!r}: " if name in _FIELDS else ""  # what is no name may be a secret
            raise ConfigError("--set", f"{known}expected NAME=VALUE")
        if name not in _FIELDS:
            raise ConfigError(f"--set {name}", f"no such option{nearest(name, _FIELDS)}")
        found[name] = _parse(_FIELDS[name], text, f"--set {name}")
    return found


def _parse(each: Field[Any], text: str, source: str) -> Any:
    default = each.default
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, str):
        return text
    try:
        return int(text) if isinstance(default, int) else float(text)
    except ValueError:
        wanted = "a whole number" if isinstance(default, int) else "a number"
        raise ConfigError(source, f"{text!r}: expected {wanted}") from None


def print_config(options: CollectorOptions) -> str:
    """TOML with a comment on each option; options at their default are commented out, and a token is never shown."""
    lines = ["# Options of 'atmost collect'; file < environment < flags. The value after '#' is the default."]
    for each in fields(CollectorOptions):
        meaning, value = meaning_of(each), getattr(options, each.name)
        facts = [meaning.unit] if meaning.unit else []
        if meaning.least is not None:
            facts.append(meaning.range)
        if meaning.reload:
            facts.append("SIGHUP reloads it")
        facts.append(f"environment: {PREFIX}{each.name.upper()}")
        lines += ["", f"# {meaning.text[0].upper()}{meaning.text[1:]}.", f"# ({'; '.join(facts)})"]
        if value == each.default:
            lines.append(f"#{each.name} = {_toml(value)}")
        elif each.name == "token":
            lines.append("# token is set, and not shown")
        elif each.name == "bind" and (shown := tuple(map(without_credentials, value))) != value:
            lines += ["# Credentials are left out here.", f"bind = {_toml(shown)}"]
        else:
            lines += [f"# default: {_toml(each.default)}", f"{each.name} = {_toml(value)}"]
    lines += ["", f"# With these limits the process needs at most about {options.memory_bound() / (1 << 20):,.0f} MiB."]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """A value as TOML, which for these types is the same as JSON."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
