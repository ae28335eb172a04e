"""`Blocking`: a guarantee for programs without an event loop; its loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from atmost.durable.consuming import Handler
from atmost.durable.counts import DurableStats
from atmost.durable.engine import end
from atmost.durable.errors import NotConnected
from atmost.durable.guarantees import AtLeastOnce
from atmost.durable.publishing import Receipt

T = TypeVar("T")


class Blocking:
    """The same calls, which wait; safe from any thread.

    Example:
        >>> with Blocking(lambda: ExactlyOnce(url, Stream("PAYMENTS", ["payments.>"]))) as payments:
        ...     payments.publish("payments.captured", {"amount": 12}, id="order-17")
    """

    def __init__(self, construct: Callable[[], AtLeastOnce]) -> None:
        """Starts the thread.

        Args:
            construct: makes the guarantee, in that thread.

        Raises:
            AtMostError: as raised by `construct`.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="atmost-durable", daemon=True)
        self._thread.start()
        self._closed = False
        self._closing = threading.RLock()  # reentrant, because a signal handler may close too
        try:
            self._guarantee = self._wait(_constructed(construct))
        except BaseException:
            self._end()
            raise

    def publish(
        self,
        subject: str,
        payload: Any = None,
        *,
        id: str | None = None,  # noqa: A002  the idea's name
        deadline: float | None = None,
    ) -> Receipt:
        """Publishes as `AtLeastOnce.publish` does; raises `NotConnected` once closed."""
        return self._wait(self._guarantee.publish(subject, payload, id=id, deadline=deadline))

    def run(self, handler: Handler, *, durable: str, **options: Any) -> None:
        """Processes as `run` of the guarantee does, until another thread, or the handler, calls `stop`."""
        self._wait(self._guarantee.run(handler, durable=durable, **options))

    def stop(self) -> None:
        """Ends every `run` after the messages in hand."""
        with suppress(RuntimeError):  # closed: every run has ended
            self._loop.call_soon_threadsafe(self._guarantee.stop)

    def stats(self) -> DurableStats:
        """What happened so far."""
        return self._guarantee.stats()

    def close(self) -> None:
        """Closes the connection and ends the thread; may be called twice. Calls that still publish end as cancelled."""
        with self._closing:
            if not self._closed:
                self._wait(self._guarantee.close())
            if not self._closed:
                self._end()

    def __enter__(self) -> Self:
        """Returns the guarantee, which is already constructed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            if not self._loop.is_closed():
                raise
            raise NotConnected(repr(self._guarantee), "closed") from None
        try:
            return future.result()
        except BaseException:  # Ctrl-C in the caller's thread must not leave the work behind
            future.cancel()
            raise

    def _end(self) -> None:
        self._closed = True
        self._wait(_cancel_the_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_the_rest() -> None:
    """Cancels the remaining tasks: a thread that waits for a task of a stopped loop would wait for ever."""
    await end(*(asyncio.all_tasks() - {asyncio.current_task()}))


async def _constructed(construct: Callable[[], AtLeastOnce]) -> AtLeastOnce:
    return construct()
