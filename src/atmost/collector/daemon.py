"""`CollectorDaemon`: one complete collector, from opening its listeners to its account.

The receiving thread owns the state, the HTTP thread queries it, and the thread that made the daemon supervises: workers,
watchdog, reload. Make it while no other thread runs, because it forks its workers.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from atmost.collector.listening import Tap, open_all
from atmost.collector.options import (
    OFF,
    CollectorOptions,
    is_loopback,
    load_mapping,
    meaning_of,
    parse_place,
    read_token,
)
from atmost.collector.receiving import Receiving
from atmost.collector.state.state import CollectorState
from atmost.collector.state.timeline import Timeline
from atmost.core.accounts import Ledger, merge_ledgers
from atmost.endpoint.checking import find_keys
from atmost.errors import AtMostError, ConfigError
from atmost.heartbeats import HeartbeatMemory
from atmost.transport.url import DEFAULT_URL

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from atmost.collector.http import HttpServer


logger = logging.getLogger("atmost.collector")

_STALLED: Final = 5.0
"""Without a turn for this long the receiving thread counts as hung (seconds)."""
_AHEAD: Final = 1.0
_DESCRIPTORS: Final = 192
"""File descriptors besides served HTTP connections: for refused connections, listeners, and libraries."""
_KEEP_EVERY: Final = 5.0
"""Seconds between two checks whether the known heartbeats have changed."""


class CollectorDaemon:
    """A collector: its channels, its listeners, the state they feed, and the HTTP server that answers from it."""

    def __init__(
        self, options: CollectorOptions, environment: Mapping[str, str] | None = None, tap: Tap | None = None
    ) -> None:
        """Opens every listener; `start` begins to receive.

        Args:
            options: all options.
            environment: of the process; None takes the present one.
            tap: called with the events of our receivers too.

        Raises:
            AtMostError: an option, address or key cannot be used, or an extra is missing.
        """
        given = os.environ if environment is None else environment
        self.options = options
        place = parse_place(options.http, "http", path=False)
        token = read_token(options)
        if place is not None and not place.loopback and not token:
            raise ConfigError(
                "http",
                f"{options.http} can be reached from other hosts: set a token, for example with "
                "'(umask 077; openssl rand -hex 16 > token)' and --token-file token, or bind 127.0.0.1:7141",
            )
        self._keyed = bool(find_keys(None, options.key_file or None))
        self._timeline = Timeline(time.monotonic(), time.time())
        self._clock = threading.Lock()
        self._notifier = Notifier(given)
        self._expected: set[str] = set()
        self._workers_ledger: dict[str, Ledger] = {}
        self.state = state = CollectorState(options, self.now(), time.monotonic())
        state.keyed = self._keyed
        state.mapping = load_mapping(options)
        self._warn("descriptors", _descriptors(options))
        self._memory = _Memory(state, memory_path(options, given))
        self._expect(options.expect)
        self._opened = open_all(options, state, given, tap)
        try:
            self.http = self._make_http(place.text, token) if place is not None else None
        except BaseException:
            self._opened.close()
            raise
        self._receiving = Receiving(state, self._opened.listening, self.now, lambda: self._workers_ledger)
        self.closed = False
        self._warned: set[str] = set()
        """Subjects of the warnings that are in the log already."""

    @property
    def url(self) -> str:
        """Where messages of our senders are received."""
        return self._opened.url

    @property
    def addresses(self) -> list[tuple[str, str]]:
        """Kind and URL of each listener as bound, with `http` last."""
        page = [("http", self.http.url)] if self.http is not None else []
        return [*self._opened.addresses, *page]

    def now(self) -> float:
        """Seconds since 1970 that never step back; from any thread."""
        with self._clock:
            return self._timeline.now(time.monotonic(), time.time())

    def start(self) -> None:
        """Starts, and waits until messages sent from now on are accepted."""
        self._receiving.start()
        while not self._receiving.ready:
            time.sleep(0.01)
        self._account_of_workers()
        self._receiving.pass_ledgers()
        if self.http is not None:
            self.http.start()
        for intake in self._opened.intakes:
            if intake.inlet.warning:
                self._warn(intake.inlet.url, f"{intake.inlet.url}: {intake.inlet.warning}")
        self._warn_without_key()
        self._notifier.say("READY=1", f"STATUS=receiving on {self.url}")

    def supervise(self, seconds: float, asked: threading.Event) -> None:
        """Does what is due for `seconds`, or until `asked` is set."""
        deadline = time.monotonic() + seconds
        while True:
            mono = time.monotonic()
            if self.healthy:
                self._notifier.alive(mono)
            left = deadline - mono
            if left <= 0 or asked.is_set():
                break
            if self._opened.workers is not None:
                self._opened.workers.supervise(min(left, 0.1), asked.is_set)
            else:
                asked.wait(min(left, 0.25))
        self._account_of_workers()
        self._warn_of_clock()
        self._warn("memory", self._memory.keep(time.monotonic()))
        self._log_news()

    @property
    def healthy(self) -> bool:
        """Whether the receiving thread goes round and the HTTP thread runs."""
        receiving = time.monotonic() - self._receiving.beat < _STALLED
        return receiving and (self.http is None or self.http.running)

    def ready(self) -> dict[str, bool]:
        """What must be true for /readyz, by name."""
        workers = self._opened.workers
        return {
            "receiving": self._receiving.ready and time.monotonic() - self._receiving.beat < _STALLED,
            "workers": workers is None or workers.ready,
            "owners": not self._receiving.taken_over,
        }

    def reload(self, options: CollectorOptions) -> list[str]:
        """Applies the options that can change at run time: keys, token, names, and some limits.

        Args:
            options: the new options.

        Returns:
            Names of options that differ and need a restart.

        Raises:
            AtMostError: an option cannot be used; then nothing has changed.
        """
        self._notifier.reloading()
        try:
            token = read_token(options)
            if self.http is not None and not self.http.local and not token:
                raise ConfigError("token", "the page can be reached from other hosts, so the token cannot be removed")
            keys = [key.text() for key in find_keys(None, options.key_file or None)]
            if not keys and self._keyed:
                raise ConfigError("key_file", "keys cannot be removed while the collector runs: restart it")
            mapping = load_mapping(options)
            self._expect(options.expect)
            if keys:
                for intake in self._opened.intakes:
                    intake.accept_keys(keys)
            changed = [name for name in options.__slots__ if getattr(options, name) != getattr(self.options, name)]
            fixed = [name for name in changed if not meaning_of(options.__dataclass_fields__[name]).reload]
            in_force = replace(options, **{name: getattr(self.options, name) for name in fixed})
            with self.state.lock:
                self.state.reload(in_force)
                self.state.mapping = mapping
            if self.http is not None:
                self.http.change(token, options.http_hosts, options.max_streams)
            if self._opened.workers is not None and keys:
                fixed.append("key_file (of workers)")
            self.options = in_force
        finally:
            self._notifier.say("READY=1")
        logger.info("reloaded", extra={"changed": ",".join(changed), "needs_restart": ",".join(fixed)})
        return fixed

    @property
    def defects(self) -> int:
        """Internal errors in receiving."""
        return self._receiving.defects

    def ledger(self) -> Ledger:
        """The account of all receivers."""
        found = list(self._receiving.ledgers().values())
        return found[0] if len(found) == 1 else merge_ledgers(found)

    def stop(self) -> None:
        """Takes in what has arrived, stops answering, and releases every address; may be called twice."""
        if self.closed:
            return
        self.closed = True
        self._notifier.say("STOPPING=1")
        workers = self._opened.workers
        if workers is not None:
            workers.close()
            self._account_of_workers()
        self._receiving.stop()
        self._memory.close()
        if self.http is not None:
            self.http.stop()
        self._opened.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _make_http(self, place: str, token: str) -> HttpServer:
        from atmost.collector.http import make_http

        return make_http(
            self.state, self.options, place, token, now=self.now, ready=self.ready, defects=lambda: self.defects
        )

    def _expect(self, names: tuple[str, ...]) -> None:
        """Expects these heartbeats from now on; those expected already are left as they are.

        Raises:
            ConfigError: a name is not valid for a heartbeat, or there are too many.
        """
        with self.state.lock:
            for name in names:
                if name not in self._expected:
                    try:
                        self.state.heartbeats.expect(name, self.now(), time.monotonic())
                    except AtMostError as error:
                        raise ConfigError("expect", f"{name!r}: {error}") from None
                    self._expected.add(name)

    def _account_of_workers(self) -> None:
        workers, channel = self._opened.workers, self._opened.channel
        if workers is None or channel is None:
            return
        ledger = workers.ledger()
        self._workers_ledger = {workers.url: ledger}
        channel.ended(ledger, self.now(), time.monotonic())
        if dropped := channel.dropped:
            self._warn(
                "channel",
                f"{dropped} messages of workers are missing from charts and logs, because the state is slower than the workers",
            )

    def _warn_without_key(self) -> None:
        if self._keyed:
            return
        open_to_all = [url for kind, url in self.addresses if kind == "atmost" and not _only_this_host(url)]
        if open_to_all:
            self._warn(
                "key",
                f"{', '.join(open_to_all)}: other hosts can send here, and without a key under "
                "any name: make a key with 'atmost keygen > atmost.key', and give it to both sides with --key-file",
            )

    def _log_news(self) -> None:
        """Logs each warning once, and the first refusal of each kind."""
        with self.state.lock:
            news, warnings = self.state.news(), dict(self.state.warnings)
        for text in news:
            logger.warning(text)
        for about, text in warnings.items():
            if about not in self._warned:
                logger.warning(text)
        self._warned = set(warnings)

    def _warn_of_clock(self) -> None:
        with self._clock:
            ahead = self._timeline.ahead(time.time())
        back = f"this host's clock was set back: charts are {ahead:.0f} s ahead of it"
        self._warn("clock", back if ahead > _AHEAD else None)

    def _warn(self, about: str, text: str | None) -> None:
        """Sets the warning about a subject, or clears it."""
        with self.state.lock:
            if text is None:
                self.state.warnings.pop(about, None)
            else:
                self.state.warnings[about] = text


def _descriptors(options: CollectorOptions) -> str | None:
    """Raises the limit on file descriptors as far as allowed; returns a warning if it is still too low."""
    if resource is None:
        return None
    wanted = options.max_connections + _DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
        soft = granted
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    return f"only {soft} file descriptors are granted, and {wanted} may be needed: raise LimitNOFILE (ulimit -n), or lower max_connections"


def memory_path(options: CollectorOptions, environment: Mapping[str, str]) -> Path | None:
    """The file that keeps known heartbeats over a restart; None when nothing is kept.

    A folder given by the option or by systemd belongs to one collector. In the user's folder each address has its own file; a
    port chosen by the system has none, because it would differ at the next start.
    """
    if options.state_dir == OFF:
        return None
    named = options.state_dir or environment.get("STATE_DIRECTORY", "").split(":")[0]
    if named:
        return Path(named) / "heartbeats.json"
    home = environment.get("XDG_STATE_HOME") or (
        f"{environment['HOME']}/.local/state" if environment.get("HOME") else ""
    )
    address = options.bind[0] if options.bind else environment.get("ATMOST_BIND") or DEFAULT_URL
    if not home or address in {"", OFF} or address.endswith(":0"):
        return None
    return Path(home) / "atmost" / f"heartbeats-{re.sub('[^A-Za-z0-9.]+', '-', address)[:100]}.json"


class _Memory:
    """Keeps the known heartbeats in a file, written when they change, in a thread, because a disk may be slow."""

    def __init__(self, state: CollectorState, path: Path | None) -> None:
        """Expects what was known before the restart."""
        self._state, self._path = state, path
        self._next = 0.0
        self._writing: threading.Thread | None = None
        self._problem: str | None = None
        self._memory: HeartbeatMemory | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self._problem = _unkept(path, error)
            return
        self._memory = HeartbeatMemory(path)
        with state.lock:
            problem = self._memory.restore(state.heartbeats.monitor, time.monotonic())
        if problem:
            logger.warning(problem)

    def keep(self, mono: float) -> str | None:
        """Starts to write changes, every few seconds; returns the problem with the file, if any."""
        busy = self._writing is not None and self._writing.is_alive()
        if self._memory is not None and mono >= self._next and not busy:
            self._next = mono + _KEEP_EVERY
            content = self._snapshot()
            if content is not None:
                self._writing = threading.Thread(target=self._write, args=(content,), name="atmost-keep", daemon=True)
                self._writing.start()
        return self._problem

    def close(self) -> None:
        """Writes the last changes, if the disk is fast enough."""
        self._next = 0.0
        if self._writing is not None:
            self._writing.join(_KEEP_EVERY)
        self.keep(math.inf)
        if self._writing is not None:
            self._writing.join(_KEEP_EVERY)

    def _snapshot(self) -> bytes | None:
        assert self._memory is not None
        with self._state.lock:
            return self._memory.snapshot(self._state.heartbeats.monitor)

    def _write(self, content: bytes) -> None:
        assert self._memory is not None
        assert self._path is not None
        try:
            self._memory.write(content)
        except OSError as error:
            self._problem = _unkept(self._path, error)
        else:
            self._problem = None


def _unkept(path: Path, error: OSError) -> str:
    return f"heartbeats are not kept over a restart: {path}: {error.strerror or error}; set state_dir to a folder, or to off"


def _only_this_host(url: str) -> bool:
    """Whether only programs of this host can send to an address of ours."""
    scheme, _, place = url.partition("://")
    return scheme in {"unix", "memory"} or (scheme == "udp" and is_loopback(place.rpartition(":")[0].strip("[]")))


class Notifier:
    """Reports to systemd: sd_notify(3) over the datagram socket that NOTIFY_SOCKET names, and its watchdog.

    Without that variable nothing is sent. A report that cannot be sent is not a failure.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Args: environment: of the process; None takes the present one."""
        given = os.environ if environment is None else environment
        path = given.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._every = _watchdog(given)
        self._next = 0.0

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address) and hasattr(socket, "AF_UNIX")

    def say(self, *states: str) -> None:
        """Sends states, such as `READY=1` or `STATUS=text`."""
        if not self.enabled:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(states).encode(), self._address)

    def alive(self, now: float) -> None:
        """Feeds the watchdog if one is set and it is time; call it often while all is well.

        Args:
            now: monotonic, seconds.
        """
        if self._every is not None and now >= self._next:
            self._next = now + self._every
            self.say("WATCHDOG=1")

    def reloading(self) -> None:
        """Says that a reload begins; `READY=1` ends it."""
        self.say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Half the watchdog timeout of systemd (seconds); None without a watchdog for this process."""
    text, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not text.isdecimal() or int(text) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(text) / 2e6
