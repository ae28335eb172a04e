"""`AsyncReceiver`: the receiver for asyncio, with the same names.

The socket is watched with `add_reader` and drained at each turn of the loop; asyncio's DatagramProtocol reads one datagram a turn and loses bursts.
Use it from one task of one event loop.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self, Unpack

from atmost.core.accounts import Ledger
from atmost.core.events import Event, Message
from atmost.core.names import matcher
from atmost.endpoint.checking import KeyText, ReceiverArguments, check_handler
from atmost.endpoint.intake import Intake, options_of
from atmost.lifecycle import HERE, notice_fork


class AsyncReceiver:
    """Receives at one address, alone; every message at most once, every loss counted."""

    def __init__(self, url: str | None = None, **options: Unpack[ReceiverArguments]) -> None:
        """Binds the address; the first `await` waits until what is sent from then on is accepted (R10).

        Args:
            url: as for `Receiver`.
            **options: as for `Receiver`: audience, grace, window, max_sessions, future_bound, clock_guard, max_age, max_queue,
                key, key_file, shards. On nats:// it blocks until the shards are known to be free: call it in a thread if the loop
                must go on meanwhile.

        Raises:
            AddressError, AddressInUse, BindError, OptionError: as for `Receiver`.
        """
        self._intake = intake = Intake(options_of("AsyncReceiver", options), url)
        self._watch = _Watch()
        self._readable = asyncio.Event()
        self._is_ready = False
        # A receiver dropped without `close` releases its address, as a dropped file is closed; the loop holds it weakly.
        weakref.finalize(self, _let_go, self._watch, intake).atexit = False

    @property
    def url(self) -> str:
        """The address really bound."""
        return self._intake.inlet.url

    @property
    def closed(self) -> bool:
        """Whether this incarnation is over."""
        return self._intake.closed

    async def ready(self) -> Self:
        """Waits until what is sent from now on is accepted; every other method does so by itself."""
        if self._is_ready or self.closed:
            return self
        if self._watch.loop is None:
            if not HERE[0]:
                notice_fork()
            try:
                self._watch.start(self._intake.inlet.fileno(), weakref.WeakMethod(self._on_readable))
            except OSError:  # a signal handler has closed it, or forked, in the middle of this
                if not self.closed:
                    raise
        while wait := self._intake.boot_wait():  # noqa: ASYNC110  it waits for the clock, not for a task
            await asyncio.sleep(wait)
        self._is_ready = True  # only now: a wait that was cancelled has yet to be finished
        return self

    async def receive(self, timeout: float | None = None) -> Message | None:
        """The next message, or None when `timeout` seconds are over or the receiver is closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for event in self._intake.current:
                if event.__class__ is Message:
                    if HERE[0]:
                        return event
                    notice_fork()
            if not await self._advance(None if deadline is None else deadline - time.monotonic()):
                return None

    async def next_event(self, timeout: float | None = None) -> Event | None:
        """The next message or other event; see `events` and `receive`."""
        intake = self._intake
        intake.wants_events = True
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for event in intake.current:
                if HERE[0]:
                    return event
                notice_fork()
            if not await self._advance(None if deadline is None else deadline - time.monotonic()):
                return None

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Yields messages until the receiver is closed."""
        while (message := await self.receive()) is not None:
            yield message

    async def events(self) -> AsyncIterator[Event]:
        """Yields messages and other events, until the receiver is closed."""
        while (event := await self.next_event()) is not None:
            yield event

    async def run(
        self, handler: Callable[[Message], Awaitable[object] | object], subjects: Iterable[str] = (">",)
    ) -> None:
        """Calls `handler`, plain or a coroutine function, with every message whose subject matches, one after the other.

        An exception is counted, and the message is never redelivered; a handler that is cancelled is counted too.

        Raises:
            OptionError: the handler cannot be called.
            SubjectError: a pattern is malformed.
        """
        check_handler(handler, awaited=True)
        matches, intake = matcher(subjects), self._intake
        while await self._advance(None):
            here = HERE[0]
            for event in intake.current:
                if not isinstance(event, Message) or not matches(event.subject):
                    continue
                try:
                    if HERE[0] != here or not here:  # as in `Intake.handle_current`
                        intake.pump()  # notices a fork
                        break
                    result = handler(event)
                    if inspect.isawaitable(result):
                        if HERE[0] == here:
                            await result
                        elif inspect.iscoroutine(result):  # not begun, and the parent's to begin
                            result.close()
                except asyncio.CancelledError:
                    intake.handler_failed(event)
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():  # it is this task that is being cancelled
                        raise
                except Exception:  # noqa: BLE001  the handler's own affair
                    intake.handler_failed(event)

    def accept_keys(self, key: KeyText) -> None:
        """Accepts these keys from now on, and no others; see `Receiver.accept_keys`."""
        self._intake.accept_keys(key)

    def ledger(self) -> Ledger:
        """The account of this incarnation at this moment."""
        return self._intake.ledger()

    def close(self) -> None:
        """Ends the incarnation; what is queued is discarded and counted, and iterations end."""
        if not HERE[0]:
            notice_fork()  # before the loop is touched: its list of sockets is one with the parent's
        self._watch.stop()
        self._intake.close()
        self._readable.set()

    async def __aenter__(self) -> Self:
        """The receiver, ready."""
        return await self.ready()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<AsyncReceiver on {self.url}{' (closed)' if self.closed else ''}>"

    def _on_readable(self) -> None:
        try:
            self._intake.pump()
            if self._intake.closed:  # its address was taken from it
                self._watch.stop()
        finally:
            self._readable.set()  # also when a signal handler has raised: what was read is there to be taken

    async def _advance(self, timeout: float | None) -> bool:
        """Makes the next batch current; between two batches the loop has its turn, so that the socket is read."""
        await self.ready()
        intake = self._intake
        if intake.next_batch():
            await asyncio.sleep(0)
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        while not intake.closed and not intake.in_turn:
            intake.pump()
            if intake.next_batch():
                # The handler itself may cause the next message, and then no other task would ever run.
                await asyncio.sleep(0)
                return True
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._readable.clear()
            try:
                await asyncio.wait_for(self._readable.wait(), intake.next_wait(left))
            except TimeoutError:
                continue
        self._watch.stop()
        return False


class _Watch:
    """A socket in an event loop; separate from the receiver, which the loop must not keep alive."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._fileno = -1

    def start(self, fileno: int, then: weakref.WeakMethod[Callable[[], None]]) -> None:
        """Calls `then` in the running loop whenever the socket is readable; does nothing with one that is closed."""
        here = HERE[0]
        if fileno < 0:
            return
        self.loop = loop = asyncio.get_running_loop()
        self._fileno = fileno
        on_readable: Callable[[], object] = lambda: (method := then()) is not None and method()  # noqa: E731
        # One line: nothing forks between the look and the call. A forked child shares the list of sockets with its parent's loop.
        told = HERE[0] == here != 0 and (loop.add_reader(fileno, on_readable), True)[1]
        if not told and not HERE[0]:
            notice_fork()
        if told and self._fileno != fileno:  # a signal handler has closed it in the middle of this
            loop.remove_reader(fileno)

    def stop(self) -> None:
        """Takes the socket out of the loop by the number it has there, which another file may get once the socket is closed."""
        if self.loop is not None and self._fileno >= 0 and not self.loop.is_closed():
            self.loop.remove_reader(self._fileno)
        self._fileno = -1


def _let_go(watch: _Watch, intake: Intake) -> None:
    watch.stop()
    intake.close()
