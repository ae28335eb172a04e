"""Opens everything a collector listens at, all or nothing, in the order that forks allow.

Workers come first: a fork copies what is open by then. Whatever fails closes what was opened before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from atmost.collector.config.addresses import OFF, Place, parse_place
from atmost.collector.config.options import CollectorOptions
from atmost.collector.daemon.channel import SUBJECTS, WorkerChannel
from atmost.collector.daemon.listening import Listening, OurListener, Reader, Tap, bind_foreign
from atmost.collector.daemon.reading import GelfInput, StatsdReader, SyslogReader
from atmost.collector.state.state import CollectorState
from atmost.endpoint.checking import ReceiverArguments
from atmost.endpoint.intake import Intake
from atmost.endpoint.workers import Workers
from atmost.errors import BindError, ConfigError
from atmost.transport.url import DEFAULT_URL, parse_url


@dataclass(slots=True)
class Opened:
    """What is open."""

    listening: list[Listening] = field(default_factory=list)
    addresses: list[tuple[str, str]] = field(default_factory=list)
    """Kind and URL of each listener, as bound."""
    intakes: list[Intake] = field(default_factory=list)
    workers: Workers | None = None
    channel: WorkerChannel | None = None

    @property
    def url(self) -> str:
        """The first address of ours; else the first of any."""
        ours = [url for kind, url in self.addresses if kind == "atmost"]
        return ours[0] if ours else self.addresses[0][1] if self.addresses else OFF

    def close(self) -> None:
        """Lets go of all."""
        for each in self.listening:
            each.close()
        if self.workers is not None:
            self.workers.close()


def places_of(options: CollectorOptions) -> dict[str, list[Place]]:
    """Where foreign protocols are received, by kind.

    Raises:
        ConfigError: an address is none.
    """
    found = {}
    for kind in ("statsd", "syslog", "gelf"):
        parsed = [parse_place(text, kind) for text in getattr(options, kind)]
        found[kind] = [place for place in parsed if place is not None]
    return found


def open_all(
    options: CollectorOptions, state: CollectorState, environment: Mapping[str, str], tap: Tap | None = None
) -> Opened:
    """Binds every listener.

    Args:
        options: where, and with which limits.
        state: what they write.
        environment: for ATMOST_BIND.
        tap: who is given the events of our receivers too; workers keep theirs.

    Raises:
        AtMostError: an address or a key cannot be used, or somebody holds the address.
    """
    places = places_of(options)
    urls = list(options.bind) or [environment.get("ATMOST_BIND") or DEFAULT_URL]
    if urls != [OFF] and OFF in urls:
        raise ConfigError("bind", "off stands alone")
    opened = Opened()
    with ExitStack() as undo:
        undo.callback(opened.close)
        arguments = receiver_arguments(options)
        if urls != [OFF]:
            _open_ours(opened, urls, options, arguments, state, tap)
        readers: dict[str, Reader] = {
            "statsd": StatsdReader(state),
            "syslog": SyslogReader(state),
            "gelf": GelfInput(state),
        }
        for kind, each in places.items():
            for place in each:
                listener = bind_foreign(kind, place, readers[kind])
                opened.listening.append(listener)
                opened.addresses.append((kind, listener.url))
                _permit(place.path, options.unix_mode)
                state.listeners.append(listener.stats)
        undo.pop_all()
    return opened


def receiver_arguments(options: CollectorOptions) -> ReceiverArguments:
    """The options of each receiver of ours."""
    arguments: ReceiverArguments = {
        "audience": options.audience,
        "grace": options.grace,
        "max_sessions": options.max_senders,
        "max_queue": options.max_queue,
        "key_file": options.key_file or None,
    }
    return arguments


def _has_shards(url: str) -> bool:
    return url.startswith("nats:")


def _open_ours(
    opened: Opened,
    urls: list[str],
    options: CollectorOptions,
    arguments: ReceiverArguments,
    state: CollectorState,
    tap: Tap | None,
) -> None:
    if options.workers > 1:
        channel = opened.channel = WorkerChannel(state, options.max_senders)
        opened.listening.append(channel)
        opened.workers = Workers(channel.handler, urls[0], workers=options.workers, subjects=SUBJECTS, **arguments)
        opened.addresses.append(("atmost", opened.workers.url))
        state.events_missing = True
    if options.shards and not any(_has_shards(url) for url in urls):
        raise ConfigError("shards", f"{options.shards}: only a nats:// address has shards, and bind has none")
    for url in urls[1:] if options.workers > 1 else urls:
        own = arguments.copy()
        if options.shards and _has_shards(url):
            own["shards"] = options.shards
        intake = Intake(url, **own)
        opened.intakes.append(intake)
        opened.listening.append(OurListener(intake, state, tap))
        opened.addresses.append(("atmost", intake.inlet.url))
        _permit(parse_url(url).path, options.unix_mode)


def _permit(path: str, mode: str) -> None:
    """Gives a Unix socket its permissions; until now it has those of the umask.

    Raises:
        BindError: the system refuses.
    """
    if not path or not mode:
        return
    try:
        Path(path).chmod(int(mode, 8))
    except OSError as error:
        raise BindError(f"unix://{path}", f"unix_mode {mode} cannot be set: {error.strerror or error}") from None
