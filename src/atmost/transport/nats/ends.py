"""What a link asks of the end behind it: two kinds of ends, one kind of link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from atmost.transport.nats.protocol import Delivery


class Ends(Protocol):
    """Who is behind a link: called in its thread."""

    def connected(self) -> Sequence[bytes]:
        """What to write first."""
        ...

    def disconnected(self) -> None:
        """The connection is gone."""
        ...

    def delivered(self, delivery: Delivery) -> Sequence[bytes]:
        """Takes a message; returns what to write."""
        ...

    def complained(self, text: str) -> bool:
        """Takes an error of the server's that leaves the connection open; False for one that does not concern it."""
        ...

    def deadline(self) -> float | None:
        """When `due` should be called next, by `time.monotonic`."""
        ...

    def due(self) -> Sequence[bytes]:
        """Does what is due; returns what to write."""
        ...
