"""A network inside the process, for users' tests and our own.

Each name is one network with its own strictly increasing clock, so that F = G = 0 and a receiver is ready at once.
Datagrams sent while nobody receives are lost, as on a real network; a full queue drops and counts them.

Nothing here takes a lock where CPython needs none, so a signal handler may send in the middle of a send, and a child may be forked at any moment.
A forked child has networks of its own: nobody receives on them until the child opens a receiver.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import Final

from atmost.atomic import guarded
from atmost.core.limits import MAX_DATAGRAM
from atmost.core.shards import Shards
from atmost.errors import AddressInUse
from atmost.lifecycle import Floor, register, unregister
from atmost.transport.base import ANY_PROCESS, MEMORY, Address
from atmost.transport.mailbox import Mailbox

_QUEUE: Final = 4096
"""Datagrams that wait for a receiver."""


class MemoryNetwork:
    """The clock and the receiver's mailbox of one name."""

    def __init__(self) -> None:
        """Begins without a receiver."""
        self._guard = threading.Lock()
        self._last_us = 0
        self.mailboxes: dict[None, Mailbox] = {}
        """The receiver's mailbox, if there is a receiver; `setdefault` takes the place in one step."""

    def _next_reading(self, now_us: int) -> int:
        # One line without a call: neither another thread nor a signal handler comes between reading and writing.
        self._last_us = reading = now_us if now_us > self._last_us else self._last_us + 1
        return reading

    _advance = guarded(_next_reading, "_guard")

    def clock(self) -> int:
        """The system's wall clock made strictly increasing, µs since 1970."""
        return self._advance(time.time_ns() // 1000)


_networks: Final[dict[str, MemoryNetwork]] = {}


def memory_network(name: str) -> MemoryNetwork:
    """The network of that name, made when it is first asked for."""
    return _networks.get(name) or _networks.setdefault(name, MemoryNetwork())


class MemoryOutlet:
    """Sends to the network's receiver."""

    max_datagram = MAX_DATAGRAM
    preset = MEMORY
    patience = 0.0

    def __init__(self, address: Address) -> None:
        """Args: address: its host is the network's name."""
        self.url = address.url
        self._network = memory_network(address.host)
        self.clock = self._network.clock

    def send(self, datagram: bytes, process: int = ANY_PROCESS) -> str | None:  # noqa: ARG002  a child has a network of its own
        """Queues one datagram; without a receiver it is lost."""
        mailbox = self._network.mailboxes.get(None)
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
    look_every = float("inf")

    def __init__(self, address: Address) -> None:
        """Takes the name.

        Raises:
            AddressInUse: another receiver of this process has it.
        """
        self.url = address.url
        network = memory_network(address.host)
        self.clock = network.clock
        self._mailbox = mailbox = Mailbox(_QUEUE, _QUEUE * MAX_DATAGRAM)
        self.receive = mailbox.take
        self.wait = mailbox.wait
        self.wake = mailbox.wake
        self.fileno = mailbox.fileno
        if network.mailboxes.setdefault(None, mailbox) is not mailbox:
            raise AddressInUse(address.url, "a receiver of this process")
        self._give_free = weakref.finalize(self, _give_free, network, mailbox)
        self._give_free.atexit = False
        register(self, Floor.TRANSPORT)

    def confirms(self) -> bool:
        """Always: a name stays taken until it is released."""
        return True

    def incarnation(self) -> int:
        """Always 1: a name stays taken until it is released."""
        return 1

    def resume(self, incarnation: int) -> None:
        """Nothing to do."""

    def kernel_drops(self) -> int | None:
        """Datagrams dropped because the queue was full."""
        return self._mailbox.dropped

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002  the same whenever it is noticed
        """In a forked child: releases the name."""
        self.abandon()

    def abandon(self) -> None:
        """Releases the name in a forked child, whose networks are its own."""
        self.close()

    def close(self) -> None:
        """Releases the name."""
        self._give_free()
        unregister(self)


def _give_free(network: MemoryNetwork, mailbox: Mailbox) -> None:
    """Releases the name, also when the inlet was dropped without `close`."""
    if network.mailboxes.get(None) is mailbox:
        network.mailboxes.pop(None, None)
    mailbox.close()
