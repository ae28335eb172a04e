"""`AtLeastOnce` and `ExactlyOnce`: publish until acknowledged, process until acknowledged.

Each belongs to one event loop and connects when it is first used; `Blocking` serves programs without one.

Theory of operation. A guarantee is constructed, then connected by the first call that needs the server, then closed; `stop` ends
its runs and leaves it usable. Publishing is attempts under one id until an acknowledgement, a refusal or the deadline. A message
that is consumed is in one of three states on the server: waiting, in somebody's hand for `ack_wait`, or acknowledged; only the
acknowledgement ends it, so a crash anywhere brings it again. `AtLeastOnce` stops there. `ExactlyOnce` adds a record of ids at
both ends: the server refuses a copy within its window, and the consumer's store refuses it afterwards. That is enough because
every copy carries the id of its message, and the store remembers longer than a copy can live.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NoReturn, Self

from atmost.core.names import matcher, overlap
from atmost.durable.consuming import Bookkeeping, Consumption, Handler, Record, WithoutRecord, WithRecord
from atmost.durable.counts import Counts, DurableStats
from atmost.durable.engine import Engine, end, ensure_consumer
from atmost.durable.options import ConsumeOptions, PublishOptions, Stream
from atmost.durable.publishing import Publisher, Receipt
from atmost.durable.records import IdempotencyStore, SQLiteStore, check_retention, horizon_of
from atmost.endpoint.checking import check_handler
from atmost.errors import OptionError, SubjectError


class AtLeastOnce:
    """Every message is processed, some of them twice; possible repetitions are marked (`redelivered`, `may_be_repeated`)."""

    _deduplicated = False

    def __init__(
        self,
        url: str,
        stream: Stream,
        *,
        name: str = "atmost",
        deadline: float = 30.0,
        ack_timeout: float = 2.0,
        retry_delay: float = 0.05,
        max_retry_delay: float = 2.0,
        max_in_flight: int = 1024,
        connect: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepares; it connects when it is first used.

        Args:
            url: nats://HOST:PORT, several servers separated by commas.
            stream: keeps the messages.
            name: seen by consumers as `session.name`.
            deadline: seconds until `publish` gives up.
            ack_timeout: seconds an attempt waits for its acknowledgement.
            retry_delay: seconds before the second attempt, doubled for each further one, with jitter.
            max_retry_delay: seconds between attempts, at most.
            max_in_flight: messages that may wait for their acknowledgement at once.
            connect: further options of `nats.connect`, such as `user_credentials` or `tls`.

        Raises:
            AddressError: a URL cannot be used.
            OptionError: an option is outside its range.
            MissingExtra: the extra `nats` is not installed.
        """
        self._options = PublishOptions(
            deadline=deadline,
            ack_timeout=ack_timeout,
            retry_delay=retry_delay,
            max_retry_delay=max_retry_delay,
            max_in_flight=max_in_flight,
        )
        if not isinstance(stream, Stream):
            raise OptionError("stream", stream, "a durable.Stream, such as Stream('PAYMENTS', ['payments.>'])")
        if self._deduplicated and not deadline + ack_timeout <= stream.duplicate_window:
            raise OptionError(
                "deadline",
                deadline,
                f"with ack_timeout at most the stream's duplicate_window ({stream.duplicate_window:g} s)",
            )
        if not isinstance(name, str):
            raise OptionError("name", name, "a string")
        self._stream = stream
        self._counts = Counts()
        self._engine = Engine(url, stream, name, connect or {}, self._counts)
        self._publisher = Publisher(
            self._engine, stream, self._options, name, self._counts, deduplicated=self._deduplicated
        )
        self._runs: set[tuple[asyncio.Event, asyncio.Event]] = set()
        """For each `run`: whether it is to end, and whether it has ended."""
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._engine.connected

    def stats(self) -> DurableStats:
        """What happened so far."""
        return self._counts.stats()

    async def publish(
        self,
        subject: str,
        payload: Any = None,
        *,
        id: str | None = None,  # noqa: A002  the idea's name
        deadline: float | None = None,
    ) -> Receipt:
        """Publishes, and returns when a server has acknowledged that the message is stored.

        If the call is cancelled, the outcome is unknown.

        Args:
            subject: one of the stream's.
            payload: as for `Sender.send`.
            id: identifies this message in all attempts, also those of a restarted program: derive it from business data,
                for example from an order's number. None generates one for this call.
            deadline: seconds, at most the deadline given at construction.

        Raises:
            NotAcknowledged: no server confirmed it in time; its `unknown` says whether the message may nevertheless be stored.
            StreamMismatch: the stream is not as it must be.
            SubjectError: it is malformed, or not one of the stream's.
            OptionError: the id or deadline cannot be used.
            PayloadNotEncodable: something in the payload cannot be carried.
        """
        return await self._publisher.publish(subject, payload, id, deadline)

    async def run(self, handler: Handler, *, durable: str, **options: Any) -> None:
        """Processes messages until stopped or cancelled, each at least once: acknowledged when the handler has ended.

        Args:
            handler: a coroutine function, or a plain one, which is called in a thread. If it raises, the message is delivered again.
            durable: the consumer's name; those that run under one name share the messages.
            options: the others of `ConsumeOptions`: subjects, ack_wait, max_deliver, retry_delay, max_retry_delay, dead_letter,
                concurrency.

        Raises:
            NotConnected: no server took the first connection.
            StreamMismatch: stream or consumer are not as they must be.
            OptionError: an option is outside its range.
            SubjectError: a pattern is malformed, or matches nothing that the stream keeps.
        """
        chosen = self._consume_options(handler, durable, options)
        async with self._running() as stopped:
            if await self._ready(chosen, stopped):
                await self._consume(handler, chosen, WithoutRecord(), stopped)

    def stop(self) -> None:
        """Ends every `run` after the messages in hand; may be called from any thread, and by handlers."""
        for stopped, _ in list(self._runs):
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(stopped.set)

    async def close(self) -> None:
        """Ends every `run` and closes the connection; may be called twice, but not by a handler."""
        self.stop()
        await asyncio.gather(*(ended.wait() for _, ended in self._runs))
        await self._engine.close()

    async def __aenter__(self) -> Self:
        """Returns the guarantee, not yet connected."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __reduce__(self) -> NoReturn:
        """Refuses: the connection belongs to this process."""
        raise TypeError(f"an {type(self).__name__} cannot be pickled or copied: construct one in each process")

    def __repr__(self) -> str:
        """Stream and servers."""
        return f"<{type(self).__name__} {self._stream.name} on {self._engine.url}>"

    def _consume_options(self, handler: Handler, durable: str, options: dict[str, Any]) -> ConsumeOptions:
        check_handler(handler, awaited=True)  # every message would fail on it until it is poison
        try:
            made = ConsumeOptions(durable=durable, **options)
        except TypeError as error:
            raise OptionError("run", ", ".join(options), f"options of ConsumeOptions ({error})") from None
        kept = self._stream.subjects
        for pattern in made.subjects:
            if not any(overlap(pattern, one) for one in kept):
                raise SubjectError(
                    pattern, f"stream {self._stream.name} keeps {', '.join(kept)}: nothing would ever come"
                )
        consumed = matcher(made.subjects or kept)
        if made.dead_letter is not None and consumed(made.dead_letter):
            expected = "a subject that this consumer does not consume: poison would go round"
            raise OptionError("dead_letter", made.dead_letter, expected)
        return made

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[asyncio.Event]:
        """What `stop` sets, from the first step of a run on."""
        self._loop = asyncio.get_running_loop()
        run = asyncio.Event(), asyncio.Event()
        self._runs.add(run)
        try:
            yield run[0]
        finally:
            run[1].set()
            self._runs.discard(run)

    async def _ready(self, options: ConsumeOptions, stopped: asyncio.Event) -> bool:
        """Connects, and makes or verifies stream and consumer; False when it was stopped meanwhile."""

        async def prepare() -> None:
            js = await self._engine.jetstream(self._options.deadline)
            await ensure_consumer(js, self._stream.name, options)

        preparing, stopping = asyncio.create_task(prepare()), asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait({preparing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if preparing.done():
                preparing.result()
        finally:
            await end(preparing, stopping)
        return not stopped.is_set()

    async def _consume(
        self, handler: Handler, options: ConsumeOptions, books: Bookkeeping, stopped: asyncio.Event
    ) -> None:
        await Consumption(self._engine, self._stream, options, handler, books, self._counts, stopped).run()


class ExactlyOnce(AtLeastOnce):
    """Every message is processed, and none twice within the window that docs/durable.md names.

    The server refuses a second copy under the same id within `duplicate_window`; the consumer's record refuses it for its
    `retention`; and where the effect is committed with the record, in `SQLiteStore.transaction`, no crash can separate them.
    """

    _deduplicated = True

    async def run(
        self,
        handler: Handler,
        *,
        durable: str,
        store: IdempotencyStore | str | os.PathLike[str] | None = None,
        record: Record = "after",
        **options: Any,
    ) -> None:
        """Processes messages until stopped or cancelled, each once: recorded, and acknowledged until the server confirms.

        Args:
            handler: as for `AtLeastOnce.run`. With `with store.transaction(message) as connection:` in it, effect and record are one.
            durable: the consumer's name; those that run under one name share the messages, and must share the store.
            store: the record of processed messages; a path makes an `SQLiteStore` there, which keeps them long enough.
            record: for handlers without a transaction. With "after", a crash between handler and record processes the message twice.
                With "before", such a crash loses it; a message whose handler raises is not repeated either, but dead at once.
            options: as for `AtLeastOnce.run`.

        Raises:
            OptionError: as for `AtLeastOnce.run`; no store; or one that forgets before the last copy can come.
            NotConnected: no server took the first connection.
            StreamMismatch: stream or consumer are not as they must be.
            SubjectError: a pattern is malformed, or matches nothing that the stream keeps.
        """
        if record not in {"after", "before"}:
            raise OptionError("record", record, "'after' or 'before'")
        if store is None:
            raise OptionError("store", store, "a path for an SQLiteStore, or an IdempotencyStore of your own")
        chosen = self._consume_options(handler, durable, options)
        async with self._running() as stopped:
            if not await self._ready(chosen, stopped):
                return
            times = self._engine.max_age, self._options.deadline, chosen.ack_wait  # the stream's as it is on the server
            if isinstance(store, str | os.PathLike):
                with SQLiteStore(store, retention=1.1 * horizon_of(*times)) as own:
                    await self._consume(handler, chosen, WithRecord(own, record), stopped)
                return
            check_retention(store, *times)
            await self._consume(handler, chosen, WithRecord(store, record), stopped)
