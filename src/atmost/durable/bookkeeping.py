"""What a guarantee does around a handler: whether to call it at all, what to record, and how to acknowledge."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal, Protocol

from atmost.durable.message import DurableMessage
from atmost.durable.records import IdempotencyStore

if TYPE_CHECKING:
    from nats.aio.msg import Msg

Record = Literal["after", "before"]
_CONFIRMATIONS: Final = 3
"""Attempts to have an acknowledgement confirmed; after the last one the message comes again, and the record catches it."""
_CONFIRM_TIMEOUT: Final = 2.0


class Bookkeeping(Protocol):
    """The steps that differ between the guarantees."""

    @property
    def retries(self) -> bool:
        """Whether a message whose handler raised is processed again."""
        ...

    async def begin(self, message: DurableMessage) -> bool:
        """Whether it is to be processed."""
        ...

    async def done(self, message: DurableMessage) -> None:
        """Its handler has come to its end."""
        ...

    async def acknowledge(self, raw: Msg) -> bool:
        """Tells the server not to deliver it again; whether it is known to have heard."""
        ...


class WithoutRecord:
    """At least once: processed, then acknowledged; a message whose acknowledgement is lost comes again."""

    retries = True

    async def begin(self, message: DurableMessage) -> bool:  # noqa: ARG002  the protocol's signature
        """Always."""
        return True

    async def done(self, message: DurableMessage) -> None:
        """Keeps nothing."""

    async def acknowledge(self, raw: Msg) -> bool:
        """Once; that it arrives nobody knows."""
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
        """Not when it is recorded before: what a handler that raised has done already, nobody knows."""
        return not self._before

    async def begin(self, message: DurableMessage) -> bool:
        """Unless it is recorded."""
        ask = self._store.record if self._before else self._store.seen
        return await asyncio.to_thread(ask, message.scope, message.id) is self._before

    async def done(self, message: DurableMessage) -> None:
        """Records it, unless a transaction of the handler's has."""
        if not self._before:
            await asyncio.to_thread(self._store.record, message.scope, message.id)

    async def acknowledge(self, raw: Msg) -> bool:
        """Until the server confirms it."""
        from nats.errors import Error

        for _ in range(_CONFIRMATIONS):
            try:
                await raw.ack_sync(timeout=_CONFIRM_TIMEOUT)
            except (Error, OSError):
                await asyncio.sleep(0.1)
            else:
                return True
        return False
