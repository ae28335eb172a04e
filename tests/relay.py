"""A TCP relay that delays what passes, for routes that are slow: every byte comes late, and in order."""

import selectors
import socket
import threading
import time
from collections import deque
from typing import Self

HOST = "127.0.0.1"


class Relay:
    """Carries connections from `port` to a target, each direction late by `delay` seconds, which may be changed under way."""

    def __init__(self, target: int, delay: float) -> None:
        """Args: target: a port of this host. delay: one way, seconds."""
        self.delay = delay
        self._target = target
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        """End every connection."""
        self._ended.set()
        self._listener.close()
        for sock in self._sockets:
            sock.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        self._listener.settimeout(0.05)
        while not self._ended.is_set():
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection((HOST, self._target))
            except OSError:
                continue
            self._sockets += [near, far]
            for source, goal in ((near, far), (far, near)):
                thread = threading.Thread(target=self._carry, args=(source, goal), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _carry(self, source: socket.socket, goal: socket.socket) -> None:
        """Read what comes, and write it when it is time."""
        waiting: deque[tuple[float, bytes]] = deque()
        source.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            try:
                while not self._ended.is_set():
                    left = waiting[0][0] - time.monotonic() if waiting else 0.05
                    if selector.select(max(0.0, min(left, 0.05))):
                        data = source.recv(65536)
                        if not data:
                            break
                        waiting.append((time.monotonic() + self.delay, data))
                    while waiting and waiting[0][0] <= time.monotonic():
                        goal.sendall(waiting.popleft()[1])
            except (OSError, ValueError):
                pass
        for sock in (source, goal):
            sock.close()
