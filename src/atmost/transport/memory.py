"""A network inside the process, for tests of users and of ourselves.

Each name is one network with its own strictly increasing clock, so that F = G = 0 and a receiver is ready at once.
Datagrams sent while nobody receives are gone, as on a real network; a full queue drops and counts.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import Final

from atmost.core.limits import MAX_DATAGRAM
from atmost.core.shards import Shards
from atmost.errors import AddressInUse
from atmost.transport.sockets import Waker
from atmost.transport.url import Address

_QUEUE: Final = 4096
"""Datagrams that wait for a receiver."""


class MemoryNetwork:
    """The clock and the receiver of one name."""

    def __init__(self) -> None:
        """Begins without a receiver."""
        self._lock = threading.Lock()
        self._last_us = 0
        self.inlet: MemoryInlet | None = None

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
    same_host = True
    patience = 0.0

    def __init__(self, address: Address) -> None:
        """Args: address: its host is the network's name."""
        self.url = address.url
        self._network = memory_network(address.host)
        self.clock = self._network.clock

    def send(self, datagram: bytes) -> str | None:
        """Queues one datagram; without a receiver it is gone."""
        inlet = self._network.inlet
        if inlet is not None:
            inlet.put(datagram)
        return None

    def path_datagram(self) -> int | None:
        """Never asked: nothing is too large."""
        return None

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryInlet:
    """Receives on one network, alone."""

    same_host = True
    warning: str | None = None
    shards: Shards | None = None
    ended: str | None = None

    def __init__(self, address: Address) -> None:
        """Takes the name.

        Raises:
            AddressInUse: another receiver of this process has it.
        """
        self.url = address.url
        self._network = memory_network(address.host)
        self.clock = self._network.clock
        self._queue: deque[bytes] = deque()
        self._dropped = 0
        # Held while there is nothing to wake for; any thread or signal handler may release it.
        self._signal = threading.Lock()
        self._signal.acquire()
        self._waker: Waker | None = None
        with _networks_lock:
            if self._network.inlet is not None:
                raise AddressInUse(address.url, "a receiver of this process")
            self._network.inlet = self

    def put(self, datagram: bytes) -> None:
        """Queues a datagram, or drops it when the queue is full."""
        if len(self._queue) >= _QUEUE:
            self._dropped += 1
            return
        self._queue.append(datagram)
        self.wake()

    def receive(self) -> bytes | None:
        """The next datagram, or None when none waits."""
        try:
            return self._queue.popleft()
        except IndexError:
            self._signal.acquire(blocking=False)
            if self._waker is not None:
                self._waker.clear()
            # One may have come between the two, and its wake-up be cleared with the rest.
            return self._queue.popleft() if self._queue else None

    def wait(self, timeout: float | None) -> None:
        """Returns when a datagram may wait, `wake` was called, or `timeout` seconds passed."""
        if not self._queue and self._network.inlet is self:
            self._signal.acquire(timeout=-1 if timeout is None else timeout)

    def wake(self) -> None:
        """Ends a `wait`."""
        with contextlib.suppress(RuntimeError):  # woken already
            self._signal.release()
        if self._waker is not None:
            self._waker.wake()

    def renewed(self) -> bool:
        """Never: what is bound stays bound until it is closed."""
        return False

    def fileno(self) -> int:
        """A socket for an event loop, made when one asks for it; -1 when closed."""
        if self._network.inlet is not self:
            return -1
        if self._waker is None:
            self._waker = Waker()
            self._waker.wake()  # for what came before
        return self._waker.reader.fileno()

    def kernel_drops(self) -> int | None:
        """Datagrams dropped because the queue was full."""
        return self._dropped

    def abandon(self) -> None:
        """Gives the name free in a forked child, whose networks are its own."""
        self.close()

    def close(self) -> None:
        """Gives the name free."""
        with _networks_lock:
            if self._network.inlet is self:
                self._network.inlet = None
                self.wake()
                if self._waker is not None:
                    self._waker.close()
