"""Runs the demo: the collector and its page in this process, agent and carrier as child processes; ends with the account."""

from __future__ import annotations

import queue
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from atmost.collector.options import CollectorOptions
from atmost.core.events import Event, Message
from atmost.demo.account import DemoAccount, Tally, balance
from atmost.demo.carriers import Carrier, ClusterCarrier, LinkCarrier
from atmost.demo.processes import Child, ChildError
from atmost.errors import BindError, MissingExtra

if TYPE_CHECKING:
    from atmost.collector.daemon import CollectorDaemon

PAGE: Final = "127.0.0.1:7141"
_TURN: Final = 0.1
_ENDING: Final = 15.0
"""The longest wait for a child to end, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """The carrier, its faults and the duration; shares are of datagrams, 0 to 1."""

    seconds: float | None = None
    loss: float = 0.05
    duplicate: float = 0.03
    reorder: float = 0.05
    seed: int | None = None
    nats: bool = False
    """Use three NATS servers, one of which is killed halfway, instead of a link that loses."""


class Watcher:
    """Called while the demo runs; a subclass overrides the methods it needs."""

    def began(self, collector: str, sending: str, page: str | None) -> None:
        """Called once everything runs.

        Args:
            collector: the URL at which it receives.
            sending: the URL to which the agent sends.
            page: the dashboard's address; None where the extra `server` is missing.
        """

    def show(self, event: Event) -> None:
        """Called with every message and every other event."""

    def trouble(self, text: str) -> None:
        """Called with a description of a fault caused on purpose."""

    def tick(self) -> None:
        """Called about every 0.1 s."""


def run_demo(options: DemoOptions, asked: Callable[[], bool], watcher: Watcher) -> DemoAccount:
    """Runs until the time is over or `asked` returns True.

    Args:
        options: the carrier, the faults and the duration.
        asked: whether to stop; called every 0.1 s.
        watcher: called with everything that happens.

    Raises:
        ChildError: a child process failed.
    """
    with tempfile.TemporaryDirectory(prefix="atmost-demo-") as folder:
        carrier = _carrier(options, Path(folder))
        try:
            return _Demo(options, asked, watcher, carrier).run()
        finally:
            carrier.kill()


class _Demo:
    def __init__(self, options: DemoOptions, asked: Callable[[], bool], watcher: Watcher, carrier: Carrier) -> None:
        self._options = options
        self._asked = asked
        self._watcher = watcher
        self._carrier = carrier
        self._tally = Tally()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def run(self) -> DemoAccount:
        with open_collector(self._carrier.bind, self._events.put) as collector:
            sending = self._carrier.begin(collector.url)
            source = Child("agent", "atmost.demo.source", [sending, socket.gethostname(), str(self._carrier.log)])
            try:
                source.line()  # from now on the process handles SIGTERM instead of dying of it
                page = collector.http.url if collector.http is not None else None
                self._watcher.began(collector.url, sending, page)
                self._go_on(source)
                return self._end(collector, source)
            finally:
                source.kill()

    def _go_on(self, source: Child) -> None:
        began, seconds = time.monotonic(), self._options.seconds

        def over() -> bool:
            return self._asked() or self._carrier.failed() or source.has_line()

        # A run without an end kills the server in its tenth second.
        half = 10.0 if seconds is None else seconds / 2
        self._take(began + half, over)
        if not over() and (text := self._carrier.trouble()) is not None:
            self._watcher.trouble(text)
        self._take(float("inf") if seconds is None else began + seconds, over)
        if self._carrier.failed() or source.has_line():
            raise ChildError("a process of the demo ended early; its error message is above")

    def _end(self, collector: CollectorDaemon, source: Child) -> DemoAccount:
        """Ends sender, carrier and receiver in this order, so that nothing is on its way when a counter is read."""
        source.ask_to_end()
        self._take(time.monotonic() + _ENDING, source.has_line)
        stats = source.line()
        counted = self._carrier.end(self._take)
        self._take(time.monotonic() + 2 * _TURN)
        self._take(time.monotonic() + 5.0, lambda: collector.ledger().pending == 0)
        collector.stop()
        self._take(time.monotonic())
        return balance(stats, collector.ledger(), self._tally, counted)

    def _take(self, until: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Hands on what arrives, until a monotonic time or a condition; what has arrived already is always handed on."""
        while not self._events.empty() or ((left := until - time.monotonic()) > 0 and not enough()):
            try:
                event = (
                    self._events.get(timeout=min(max(left, 0.0), _TURN)) if self._events.empty() else self._events.get()
                )
            except queue.Empty:
                self._watcher.tick()
                continue
            if isinstance(event, Message):
                self._tally.process(event)
            self._watcher.show(event)
            self._watcher.tick()


def open_collector(bind: str, tap: Callable[[Event], object]) -> CollectorDaemon:
    """A collector with one address; its page is at the usual port, at a free one, or missing.

    Args:
        bind: the address.
        tap: called with every event.
    """
    from atmost.collector.daemon import CollectorDaemon  # loads an event loop, which --help does not need

    for place in (PAGE, "127.0.0.1:0", "off"):
        options = CollectorOptions(
            bind=(bind,), statsd=("off",), syslog=("off",), gelf=("off",), http=place, state_dir="off"
        )
        try:
            return CollectorDaemon(options, {}, tap)
        except (BindError, MissingExtra):
            if place == "off":
                raise
    raise AssertionError


def _carrier(options: DemoOptions, folder: Path) -> Carrier:
    if options.nats:
        return ClusterCarrier(folder)
    shares = {"loss": options.loss, "duplicate": options.duplicate, "reorder": options.reorder}
    return LinkCarrier(folder, shares, options.seed)
