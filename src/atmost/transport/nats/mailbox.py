"""Where a receiving link puts datagrams until the receiver takes them: bounded in number and bytes, and what does not fit is counted."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import Final

from atmost.transport.sockets import Waker

MAX_DATAGRAMS: Final = 65_536
MAX_BYTES: Final = 16 << 20


class Mailbox:
    """One thread puts, one takes; `wake` and `close` from any."""

    def __init__(self, max_datagrams: int = MAX_DATAGRAMS, max_bytes: int = MAX_BYTES) -> None:
        """Begins empty."""
        self._max_datagrams = max_datagrams
        self._max_bytes = max_bytes
        self._waiting: deque[bytes] = deque()
        self._put = 0
        self._taken = 0
        # Held while there is nothing to wake for; any thread or signal handler may release it.
        self._signal = threading.Lock()
        self._signal.acquire()
        self._waker: Waker | None = None
        self._closed = False
        self.dropped = 0

    def put(self, datagram: bytes) -> None:
        """Keeps a datagram, or drops it when there is no room."""
        # Each of the two sums has one writer, so that no lock is needed.
        if len(self._waiting) >= self._max_datagrams or self._put - self._taken >= self._max_bytes:
            self.dropped += 1
            return
        self._put += len(datagram)
        self._waiting.append(datagram)
        self.wake()

    def take(self) -> bytes | None:
        """The oldest datagram; None when there is none."""
        try:
            datagram = self._waiting.popleft()
        except IndexError:
            self._signal.acquire(blocking=False)
            if self._waker is not None:
                self._waker.clear()
            # One may have come between the two, and its wake-up be cleared with the rest.
            if not self._waiting:
                return None
            datagram = self._waiting.popleft()
        self._taken += len(datagram)
        return datagram

    def wait(self, timeout: float | None) -> None:
        """Returns when there may be something to take, `wake` was called, or `timeout` seconds passed."""
        if not self._waiting and not self._closed:
            self._signal.acquire(timeout=-1 if timeout is None else timeout)

    def wake(self) -> None:
        """Ends a `wait`."""
        with contextlib.suppress(RuntimeError):  # woken already
            self._signal.release()
        if self._waker is not None:
            self._waker.wake()

    def fileno(self) -> int:
        """A socket for an event loop, made when one asks for it; -1 when closed."""
        if self._closed:
            return -1
        if self._waker is None:
            self._waker = Waker()
            self._waker.wake()  # for what came before
        return self._waker.reader.fileno()

    def close(self) -> None:
        """Throws away what waits, and wakes whoever does."""
        self._closed = True
        self._waiting.clear()
        self.wake()
        if self._waker is not None:
            self._waker.close()
