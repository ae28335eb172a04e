"""One message on its way through one guarantee, in a stream of its own: published, processed, its effects counted."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from enum import StrEnum
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nats
from nats.js.errors import NotFoundError

from atmost.durable import AtLeastOnce, DurableMessage, ExactlyOnce, SQLiteStore, Stream
from tests.durable.jetstream import JetStream
from tests.real import BOUND

ACK_WAIT = 1.0
NAME = "ledger"
_numbers = count()


class Mode(StrEnum):
    """The columns of the table in docs/durable.md."""

    AT_LEAST_ONCE = "AtLeastOnce"
    TRANSACTION = "ExactlyOnce, in a transaction"
    AFTER = "ExactlyOnce, recorded after"
    BEFORE = "ExactlyOnce, recorded before"


async def until(condition: Callable[[], Any]) -> None:
    """Wait in the loop until it is true, and fail when it never is."""
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


class Books:
    """The files of one scene, which processes share: the store, and the effects of handlers without a transaction."""

    def __init__(self, mode: Mode, folder: Path) -> None:
        self.mode = mode
        self.jump = 0.0
        """Seconds the store's clock is ahead."""
        self.store = SQLiteStore(folder / "store.db", clock=lambda: time.time() + self.jump)
        self._effects = folder / "effects.db"
        for path in (folder / "store.db", self._effects):
            with closing(sqlite3.connect(path, timeout=BOUND)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("CREATE TABLE IF NOT EXISTS effects (id TEXT)")
                connection.commit()

    def affect(self, message: DurableMessage, then: Callable[[], object] = lambda: None) -> None:
        """The effect that must happen once; `then` is called where the record is not made yet."""
        if self.mode is Mode.TRANSACTION:
            with self.store.transaction(message) as connection:
                connection.execute("INSERT INTO effects VALUES (?)", (message.payload,))
                then()
            return
        with closing(sqlite3.connect(self._effects, timeout=BOUND)) as connection:
            connection.execute("INSERT INTO effects VALUES (?)", (message.payload,))
            connection.commit()
        then()

    def effects(self) -> dict[str, int]:
        """How often each message had its effect."""
        path = self._effects.with_name("store.db") if self.mode is Mode.TRANSACTION else self._effects
        with closing(sqlite3.connect(path, timeout=BOUND)) as connection:
            return dict(connection.execute("SELECT id, count(*) FROM effects GROUP BY id"))


class Scene:
    """A guarantee in one mode, on a server."""

    def __init__(self, mode: Mode, folder: Path, server: JetStream, **stream: Any) -> None:
        number = next(_numbers)
        folder.mkdir(parents=True, exist_ok=True)
        self.mode = mode
        self.folder = folder
        self.server = server
        self.url = server.url
        self.subject = f"paid.{number}"
        self.stream = Stream(f"S{number}", [self.subject], **stream)
        self.books = Books(mode, folder)

    async def __aenter__(self) -> Self:
        """With a connection to look at the server by."""
        self._eye = await nats.connect(
            self.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=_not_here
        )
        self._js = self._eye.jetstream(timeout=0.5)  # what a killed server took along is asked again soon
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close everything."""
        await self._eye.close()
        self.books.store.close()

    def guarantee(self, url: str | None = None, **options: Any) -> AtLeastOnce:
        """The guarantee of this mode."""
        kind = AtLeastOnce if self.mode is Mode.AT_LEAST_ONCE else ExactlyOnce
        timing = {"ack_timeout": 0.5, "deadline": min(BOUND, self.stream.duplicate_window - 0.5)}
        return kind(url or self.url, self.stream, **timing | options)

    def run_options(self, **options: Any) -> dict[str, Any]:
        """What `run` of this mode needs."""
        return run_options(self.mode, self.books.store) | options

    async def stored(self) -> int:
        """Messages in the stream."""
        with suppress(nats.errors.Error):
            return (await self._js.stream_info(self.stream.name)).state.messages
        return -1

    async def until_stored(self, messages: int) -> None:
        """Wait until the stream has that many."""
        deadline = time.monotonic() + BOUND
        while await self.stored() < messages:
            assert time.monotonic() < deadline, "it was never stored"
            await asyncio.sleep(0.01)

    async def publish(self, payload: str = "a", **options: Any) -> None:
        """Publish one message without any fault."""
        async with self.guarantee() as publisher:
            await publisher.publish(self.subject, payload, **options)

    async def settled(self) -> bool:
        """Whether everything was delivered and acknowledged."""
        try:
            info = await self._js.consumer_info(self.stream.name, NAME)
            last = (await self._js.stream_info(self.stream.name)).state.last_seq
        except (NotFoundError, nats.errors.Error):
            return False
        return not info.num_pending and not info.num_ack_pending and info.delivered.stream_seq >= last

    async def until_settled(self) -> None:
        """Wait for that."""
        deadline = time.monotonic() + BOUND
        while not await self.settled():
            assert time.monotonic() < deadline, "it never came to rest"
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def consuming(
        self, handler: Callable[[DurableMessage], Any] | None = None, url: str | None = None, **options: Any
    ) -> AsyncIterator[AtLeastOnce]:
        """A consumer while the block lasts; at its end it is stopped, and did not fail."""
        consumer = self.guarantee(url)
        running = asyncio.create_task(
            consumer.run(handler or self.books.affect, **self.run_options(**options))  # type: ignore[arg-type]
        )
        try:
            yield consumer
        except BaseException:
            running.cancel()
            raise
        finally:
            consumer.stop()
            await asyncio.wait({running}, timeout=BOUND)
            await consumer.close()
            await asyncio.gather(running, return_exceptions=True)
        await running

    async def processed(self, **options: Any) -> int:
        """Process everything without any fault, and return how often the one message had its effect."""
        async with self.consuming(**options):
            await self.until_settled()
        return self.effects()

    def effects(self) -> int:
        """How often the one message had its effect; of several, which must agree, each of them."""
        counted = set(self.books.effects().values()) or {0}
        assert len(counted) == 1, counted
        return counted.pop()


async def _not_here(_error: Exception) -> None:
    """What this connection goes through is the scene's doing."""


def run_options(mode: Mode, store: SQLiteStore) -> dict[str, Any]:
    """What `run` needs in a mode."""
    common: dict[str, Any] = {"durable": NAME, "ack_wait": ACK_WAIT, "retry_delay": 0.05}
    if mode is Mode.AT_LEAST_ONCE:
        return common
    return common | {"store": store, "record": "before" if mode is Mode.BEFORE else "after"}
