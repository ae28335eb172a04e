"""HTTP connections that end in time: a request that does not come, or an answer that is not taken, frees its place.

Their number is bounded, and uvicorn ends idle ones after an answer; a connection that sends nothing, or half a request, or
reads nothing, would keep its place for ever. A sweep once a second ends those. Runs in the event loop of the server.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final, NamedTuple

PATIENCE: Final = 10.0
"""For a whole request, and for taking anything of an answer, seconds."""
EVERY: Final = 1.0


class _Seen(NamedTuple):
    """A connection at the last sweep."""

    since: float
    """When it last got on, on the loop's clock."""
    cycle: int
    """Identity of the request under way, 0 before the first."""
    unsent: int
    """Bytes that it has not taken."""


class Sweeper:
    """Ends connections that do not get on."""

    def __init__(self, connections: set[Any]) -> None:
        """Args: connections: the server's, each with `transport` and `cycle`."""
        self._connections = connections
        self._seen: dict[int, _Seen] = {}
        self.cut: Counter[str] = Counter()
        """Connections ended, by reason: `slow_request`, `slow_reader`."""

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            self.sweep(asyncio.get_running_loop().time())

    def sweep(self, now: float) -> None:
        """Looks at every connection.

        Args:
            now: seconds on the loop's clock.
        """
        before, self._seen = self._seen, {}
        for connection in list(self._connections):
            transport = connection.transport
            if transport is None:
                continue
            cycle, unsent = connection.cycle, transport.get_write_buffer_size()
            busy = cycle is not None and not cycle.response_complete
            last = before.get(id(connection))
            stuck = last is not None and last.cycle == id(cycle) and (unsent >= last.unsent if unsent else not busy)
            since = last.since if last is not None and stuck else now
            if now - since >= PATIENCE:
                self.cut["slow_reader" if unsent else "slow_request"] += 1
                transport.abort()
            else:
                self._seen[id(connection)] = _Seen(since, id(cycle), unsent)
