"""The real receiving core, which also reports why it refused each datagram, and the core a forked child begins with."""

from __future__ import annotations

from collections.abc import Callable

from atmost.core.events import Event, RefusalReason
from atmost.core.receiving import ReceiverCore
from atmost.core.sending import SenderCore
from atmost.core.sessions import SessionState

MakeCore = Callable[[], SenderCore]
"""Returns a fresh core, as the endpoint makes one at construction."""


class ObservedReceiver(ReceiverCore):
    """The real core, which also keeps the reason of every single refusal; its events report them once in ten seconds (R23)."""

    refused: RefusalReason | None = None
    """Why the latest datagram was refused; set it to None before asking."""

    @property
    def counts(self) -> tuple[int, int]:
        """Datagrams counted so far, and those of them that were accepted."""
        return self._books.datagrams_in, self._books.accepted

    def _refuse(self, reason: RefusalReason, state: SessionState | None, now: float) -> list[Event]:
        self.refused = reason
        return super()._refuse(reason, state, now)


def fork_afresh(_parent: SenderCore, fresh: MakeCore) -> SenderCore:
    """The child begins with nothing of its parent's (R8)."""
    return fresh()
