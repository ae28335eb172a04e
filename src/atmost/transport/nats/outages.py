"""Decides when a connection that is missing is tried again, and what is said of it.

Pauses grow until a connection has held for a while: a server that takes connections and drops them is not asked ever faster.
An outage is said once, and no more than one in ten seconds (R23). One thread calls; anybody may read `trouble`.
"""

from __future__ import annotations

import logging
import random
from typing import Final

from atmost.core.limits import EPISODE
from atmost.transport.nats.url import Server

logger = logging.getLogger("atmost")

_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 5.0
_HOLDS: Final = 1.0
"""A connection that lasted so long, seconds, ended the trouble before it."""


class Outages:
    """Of one link."""

    def __init__(self, url: str) -> None:
        """Args: url: as it may be shown."""
        self._url = url
        self._wait = _FIRST_WAIT
        self._connected_at = 0.0
        self._told = False
        self._tell_at = float("-inf")
        self.trouble: str | None = None
        """Why there is no connection, for people."""

    def complain(self, trouble: str, now: float) -> None:
        """There is no connection; `now` is monotonic, seconds."""
        self.trouble = trouble
        if not self._told and now >= self._tell_at:
            self._told, self._tell_at = True, now + EPISODE
            logger.warning("%s: %s; tried again in the background", self._url, trouble)

    def connected(self, server: Server, now: float) -> None:
        """There is one; says so when it was said that there was none."""
        told, self._told, self.trouble = self._told, False, None
        self._connected_at = now
        if told:
            logger.info("%s: connected to %s", self._url, server)

    def disconnected(self, now: float) -> None:
        """It is gone."""
        if now - self._connected_at >= _HOLDS:
            self._wait = _FIRST_WAIT

    def pause(self) -> float:
        """Seconds until all servers are tried again, spread so that not all senders come back at once."""
        wait, self._wait = self._wait, min(self._wait * 2, _LONGEST_WAIT)
        return wait * random.uniform(1, 2)  # noqa: S311  keeps no secret
