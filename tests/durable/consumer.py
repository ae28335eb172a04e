"""A consumer in a process of its own, which stops where it is told to, to be killed or paused there."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from atmost.durable import AtLeastOnce, DurableMessage, ExactlyOnce, SQLiteStore, Stream
from tests.durable.scene import Books, Mode, run_options


def held() -> None:
    """Say that the place is reached, and stay there until told to go on."""
    sys.stdout.write("held\n")
    sys.stdout.flush()
    if not sys.stdin.readline():
        time.sleep(3600)


class HoldingStore(SQLiteStore):
    """Holds after a record was made."""

    def record(self, scope: str, id: str) -> bool:  # noqa: A002  as in the protocol
        """Record, then hold."""
        new = super().record(scope, id)
        held()
        return new


def main() -> None:
    """Arguments: url, stream, subject, mode, folder, and where to hold: before, effect or record."""
    url, stream, subject, mode_text, folder, place = sys.argv[1:]
    mode = Mode(mode_text)
    books = Books(mode, Path(folder))

    def handler(message: DurableMessage) -> None:
        if place == "before":
            held()
        books.affect(message, held if place == "effect" else lambda: None)
        if place == "record" and mode is not Mode.AFTER:
            held()

    async def run() -> None:
        kind = AtLeastOnce if mode is Mode.AT_LEAST_ONCE else ExactlyOnce
        store: Any = books.store
        if place == "record" and mode is Mode.AFTER:
            store = HoldingStore(Path(folder) / "store.db")
        async with kind(url, Stream(stream, [subject])) as consumer:
            await consumer.run(handler, **run_options(mode, store))

    asyncio.run(run())
