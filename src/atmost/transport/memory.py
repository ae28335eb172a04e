"""A network inside the process, for tests of users and of ourselves.

Each name is one network with its own strictly increasing clock, so that F = G = 0 and a receiver is ready at once.
Datagrams sent while nobody receives are gone, as on a real network; a full queue drops and counts.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from atmost.core.limits import MAX_DATAGRAM
from atmost.core.shards import Shards
from atmost.errors import AddressInUse
from atmost.transport.base import MEMORY, Address
from atmost.transport.mailbox import Mailbox

_QUEUE: Final = 4096
"""Datagrams that wait for a receiver."""


class MemoryNetwork:
    """The clock and the receiver's mailbox of one name."""

    def __init__(self) -> None:
        """Begins without a receiver."""
        self._lock = threading.Lock()
        self._last_us = 0
        self.mailbox: Mailbox | None = None

    def clock(self) -> int:
        """The system's wall clock made strictly increasing, µs since 1970."""
        with self._lock:
            self._last_us = max(self._last_us + 1, time.time_ns() // 1000)
            return self._last_us


_networks: dict[str, MemoryNetwork] = {}
_networks_lock = threading.Lock()


def memory_network(name: str) -> MemoryNetwork:
    """The network of that name, made when it is first asked for."""
    with _networks_lock:
        return _networks.setdefault(name, MemoryNetwork())


class MemoryOutlet:
    """Sends to whoever receives on the network."""

    max_datagram = MAX_DATAGRAM
    preset = MEMORY
    patience = 0.0

    def __init__(self, address: Address) -> None:
        """Args: address: its host is the network's name."""
        self.url = address.url
        self._network = memory_network(address.host)
        self.clock = self._network.clock

    def send(self, datagram: bytes) -> str | None:
        """Queues one datagram; without a receiver it is gone."""
        mailbox = self._network.mailbox
        if mailbox is not None:
            mailbox.put(datagram)
        return None

    def path_datagram(self) -> int | None:
        """Never asked, because nothing is too large."""
        return None

    def close(self) -> None:
        """Does nothing: there is no socket."""


class MemoryInlet:
    """Receives on one network, alone."""

    preset = MEMORY
    warning: str | None = None
    shards: Shards | None = None
    ended: str | None = None
    overlap = 0.0

    def __init__(self, address: Address) -> None:
        """Takes the name.

        Raises:
            AddressInUse: another receiver of this process has it.
        """
        self.url = address.url
        self._network = memory_network(address.host)
        self.clock = self._network.clock
        self._mailbox = mailbox = Mailbox(_QUEUE, _QUEUE * MAX_DATAGRAM)
        self.receive = mailbox.take
        self.wait = mailbox.wait
        self.wake = mailbox.wake
        self.fileno = mailbox.fileno
        with _networks_lock:
            if self._network.mailbox is not None:
                raise AddressInUse(address.url, "a receiver of this process")
            self._network.mailbox = mailbox

    def confirms(self) -> bool:
        """Always: a name stays taken until it is given free."""
        return True

    def renewed(self) -> bool:
        """Never: a name stays taken until it is given free."""
        return False

    def kernel_drops(self) -> int | None:
        """Datagrams dropped because the queue was full."""
        return self._mailbox.dropped

    def abandon(self) -> None:
        """Gives the name free in a forked child, whose networks are its own."""
        self.close()

    def close(self) -> None:
        """Gives the name free."""
        with _networks_lock:
            if self._network.mailbox is self._mailbox:
                self._network.mailbox = None
        self._mailbox.close()
