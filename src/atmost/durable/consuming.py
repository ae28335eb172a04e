"""Hands the messages of a stream to a handler, acknowledges those it processed, and decides what becomes of the rest.

While a handler is at work the server is told so three times within `ack_wait`, so the handler may take as long as it needs.
A message whose deliveries exceed `max_deliver`, because its handler raised or its process died with it, is poison: moved or parked.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from atmost.durable.counts import Count, Counts
from atmost.durable.engine import Engine, end, ensure_consumer
from atmost.durable.errors import AlreadyProcessed, NotConnected
from atmost.durable.message import DEDUPLICATED_ID, DurableMessage, unpack
from atmost.durable.options import ConsumeOptions, Stream
from atmost.durable.records import IdempotencyStore

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js.client import JetStreamContext


Record = Literal["after", "before"]
_CONFIRMATIONS: Final = 3
"""Attempts to have an acknowledgement confirmed; after the last one the message is delivered again, and the record refuses it."""
_CONFIRM_TIMEOUT: Final = 2.0


class Bookkeeping(Protocol):
    """The steps that differ between the guarantees."""

    @property
    def retries(self) -> bool:
        """Whether a message whose handler raised is processed again."""
        ...

    async def begin(self, message: DurableMessage) -> bool:
        """Whether the message is to be processed."""
        ...

    async def done(self, message: DurableMessage) -> None:
        """Notes that the handler has finished the message."""
        ...

    async def acknowledge(self, raw: Msg) -> bool:
        """Asks the server not to deliver it again; returns whether the server is known to have received the acknowledgement."""
        ...


class WithoutRecord:
    """At least once: processed, then acknowledged; a message whose acknowledgement is lost comes again."""

    retries = True

    async def begin(self, message: DurableMessage) -> bool:  # noqa: ARG002  the protocol's signature
        """Returns True: without a record every message is processed."""
        return True

    async def done(self, message: DurableMessage) -> None:
        """Does nothing: there is no record."""

    async def acknowledge(self, raw: Msg) -> bool:
        """Sends one acknowledgement; whether it arrives is unknown."""
        from nats.errors import Error

        try:
            await raw.ack()
        except (Error, OSError):
            return False
        return True


class WithRecord:
    """Exactly once: skipped when it is recorded; recorded; then acknowledged until the server confirms."""

    def __init__(self, store: IdempotencyStore, record: Record) -> None:
        """Args: store: the records. record: after the handler has ended, or before it begins."""
        self._store = store
        self._before = record == "before"

    @property
    def retries(self) -> bool:
        """Returns False where messages are recorded before: how much a handler did before it raised is unknown."""
        return not self._before

    async def begin(self, message: DurableMessage) -> bool:
        """Returns whether the message is to be processed: it is not recorded yet."""
        ask = self._store.record if self._before else self._store.seen
        return await asyncio.to_thread(ask, message.scope, message.id) is self._before

    async def done(self, message: DurableMessage) -> None:
        """Records the message, unless a transaction of the handler has done so."""
        if not self._before:
            await asyncio.to_thread(self._store.record, message.scope, message.id)

    async def acknowledge(self, raw: Msg) -> bool:
        """Acknowledges until the server confirms it."""
        from nats.errors import Error

        for _ in range(_CONFIRMATIONS):
            try:
                await raw.ack_sync(timeout=_CONFIRM_TIMEOUT)
            except (Error, OSError):
                await asyncio.sleep(0.1)
            else:
                return True
        return False


Handler = Callable[[DurableMessage], Awaitable[object] | object]

_FETCH: Final = 1.0
"""How long a request for messages stands, and so how long one that was lost with its connection is missed (seconds)."""
_BREATH: Final = 0.2
"""The pause after an error (seconds)."""
_OPEN: Final = 5.0
_DEAD_TIMEOUT: Final = 5.0
_SHOWN: Final = 500
"""Characters of an error in a dead letter."""

logger = logging.getLogger("atmost")


class Consumption:
    """One `run`: from its call until it is stopped or cancelled."""

    def __init__(
        self,
        engine: Engine,
        stream: Stream,
        options: ConsumeOptions,
        handler: Handler,
        books: Bookkeeping,
        counts: Counts,
        stopped: asyncio.Event,
    ) -> None:
        """Args: handler: plain functions are called in threads. books: the guarantee's steps around it. stopped: ends the run."""
        self._engine = engine
        self._stream = stream
        self._options = options
        self._handler = handler
        self._plain = not inspect.iscoroutinefunction(handler)
        self._books = books
        self._counts = counts
        self._stopped = stopped
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(options.concurrency, "atmost-durable") if self._plain else None
        self._in_hand: dict[str, Msg] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._puller: JetStreamContext.PullSubscription | None = None

    async def run(self) -> None:
        """Runs until stopped, and finishes the messages in hand; when cancelled, those are not acknowledged and come again."""
        telling = asyncio.create_task(self._tell_progress())
        try:
            while not self._stopped.is_set():
                for raw in await self._next():
                    task = asyncio.create_task(self._take(raw))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                if len(self._tasks) >= self._options.concurrency:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()  # once: one that waits for its thread must go on waiting
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await end(telling)
            if self._threads is not None:
                self._threads.shutdown(wait=False)
            await self._let_go()

    async def _next(self) -> list[Msg]:
        """At most as many messages as handlers are free; none after a timeout, a stop or an error."""
        fetching = asyncio.ensure_future(self._fetch(self._options.concurrency - len(self._tasks)))
        stopping = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({fetching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(fetching, stopping)
        return [] if fetching.cancelled() else fetching.result()

    async def _fetch(self, count: int) -> list[Msg]:
        from nats.errors import Error

        try:
            if self._puller is None:
                js = await self._engine.jetstream(_OPEN)
                await ensure_consumer(js, self._stream.name, self._options)
                self._puller = await js.pull_subscribe_bind(self._options.durable, self._stream.name)
            return await self._puller.fetch(count, timeout=_FETCH)
        except TimeoutError:
            return []
        except (Error, NotConnected, OSError, RuntimeError) as error:
            self._counts.increment(Count.TROUBLE)
            logger.warning("atmost.durable: cannot fetch for %s: %s", self._options.durable, error)
            await self._let_go()
            await asyncio.sleep(_BREATH)
            return []

    async def _let_go(self) -> None:
        from nats.errors import Error

        puller, self._puller = self._puller, None
        if puller is not None:
            try:
                await puller.unsubscribe()
            except (Error, OSError, ValueError):
                self._counts.increment(Count.TROUBLE)

    async def _take(self, raw: Msg) -> None:
        """Handles one delivery, from its arrival to its acknowledgement or refusal."""
        message = unpack(raw, time.time_ns() // 1000)
        if message is None:
            self._counts.increment(Count.MALFORMED)
            await self._bury(raw, "the payload is not MessagePack")
            return
        if message.redelivered:
            self._counts.increment(Count.REDELIVERED)
        if message.id in self._in_hand:
            self._counts.increment(Count.IN_HAND)
            await self._again(raw, self._options.ack_wait)
            return
        self._in_hand[message.id] = raw
        try:
            await self._process(raw, message)
        except Exception:  # raised by a user's store or by ours: the message was not acknowledged, and comes again
            self._counts.increment(Count.TROUBLE)
            logger.exception(
                "atmost.durable: a fault in handling %r of %s, which is delivered again", message.id, message.scope
            )
        finally:
            del self._in_hand[message.id]

    async def _process(self, raw: Msg, message: DurableMessage) -> None:
        options = self._options
        try:
            wanted = await self._books.begin(message)
        except Exception:  # no handler has begun with it, so it may come again under every guarantee
            self._counts.increment(Count.NOT_RECORDED)
            logger.exception(
                "atmost.durable: the store failed on %r of %s, which is delivered again", message.id, message.scope
            )
            await self._again(raw, self._delay(message))
            return
        if wanted and message.attempt > options.max_deliver:
            await self._bury(raw, f"delivered {message.attempt} times and never acknowledged")
            return
        try:
            if wanted:
                await self._call(message)
                self._counts.increment(Count.PROCESSED)
        except Exception as error:  # noqa: BLE001  `_failed` logs it
            # With record="before" a handler's transaction always finds the message recorded, by this very delivery: nothing was done.
            if not isinstance(error, AlreadyProcessed) or not self._books.retries:
                await self._failed(raw, message, error)
                return
            wanted = False
        if not wanted:
            self._counts.increment(Count.SKIPPED)
        try:
            await self._books.done(message)
        except Exception:
            self._counts.increment(Count.NOT_RECORDED)
            logger.exception(
                "atmost.durable: %r of %s could not be recorded, and is delivered again", message.id, message.scope
            )
            await self._again(raw, options.retry_delay)
            return
        if not await self._books.acknowledge(raw):
            self._counts.increment(Count.NOT_CONFIRMED)

    async def _failed(self, raw: Msg, message: DurableMessage, error: Exception) -> None:
        """Decides what becomes of a message whose handler raised; to be called while the exception is handled."""
        self._counts.increment(Count.FAILED)
        if not self._books.retries or message.attempt >= self._options.max_deliver:
            logger.exception("atmost.durable: %s", self._tell(message))  # noqa: LOG004  the caller is handling it
            await self._bury(raw, f"{type(error).__name__}: {error}")
            return
        logger.warning("atmost.durable: %s, the message is delivered again", self._tell(message), exc_info=True)  # noqa: LOG014  as above
        await self._again(raw, self._delay(message))

    def _delay(self, message: DurableMessage) -> float:
        """Seconds until a message that failed comes again, doubled each time."""
        options = self._options
        return min(options.retry_delay * 2.0 ** min(message.attempt - 1, 60), options.max_retry_delay)

    async def _call(self, message: DurableMessage) -> None:
        if self._threads is None:
            await self._handler(message)  # type: ignore[misc]
            return
        working = self._loop.run_in_executor(self._threads, self._handler, message)
        try:
            result: Any = await asyncio.shield(working)
        except (
            asyncio.CancelledError
        ):  # a thread cannot be cancelled and will have its effect, so the run ends after it
            await asyncio.wait({working})
            raise
        if inspect.isawaitable(result):
            await result

    def _tell(self, message: DurableMessage) -> str:
        number = f"{message.attempt} of {self._options.max_deliver}"
        return f"the handler of {self._options.durable} raised on {message.subject} {message.id!r}, delivery {number}"

    async def _again(self, raw: Msg, delay: float) -> None:
        """Asks for another delivery, with jitter so that messages that failed together do not come back together."""
        from nats.errors import Error

        try:
            await raw.nak(delay * random.uniform(0.5, 1.0))  # noqa: S311  as above
        except (Error, OSError):  # it comes again by itself, after ack_wait
            self._counts.increment(Count.TROUBLE)

    async def _bury(self, raw: Msg, reason: str) -> None:
        """Ends a poison message: it is moved to the dead-letter subject, once that is acknowledged, or parked in its own stream."""
        from nats.errors import Error

        facts, target = raw.metadata, self._options.dead_letter
        place = f"{facts.stream} number {facts.sequence.stream}"
        try:
            if target is not None:
                js = await self._engine.jetstream(_OPEN)
                # Only our headers: JetStream's, such as the stream expected for a message, would be applied to the dead letter.
                said = {name: text for name, text in (raw.headers or {}).items() if not name.startswith("Nats-")} | {
                    DEDUPLICATED_ID: f"dead:{facts.stream}:{facts.consumer}:{facts.sequence.stream}",
                    "Atmost-Dead-Subject": raw.subject,
                    "Atmost-Dead-Sequence": str(facts.sequence.stream),
                    "Atmost-Dead-Consumer": facts.consumer,
                    "Atmost-Dead-Reason": reason[:_SHOWN],
                }
                await js.publish(target, raw.data, timeout=_DEAD_TIMEOUT, headers=said)
            await raw.term()
        except (Error, NotConnected, OSError) as error:  # not moved, so not given up: the message comes again
            self._counts.increment(Count.TROUBLE)
            logger.warning("atmost.durable: %s is poison and cannot be moved: %s", place, error)
            await self._again(raw, self._options.retry_delay)
            return
        self._counts.increment(Count.PARKED if target is None else Count.DEAD_LETTERED)
        logger.error("atmost.durable: %s is %s: %s", place, "parked" if target is None else f"on {target}", reason)

    async def _tell_progress(self) -> None:
        """Keeps the server from delivering again what is being processed here."""
        from nats.errors import Error

        while True:
            await asyncio.sleep(self._options.ack_wait / 3)
            for raw in list(self._in_hand.values()):
                try:
                    await raw.in_progress()
                except (Error, OSError):
                    self._counts.increment(Count.TROUBLE)
