"""Senders that differ from the real one in one rule each."""

import copy

from atmost.core.datagram import Kind, encode_message, unpack_messages
from atmost.core.limits import HEADER, TAG
from atmost.core.sending import NOT_NOW, Outgoing, SenderCore, SenderSession
from atmost.lab.guarantee.cores import MakeCore


class RetryOnError(SenderCore):
    """What the transport answered with an error is sent once more (R6)."""

    def handed_over(self, outgoing: Outgoing, error: str | None, now: float) -> None:
        refused = error not in {None, NOT_NOW} and outgoing.count and not self.closed
        super().handed_over(outgoing, None if refused else error, now)
        if refused:
            self._handed_over -= outgoing.count
            pairs = unpack_messages(outgoing.data[HEADER:-TAG], outgoing.count) or []
            self.open[:0] = [encode_message((message.subject, message.payload)) for message in pairs]


class BeaconsUnnumbered(SenderCore):
    """Messages have numbers, beacons have none of their own."""

    def _seal_next(
        self, session: SenderSession, kind: Kind, body: bytes, count: int, now: float, wall_us: int
    ) -> Outgoing:
        outgoing = super()._seal_next(session, kind, body, count, now, wall_us)
        if kind is not Kind.DATA and session.sequence > 1:
            session.sequence -= 1
        return outgoing


def forgetting_fork(parent: SenderCore, _fresh: MakeCore) -> SenderCore:
    """The child forgets that it is one."""
    return copy.deepcopy(parent)


def forgetting_buffer(parent: SenderCore, fresh: MakeCore) -> SenderCore:
    """The child begins a session of its own, with what its parent had not yet sent."""
    child = fresh()
    child.open = list(parent.open)
    child.size = parent.size
    return child


class HandsOverTwice(SenderCore):
    """What the transport took stays in the outbox (R6)."""

    def handed_over(self, outgoing: Outgoing, error: str | None, now: float) -> None:
        super().handed_over(outgoing, error, now)
        if error is None and outgoing.count and self.datagrams % 10 == 0 and self.flight is None:
            self._handed_over -= outgoing.count
            outgoing.attempted = False
            self.flight = outgoing
