"""Where datagrams wait between the thread that brings them and the one that takes them: a bounded queue with a bell.

The bell is a lock that is held while there is nothing to wake for, so that a thread can wait without a socket.
A socket for an event loop is made when an event loop asks for it.
Nothing here waits for a lock that another thread may hold, so signal handlers may call everything, even in the middle of a call.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from typing import Final

from atmost.atomic import guarded

MAX_DATAGRAMS: Final = 65_536
MAX_BYTES: Final = 16 << 20


class Waker:
    """Makes a selector return, from any thread or signal handler."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)

    def wake(self) -> None:
        """Makes `reader` readable."""
        with contextlib.suppress(OSError):  # full: it is readable already; closed: nobody waits any more
            self._writer.send(b"\0")

    def clear(self) -> None:
        """Makes `reader` unreadable again."""
        with contextlib.suppress(OSError):
            while self.reader.recv(4096):
                pass

    def close(self) -> None:
        """Closes both ends."""
        self.reader.close()
        self._writer.close()


class Mailbox:
    """Any thread puts, one takes; `wake` and `close` may be called from anywhere."""

    def __init__(self, max_datagrams: int = MAX_DATAGRAMS, max_bytes: int = MAX_BYTES) -> None:
        """Begins empty.

        Args:
            max_datagrams: how many may wait.
            max_bytes: how much may wait; one datagram of any size finds room while less than this waits (bytes).
        """
        self._max_datagrams = max_datagrams
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[bytes, int]] = deque()
        """Each datagram with the bytes put before it: what waits is measured from the oldest, so that an exception between two
        steps leaves no byte counted for ever."""
        self._put = 0
        self._guard = threading.RLock()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._waker: Waker | None = None
        self._closed = False
        self.dropped = 0
        """Datagrams that found no room."""

    def _take_in(self, datagram: bytes) -> None:
        """Keeps a datagram, or drops and counts it when there is no room."""
        size, waiting = len(datagram), self._waiting
        try:
            full = len(waiting) >= self._max_datagrams or self._put - waiting[0][1] >= self._max_bytes
        except IndexError:
            full = False
        if full:
            self.dropped += 1
            return
        self._put += size
        waiting.append((datagram, self._put - size))
        self.wake()

    put = guarded(_take_in, "_guard")

    def take(self) -> bytes | None:
        """The oldest datagram; None when there is none."""
        try:
            return self._waiting.popleft()[0]
        except IndexError:
            self._bell.acquire(blocking=False)
            if self._waker is not None:
                self._waker.clear()
            # A datagram may have come between the two steps, and its ring was cleared with the others.
            if not self._waiting:
                return None
            return self._waiting.popleft()[0]

    def wait(self, timeout: float | None) -> None:
        """Returns when there may be something to take, when `wake` was called, or after `timeout` seconds."""
        if not self._waiting and not self._closed:
            self._bell.acquire(timeout=-1 if timeout is None else timeout)

    def wake(self) -> None:
        """Ends a `wait`."""
        with contextlib.suppress(RuntimeError):  # it has rung already
            self._bell.release()
        if self._waker is not None:
            self._waker.wake()

    def fileno(self) -> int:
        """A socket for an event loop, made at the first call; -1 when closed."""
        if self._closed:
            return -1
        if self._waker is None:
            self._waker = Waker()
            self._waker.wake()  # datagrams may have come before the socket existed
        return self._waker.reader.fileno()

    def close(self) -> None:
        """Discards the waiting datagrams, and wakes a waiting thread."""
        self._closed = True
        self._waiting.clear()
        self.wake()
        if self._waker is not None:
            self._waker.close()
