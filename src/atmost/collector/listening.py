"""What the collector reads from: our own receivers, sockets of foreign protocols, and the channel from workers.

One thread gives each a turn: it reads a bounded part of the input, decodes it, and feeds it to the state under its lock.
Nothing here raises because of its input. `open_all` binds every listener or none.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import length_hint
from pathlib import Path
from typing import Any, Final, Protocol

from atmost.collector.channel import WorkerChannel
from atmost.collector.options import OFF, CollectorOptions, Place, parse_place
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.refused import peer_text
from atmost.collector.state.state import CollectorState
from atmost.collector.state.statsd_lines import joins, split_lines
from atmost.core.events import Event, RefusalReason
from atmost.endpoint.checking import ReceiverArguments
from atmost.endpoint.intake import Intake, options_of
from atmost.endpoint.workers import Workers
from atmost.errors import AddressInUse, BindError, ConfigError
from atmost.ingest import statsd, syslog
from atmost.ingest.gelf import GelfIncomplete, GelfReader
from atmost.ingest.gelf.reader import Outcome
from atmost.ingest.rejected import Rejected
from atmost.ingest.statsd import StatsdGauges, StatsdNote
from atmost.ingest.statsd.values import MAX_LINE
from atmost.ingest.syslog import SyslogHost
from atmost.transport.sockets import SocketInlet
from atmost.transport.url import DEFAULT_URL, has_shards, open_inlet, parse_url

_DATAGRAMS_A_TURN: Final = 64
_EVENTS_TOGETHER: Final = 512
_MOST_UNREAD: Final = 1024
"""Most datagrams of a Unix socket read but not decoded yet."""
_TURN: Final = 0.01
"""Longest work in one turn, plus at most one datagram, so that costly datagrams cannot hold up other listeners (seconds)."""
_UNIX_QUEUE: Final = "/proc/sys/net/unix/max_dgram_qlen"
_REFUSALS_A_TURN: Final = 64
_READ: Final = 66_560
_GAUGES: Final = {str(each): each for each in StatsdGauges}
_HOSTS: Final = {str(each): each for each in SyslogHost}
_TOGETHER: Final = 16_384
"""Bytes of StatsD's datagrams that are taken together; the clock is read in between."""
Apply = Callable[[], None]
Between = Callable[[], None]
Waiting = deque[tuple[bytes, Any]]
"""Datagrams with their senders' addresses."""
Tap = Callable[[Event], object]
"""Called with every event of our receivers, in the receiving thread; must neither raise nor block."""


logger = logging.getLogger("atmost.collector")


class Listening(Protocol):
    """Something to read from."""

    patient: bool
    """Whether what arrives may wait some milliseconds, because the kernel's buffer has room for it."""

    def fileno(self) -> int:
        """The descriptor to watch for reading."""
        ...

    def turn(self, now: float, mono: float) -> bool:
        """Reads a bounded part of the input; returns whether more may wait."""
        ...

    def next_wait(self) -> float | None:
        """Seconds until `turn` is due without input; None if it is not."""
        ...

    def read_drops(self) -> None:
        """Reads the kernel's count of drops; about once a second."""
        ...

    def abandon(self) -> None:
        """Closes a forked child's copies."""
        ...

    def close(self) -> None:
        """Releases the address."""
        ...


class OurListener:
    """One of our own receivers."""

    def __init__(self, intake: Intake, state: CollectorState, tap: Tap | None = None) -> None:
        """Args: intake: bound. state: takes its events. tap: called with them too."""
        intake.wants_events = True
        intake.watch_refusals(self._note_refusal)
        self.intake = intake
        self._state = state
        self._tap = tap
        self.url = intake.inlet.url
        self._events: Iterator[Event] = iter(())
        """Taken from the intake, and not yet fed to the state."""
        self._refused: list[tuple[bytes, RefusalReason, tuple[str, str]]] = []
        """Datagrams of unknown senders refused in this turn."""
        self._socket = intake.inlet if isinstance(intake.inlet, SocketInlet) else None
        self.patient = self._socket is not None and _is_roomy(self._socket)
        self._ready = False
        if self._socket is not None:
            self._socket.remember_peers()

    def fileno(self) -> int:
        """The inlet's descriptor."""
        return self.intake.inlet.fileno()

    def turn(self, now: float, mono: float) -> bool:
        """Reads datagrams, and feeds their events to the state."""
        intake, lock, tap = self.intake, self._state.lock, self._tap
        more = intake.pump()
        if self._refused:
            self._report_refusals(now)
        until = time.monotonic() + _TURN
        while True:
            # Messages are taken together, because a hundred of a kind cost little more than ten.
            if not length_hint(self._events):  # else a fault of ours has ended the turn before
                events: list[Event] = []
                while len(events) < _EVENTS_TOGETHER and intake.next_batch():
                    events.extend(intake.current)
                if not events:
                    return more
                self._events = iter(events)
                if tap is not None:
                    for event in events:
                        tap(event)
            with lock:
                self._state.feed_all(self._events, now, mono, self.url)
            if time.monotonic() >= until:
                return True

    def _note_refusal(self, datagram: bytes, reason: RefusalReason, known: bool) -> None:  # noqa: FBT001  a callback
        if not known and len(self._refused) < _REFUSALS_A_TURN:
            peer = None if self._socket is None else self._socket.peer_of(datagram)
            self._refused.append((datagram, reason, ("", "") if peer is None else peer_text(peer)))

    def _report_refusals(self, now: float) -> None:
        refused, self._refused = self._refused, []
        with self._state.lock:
            for datagram, reason, peer in refused:
                self._state.refused.feed(datagram, reason, self.url, peer, now, keyed=self._state.keyed)

    def next_wait(self) -> float | None:
        """Seconds until the core's next deadline, or the end of the boot wait."""
        boot_wait = None
        if not self._ready:
            boot_wait = self.intake.boot_wait() or None
            self._ready = boot_wait is None
        return self.intake.next_wait(boot_wait)

    def read_drops(self) -> None:
        """Does nothing: the ledger has all counts."""

    def abandon(self) -> None:
        """Does nothing: intakes handle forks themselves."""

    def close(self) -> None:
        """Ends the incarnation."""
        self.intake.close()


class ForeignListener:
    """A socket of a foreign protocol."""

    def __init__(self, kind: str, inlet: SocketInlet, read: Reader) -> None:
        """Takes over a bound socket.

        Args:
            kind: statsd, syslog or gelf.
            inlet: bound; closed by `close`.
            read: decodes its datagrams; not shared with other listeners.
        """
        self._inlet = inlet
        self._unread: Waiting = deque()
        self._was_full = False
        self._is_short = inlet.url.startswith("unix:")
        self._queue = _unix_queue() if inlet.url.startswith("unix:") else None
        self._sock = socket.socket(fileno=os.dup(inlet.fileno()))  # the same socket, read with the sender's address
        self._sock.setblocking(False)
        self.patient = _is_roomy(inlet)
        self.stats = ListenerStats(kind, inlet.url, inlet.warning)
        self._read = read
        self.url = inlet.url

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def turn(self, now: float, mono: float) -> bool:  # noqa: ARG002  these protocols need no monotonic time
        """Reads datagrams, decodes them without the lock, and feeds the results to the state under it.

        It reads a batch and decodes it for at most the time of a turn; the next turn decodes the rest before it reads more.
        A Unix socket has a short queue and its writers do not wait, so its queue is emptied again between all other steps.
        """
        unread = self._unread
        if not unread:
            self._read_batch()
        full = len(unread) == _DATAGRAMS_A_TURN
        between = self._read_batch if self._is_short else None
        self._read.feed(unread, self.stats, now, between)
        if self._was_full:
            self._warn_of_queue()
        return full or bool(unread)

    def _read_batch(self) -> None:
        """Reads waiting datagrams, up to a bound; more at once than the queue holds means that it was full."""
        receive, unread = self._sock.recvfrom, self._unread
        most = _MOST_UNREAD if self._is_short else _DATAGRAMS_A_TURN
        before = len(unread)
        with contextlib.suppress(OSError):  # empty, or closed
            while len(unread) < most:
                unread.append(receive(_READ))
        fresh = len(unread) - before
        self.stats.received += fresh
        if self._queue is not None and fresh > self._queue:
            self._was_full = True

    def _warn_of_queue(self) -> None:
        """Warns once that a Unix socket's queue was full, because writers that do not wait lose datagrams then."""
        text = (
            f"{self.url}: a burst filled the socket's queue of {self._queue} datagrams, and what its writers sent meanwhile "
            "may be lost; a longer queue: sysctl -w net.unix.max_dgram_qlen=512, then restart the collector"
        )
        self._was_full, self._queue = False, None
        with self._read.state.lock:
            self._read.state.warn_once(f"queue {self.url}", text)

    def next_wait(self) -> float | None:
        """None: the state's tick does what is due without input."""
        return None

    def read_drops(self) -> None:
        """Reads the kernel's count of drops."""
        self.stats.kernel_drops = self._inlet.kernel_drops()

    def abandon(self) -> None:
        """Closes a forked child's copies."""
        self._sock.close()
        self._inlet.abandon()

    def close(self) -> None:
        """Releases the address."""
        with contextlib.suppress(OSError):
            self.read_drops()
        self._sock.close()
        self._inlet.close()


class Reader(Protocol):
    """Reads the datagrams of one listener."""

    state: CollectorState

    def feed(self, waiting: Waiting, stats: ListenerStats, now: float, between: Between | None) -> None:
        """Takes datagrams out of a queue, decodes them, and feeds the results to the state under its lock.

        Works for the time of a turn, and leaves the rest in the queue. Takes the lock itself.

        Args:
            waiting: the datagrams.
            stats: the account of the listener.
            now: seconds since 1970.
            between: called again and again while it works; may add to the queue.
        """
        ...


class DecodingReader:
    """A reader that decodes datagrams one by one, without the lock."""

    state: CollectorState

    def feed(self, waiting: Waiting, stats: ListenerStats, now: float, between: Between | None) -> None:
        """As `Reader` has it."""
        decoded: list[Apply] = []
        until = time.monotonic() + _TURN
        while waiting:
            datagram, address = waiting.popleft()
            decoded.append(self.decode(datagram, address, stats, now))
            if between is not None:
                between()
            if time.monotonic() >= until:
                break
        due = self.tick(stats, now)
        if due is not None:
            decoded.append(due)
        if decoded:
            with self.state.lock:
                for apply in decoded:
                    apply()
                    if between is not None:
                        between()

    def decode(self, datagram: bytes, address: Any, stats: ListenerStats, now: float) -> Apply:
        """Decodes a datagram without the lock; returns a function that is called under the lock."""
        raise NotImplementedError

    def tick(self, _stats: ListenerStats, _now: float) -> Apply | None:
        """Does what is due without a datagram; the result as in `decode`."""
        return None


def bind_foreign(kind: str, place: Place, read: Reader) -> ForeignListener:
    """Binds a listener of a foreign protocol.

    Raises:
        BindError: the address is taken or not permitted; the message names the option that moves it.
        AddressError: the name cannot be resolved.
    """
    move = f"move this listener with --{kind} HOST:PORT, or switch it off with --{kind} off"
    try:
        inlet = open_inlet(place.url)
    except AddressInUse as error:
        by = f" by {error.holder}" if error.holder else ""
        raise BindError(error.url, f"it is in use{by}: stop that program, {move}") from None
    except BindError as error:
        raise BindError(error.url, f"{error.problem}; or {move}") from None
    assert isinstance(inlet, SocketInlet)
    return ForeignListener(kind, inlet, read)


def _is_roomy(inlet: SocketInlet) -> bool:
    """Whether a socket has the buffer that was asked for; a Unix socket's queue holds few datagrams in any case."""
    return inlet.warning is None and not inlet.url.startswith("unix:")


def _unix_queue() -> int | None:
    """How many datagrams a Unix socket's queue holds; None where the system does not report it."""
    try:
        return int(Path(_UNIX_QUEUE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


class StatsdReader:
    """StatsD and DogStatsD: known lines by their bytes (`StatsdLines`), the others by the parser."""

    def __init__(self, state: CollectorState, place: Place) -> None:
        """Args: state: takes the values. place: its address, with the options of this listener."""
        self.state = state
        self._gauges = dict(place.options).get("statsd_gauges")

    def feed(self, waiting: Waiting, stats: ListenerStats, now: float, between: Between | None) -> None:
        """As `Reader` has it; datagrams are taken together, up to `_TOGETHER` bytes."""
        until = time.monotonic() + _TURN
        while waiting:
            together: list[tuple[bytes, Any]] = []
            size = 0
            while waiting and size < _TOGETHER and joins(waiting[0][0]):
                together.append(waiting.popleft())
                size += len(together[-1][0])
            if together:
                fed = self._feed_together(together, stats, now, between, until)
                waiting.extendleft(reversed(together[fed:]))
            else:
                datagram, address = waiting.popleft()
                pieces = _pieces(datagram)
                if len(pieces) > 1:
                    waiting.extendleft((piece, address) for piece in reversed(pieces))
                else:
                    self._parse(datagram, address, stats, now)
            if between is not None:
                between()
            if time.monotonic() >= until:
                break

    def _feed_together(
        self,
        together: list[tuple[bytes, Any]],
        stats: ListenerStats,
        now: float,
        between: Between | None,
        until: float,
    ) -> int:
        """Feeds datagrams whose lines stand for themselves; returns how many, which are all unless the turn is over."""
        state, known = self.state, self.state.statsd_lines
        lines = split_lines([datagram for datagram, _ in together])
        ends: Iterator[tuple[int, Any]] = iter(())
        end, place, fed = 0, -1, 0
        while True:
            with state.lock:
                place = known.take(lines, place + 1, state.mapping, stats, now)
            if place >= len(lines):
                return len(together)
            # The lines of this datagram up to the next that is known are the parser's.
            if not end:
                ends = _ends(together)
            while end <= place:
                end, address = next(ends)
                fed += 1
            stop = known.unknown(lines, place, end)
            read = lines[place:stop]
            self._parse("\n".join(("", *read)).encode("latin-1"), address, stats, now)
            with state.lock:
                known.learn(read)
            place = stop - 1
            # The parser takes its time: a short queue is emptied meanwhile, and the turn may be over.
            if between is not None:
                between()
            if stop == end and time.monotonic() >= until:
                return fed

    def _parse(self, datagram: bytes, address: Any, stats: ListenerStats, now: float) -> None:
        gauges = _GAUGES[self._gauges or self.state.options.statsd_gauges]
        found = statsd.parse(datagram, gauges=gauges)
        if self.state.mapping is not None:
            _map(found, self.state.mapping)
        with self.state.lock:
            self.state.feed_statsd(found, stats, *peer_text(address), now)


def _pieces(datagram: bytes) -> list[bytes]:
    """A long datagram as whole lines of at most `MAX_LINE` bytes together, so that a turn can end between them.

    A pickle, and a line that is too long, stay in one piece: the parser refuses them as they are.
    """
    if datagram[:1] == b"\0":
        return [datagram]
    pieces: list[bytes] = []
    start = 0
    while len(datagram) - start > MAX_LINE:
        end = datagram.rfind(b"\n", start, start + MAX_LINE + 1)
        if end < 0:
            end = datagram.find(b"\n", start)
        if end < 0:
            break
        pieces.append(datagram[start:end])
        start = end + 1
    pieces.append(datagram[start:])
    return pieces


def _ends(together: list[tuple[bytes, Any]]) -> Iterator[tuple[int, Any]]:
    """For each datagram the place behind its last line, and its sender's address."""
    end = 0
    for datagram, address in together:
        end += datagram.count(b"\n") + 1
        yield end, address


def _map(found: statsd.StatsdDatagram, mapping: statsd.StatsdMapping) -> None:
    """Applies the operator's rules to the names and labels of a datagram."""
    mapped = [mapping.apply(metric) for metric in found.metrics]
    found.metrics = [metric for metric in mapped if metric is not None]
    if dropped := len(mapped) - len(found.metrics):
        found.notes[StatsdNote.DROPPED_BY_RULE] = dropped


class SyslogReader(DecodingReader):
    """Syslog of both RFCs."""

    def __init__(self, state: CollectorState, place: Place) -> None:
        """Args: state: takes the records. place: its address, with the options of this listener."""
        self.state = state
        self._host = dict(place.options).get("syslog_host")
        self._logs = state.new_foreign_logs()

    def decode(self, datagram: bytes, address: Any, stats: ListenerStats, now: float) -> Apply:
        """Reads the records."""
        host, peer = peer_text(address)
        where = _HOSTS[self._host or self.state.options.syslog_host]
        found = syslog.parse_all(datagram, host, now, host=where)

        def apply() -> None:
            for each in found:
                if isinstance(each, Rejected):
                    self.state.reject(each, stats, peer, now)
                else:
                    stats.accepted += 1
                    self._logs.syslog(each, peer, now)

        return apply


class GelfInput(DecodingReader):
    """GELF, whole or in chunks."""

    def __init__(self, state: CollectorState, _place: Place) -> None:
        """Args: state: takes the records. The place has no options."""
        self.state = state
        self._reader = GelfReader()
        self._logs = state.new_foreign_logs()

    def decode(self, datagram: bytes, address: Any, stats: ListenerStats, now: float) -> Apply:
        """Reads the datagram, which may complete a record, reveal losses, or neither."""
        host, peer = peer_text(address)
        outcomes = self._reader.feed(datagram, host, now)
        return lambda: self._take(outcomes, stats, peer, now)

    def tick(self, stats: ListenerStats, now: float) -> Apply | None:
        """Gives up messages that have been incomplete for too long."""
        deadline = self._reader.next_deadline()
        if deadline is None or deadline > now:
            return None
        outcomes = self._reader.tick(now)
        return lambda: self._take(outcomes, stats, "", now)

    def _take(self, outcomes: list[Outcome], stats: ListenerStats, peer: str, now: float) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Rejected):
                self.state.reject(outcome, stats, peer, now)
            elif isinstance(outcome, GelfIncomplete):
                stats.rejected["incomplete"] += 1
                self._logs.gelf_incomplete(outcome, now)
            else:
                stats.accepted += 1
                self._logs.gelf(outcome)


READERS: Final[dict[str, Callable[[CollectorState, Place], Reader]]] = {
    "statsd": StatsdReader,
    "syslog": SyslogReader,
    "gelf": GelfInput,
}
"""The reader of each foreign protocol; each listener gets its own, so that counts and partial messages stay apart."""


@dataclass(slots=True)
class Opened:
    """Everything that is open."""

    listening: list[Listening] = field(default_factory=list)
    addresses: list[tuple[str, str]] = field(default_factory=list)
    """Kind and URL of each listener, as bound."""
    intakes: list[Intake] = field(default_factory=list)
    workers: Workers | None = None
    channel: WorkerChannel | None = None

    @property
    def url(self) -> str:
        """Our first address, else the first of any protocol."""
        ours = [url for kind, url in self.addresses if kind == "atmost"]
        return ours[0] if ours else self.addresses[0][1] if self.addresses else OFF

    def close(self) -> None:
        """Closes every listener, then the workers."""
        for each in self.listening:
            each.close()
        if self.workers is not None:
            self.workers.close()


def places_of(options: CollectorOptions) -> dict[str, list[Place]]:
    """The addresses of foreign protocols, by kind.

    Raises:
        ConfigError: an address is not valid.
    """
    found = {}
    for kind in READERS:
        parsed = [parse_place(text, kind) for text in getattr(options, kind)]
        found[kind] = [place for place in parsed if place is not None]
    return found


def open_all(
    options: CollectorOptions, state: CollectorState, environment: Mapping[str, str], tap: Tap | None = None
) -> Opened:
    """Binds every listener, or none: a failure closes what was opened before it.

    Workers come first, because a fork copies what is open by then.

    Args:
        options: where, and with which limits.
        state: what they write.
        environment: for ATMOST_BIND.
        tap: called with the events of our receivers too, except those of workers.

    Raises:
        AtMostError: an address or a key cannot be used, or an address is taken.
    """
    places = places_of(options)
    urls = list(options.bind) or [environment.get("ATMOST_BIND") or DEFAULT_URL]
    if urls != [OFF] and OFF in urls:
        raise ConfigError("bind", "'off' cannot be combined with addresses")
    opened = Opened()
    with ExitStack() as undo:
        undo.callback(opened.close)
        arguments = receiver_arguments(options)
        if urls != [OFF]:
            _open_ours(opened, urls, options, arguments, state, tap)
        for kind, each in places.items():
            for place in each:
                listener = bind_foreign(kind, place, READERS[kind](state, place))
                opened.listening.append(listener)
                opened.addresses.append((kind, listener.url))
                _permit(place.path, options.unix_mode)
                state.listeners.append(listener.stats)
        undo.pop_all()
    return opened


def receiver_arguments(options: CollectorOptions) -> ReceiverArguments:
    """The options of each of our receivers."""
    arguments: ReceiverArguments = {
        "audience": options.audience,
        "grace": options.grace,
        "max_sessions": options.max_senders,
        "max_queue": options.max_queue,
        "key_file": options.key_file or None,
    }
    return arguments


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
        opened.workers = Workers(channel.handler, urls[0], workers=options.workers, **arguments)
        channel.url = opened.workers.url
        opened.addresses.append(("atmost", opened.workers.url))
        state.events_missing = True
    if options.shards and not any(has_shards(url) for url in urls):
        raise ConfigError(
            "shards", f"{options.shards}: only nats:// addresses have shards, and bind has no such address"
        )
    for url in urls[1:] if options.workers > 1 else urls:
        own = arguments.copy()
        if options.shards and has_shards(url):
            own["shards"] = options.shards
        intake = Intake(options_of("collect", own), url)
        opened.intakes.append(intake)
        opened.listening.append(OurListener(intake, state, tap))
        opened.addresses.append(("atmost", intake.inlet.url))
        _permit(parse_url(url).path, options.unix_mode)


def _permit(path: str, mode: str) -> None:
    """Sets the permissions of a Unix socket; until now it has those of the umask.

    Raises:
        BindError: the system does not allow it.
    """
    if not path or not mode:
        return
    try:
        Path(path).chmod(int(mode, 8))
    except OSError as error:
        raise BindError(f"unix://{path}", f"unix_mode {mode} cannot be set: {error.strerror or error}") from None
