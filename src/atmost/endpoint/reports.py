"""What a worker and the process that keeps it say to each other, over a pair of connected sockets.

The keeper asks with one byte; the worker answers with records: length, kind, and the account where one belongs to it.
The keeper never waits for a worker in the middle of a record, for a worker may be stopped or killed there.
Either end sees by the end of the stream that the other one is gone.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import weakref
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import msgspec

from atmost.core.ledger import Ledger

_ends: weakref.WeakSet[KeeperEnd | WorkerEnd] = weakref.WeakSet()

_HEAD: Final = struct.Struct(">IB")
_READ: Final = 1 << 18
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Ledger).decode


class Ask(IntEnum):
    """What a keeper asks of a worker."""

    REPORT = 1
    END = 2
    """Take in what has arrived, close, and end."""


class Said(IntEnum):
    """What a record is."""

    READY = 1
    """From now on what is sent is accepted; with the account."""
    REPORT = 2
    """The account at this moment."""
    CLOSED = 3
    """The last account; nothing is processed after it."""


class WorkerEnd:
    """The worker's end; `say` from any of its threads. A process that a handler forks does not speak for its worker."""

    def __init__(self, sock: socket.socket) -> None:
        """Args: sock: one of the pair."""
        sock.setblocking(True)
        self._sock = sock
        self._lock = threading.Lock()
        _ends.add(self)

    def asked(self) -> Ask | None:
        """Waits for the next question; None when the keeper is gone."""
        try:
            said = self._sock.recv(1)
        except OSError:
            return None
        return Ask(said[0]) if said else None

    def say(self, what: Said, ledger: Ledger) -> None:
        """Sends a record, as a whole or, when the keeper is gone, not at all."""
        body = _encode(ledger)
        with self._lock, contextlib.suppress(OSError):
            self._sock.sendall(_HEAD.pack(len(body), what) + body)

    def close(self) -> None:
        """Lets go of the socket; the keeper sees that this worker is gone."""
        self._lock = threading.Lock()  # a thread of the process that forked this one may hold the other
        self._sock.close()


class KeeperEnd:
    """The keeper's end; never waits. A process forked from the keeper does not inherit it, or workers could outlive their keeper."""

    def __init__(self, sock: socket.socket) -> None:
        """Args: sock: the other one of the pair."""
        sock.setblocking(False)
        self._sock = sock
        self._buffer = bytearray()
        self.ended = False
        _ends.add(self)

    def fileno(self) -> int:
        """What to watch for reading."""
        return self._sock.fileno()

    def ask(self, what: Ask) -> bool:
        """Asks a worker that may be gone or stopped; whether there was room for the question."""
        try:
            self._sock.send(bytes([what]))
        except OSError:
            return False
        return True

    def records(self) -> Iterator[tuple[Said, Ledger]]:
        """Yields what the worker has said since the last time, as far as it is complete; `ended` when there will be no more."""
        self._read()
        while len(self._buffer) >= _HEAD.size:
            length, kind = _HEAD.unpack_from(self._buffer)
            end = _HEAD.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            yield Said(kind), _decode(body)

    def close(self) -> None:
        """Lets go of the socket; the worker sees that its keeper is gone."""
        self._sock.close()
        self.ended = True

    def _read(self) -> None:
        while not self.ended:
            try:
                got = self._sock.recv(_READ)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                got = b""
            self._buffer += got
            self.ended = not got


def _close_after_fork() -> None:
    for end in list(_ends):
        end.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_after_fork)
