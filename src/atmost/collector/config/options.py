"""Every option of the collector: meaning, unit, default, range and whether SIGHUP changes it.

The dataclass is the only list of them: file, environment, `--set`, `--print-config` and docs/collector.md follow it.
"""

from __future__ import annotations

import re
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final, NamedTuple

from atmost.core.limits import GRACE, MAX_QUEUE, MAX_SESSIONS
from atmost.errors import ConfigError

MEBIBYTE: Final = 1 << 20
GAUGE_DELTAS: Final[dict[str, bool | None]] = {"auto": None, "yes": True, "no": False}
"""What the parser is told of signed gauges."""
FINE_SLOTS: Final = 600
"""Of 1 second."""
COARSE_SLOT: Final = 10.0
COARSE_SLOTS: Final = 2160
"""Six hours."""
_SERIES_BYTES: Final = (FINE_SLOTS + COARSE_SLOTS) * 18 + 4096
_HISTOGRAM_BYTES: Final = 1 << 20
_SENDER_BYTES: Final = 8192
_HEARTBEAT_BYTES: Final = 2048
_BASE_BYTES: Final = 96 * MEBIBYTE
"""The process with its libraries, and what is under way."""


class Meaning(NamedTuple):
    """What is to be said of an option."""

    text: str
    unit: str
    least: float | None
    most: float | None
    reload: bool

    @property
    def range(self) -> str:
        """The least and the most, in words; `least` must be there."""
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
    """A field with its meaning."""
    return field(default=default, metadata={"meaning": Meaning(text, unit, least, most, reload)})


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorOptions:
    """What a collector can be told."""

    bind: tuple[str, ...] = option(
        (), "where senders of ours are received: URLs, or off; empty takes ATMOST_BIND, then udp://127.0.0.1:7140"
    )
    shards: str = option("", "of a nats:// address in bind, the shards received here, as 0-7/16; empty takes all")
    audience: str = option("", "the audience both ends agreed on")
    key_file: str = option(
        "", "a file with a key of 'atmost keygen' on each line; empty takes ATMOST_KEY, then no key", reload=True
    )
    workers: int = option(1, "processes that share the first address of bind", unit="processes", least=1, most=1024)
    grace: float = option(GRACE, "until what is missing is called lost", unit="seconds", least=0.001, most=60)
    statsd: tuple[str, ...] = option(
        ("127.0.0.1:8125",), "where StatsD and DogStatsD are received: HOST:PORT, paths of Unix sockets, or off"
    )
    statsd_gauge_deltas: str = option(
        "auto",
        "whether a signed gauge of StatsD changes the last value: yes, no (DogStatsD), or auto, by its line",
        reload=True,
    )
    syslog: tuple[str, ...] = option(("127.0.0.1:5514",), "where syslog is received: HOST:PORT, paths, or off")
    gelf: tuple[str, ...] = option(("127.0.0.1:12201",), "where GELF is received: HOST:PORT, paths, or off")
    unix_mode: str = option(
        "",
        "permissions of the Unix sockets in bind, statsd, syslog and gelf, as 0660; empty leaves what the umask makes them",
    )
    http: str = option("127.0.0.1:7141", "where page, API and /metrics are served: HOST:PORT, or off")
    http_hosts: tuple[str, ...] = option(
        (), "names by which the page is asked for, besides its address, such as that of a proxy", reload=True
    )
    token: str = option("", "what readers must show; needed where http is not on loopback", reload=True)
    token_file: str = option("", "a file that holds the token, readable by its owner only", reload=True)
    max_series: int = option(
        4000, "series of our senders kept, 4 KB each when new, 54 KB after six hours", unit="series", least=1
    )
    max_series_per_sender: int = option(
        2000, "series of one sender's registry, or of one session", unit="series", least=1
    )
    max_statsd_series: int = option(4000, "series of StatsD kept, of the same size", unit="series", least=1)
    max_histograms: int = option(
        250, "of the series of each kind, those that are histograms: up to 1 MB each", unit="series", least=1
    )
    max_senders: int = option(
        MAX_SESSIONS,
        "sessions remembered, by each address in bind and each worker",
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
        "records of one sender in the tail; beyond it that sender's oldest go",
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
    log_format: str = option("keyvalue", "of the collector's own log on stderr: keyvalue or json")

    def __post_init__(self) -> None:
        """Refuses what is outside its range."""
        for each in fields(self):
            check(each, getattr(self, each.name))
        if self.log_format not in {"keyvalue", "json"}:
            raise ConfigError("log_format", f"{self.log_format!r}: expected keyvalue or json")
        if self.statsd_gauge_deltas not in GAUGE_DELTAS:
            raise ConfigError("statsd_gauge_deltas", f"{self.statsd_gauge_deltas!r}: expected auto, yes or no")
        if self.unix_mode and not re.fullmatch("0?[0-7]{3}", self.unix_mode):
            raise ConfigError("unix_mode", f"{self.unix_mode!r}: expected three octal digits in quotes, as '0660'")
        if self.token and self.token_file:
            raise ConfigError("token", "give token or token_file, not both")

    def receivers(self, addresses: int) -> int:
        """How many there are, each with sessions of its own: one an address, and of the first one as many as workers."""
        return max(1, addresses) + self.workers - 1

    def memory_bound(self) -> int:
        """About how many bytes the process can come to need, whatever is sent to it."""
        return (
            _BASE_BYTES
            + (self.max_series + self.max_statsd_series) * _SERIES_BYTES
            + 2 * self.max_histograms * _HISTOGRAM_BYTES
            + self.max_senders * _SENDER_BYTES * (1 + self.receivers(len(self.bind)))
            + self.max_heartbeats * _HEARTBEAT_BYTES
            + self.max_log_bytes * 2
            + self.max_queue * 512
            + self.max_rejected * 1024
        )


def meaning_of(each: Field[Any]) -> Meaning:
    """What is to be said of a field."""
    found: Meaning = each.metadata["meaning"]
    return found


def check(each: Field[Any], value: object) -> None:
    """Refuses a value of another type, or outside the range.

    Raises:
        ConfigError: with what was expected.
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
