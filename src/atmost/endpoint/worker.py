"""The child process of `Workers`: one incarnation on one of the shared sockets, its own clock reading, floor and table (R17).

The handler runs in the main thread; another thread answers the keeper, so that a slow handler does not delay the account.
The worker ends when the keeper asks, on SIGTERM, or when the keeper is gone; Ctrl-C is left to the keeper.

The two talk over a pair of connected sockets. The keeper asks with one byte; the worker answers with records: length, kind and account.
The keeper never waits for a worker in the middle of a record, because a worker may be stopped or killed there.
The end of the stream shows either of them that the other is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Final, NoReturn

import msgspec

from atmost.core.accounts import Ledger
from atmost.endpoint.intake import Intake, IntakeOptions
from atmost.endpoint.serving import Handler, Serving
from atmost.lifecycle import Floor, close_all, register
from atmost.transport.sockets import SocketInlet
from atmost.transport.steering import SharedPort

ENDING_SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM})
"""Blocked while a worker is made: a signal that came before the worker's handlers are set would run the keeper's here."""

_ORPHAN_PATIENCE: Final = 5.0
"""How long a handler may go on when the keeper is gone, seconds."""


_HEAD: Final = struct.Struct(">IB")
_READ: Final = 1 << 18
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Ledger).decode
_JSON: Final = b"{"
"""The first byte of an account in JSON; in MessagePack it is the number 123, never an account."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every incarnation of every worker does."""

    handler: Handler
    subjects: tuple[str, ...]
    options: IntakeOptions
    count: int
    """Workers."""


class Watcher:
    """A handler that also wants to see what its worker refuses."""

    def watch(self, intake: Intake) -> None:
        """Called once in each worker, in its main thread, before anything is received."""
        raise NotImplementedError

    def ended(self) -> None:
        """Called once in each worker that ends in order, in its main thread, after the last message."""


def work(job: Job, shard: int, port: SharedPort, copies: tuple[socket.socket, socket.socket]) -> NoReturn:
    """Runs a worker until the process ends; called in a forked child, with the ending signals blocked.

    Args:
        job: the same for all.
        shard: its number.
        port: the shared port; this process's copy of it is closed.
        copies: a copy of the socket to receive on, and the one to the keeper.

    The exit status is 0, what the handler gave to `sys.exit`, or 1.
    None of the parent's code runs on the way out: neither its `finally` clauses nor its exit functions.
    """
    status = 1
    try:
        _serve(job, shard, port.inlet(copies[0]), WorkerEnd(copies[1]))
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001  whatever it is, it must not unwind into the parent's code
        with contextlib.suppress(Exception):
            traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            _leave()
        os._exit(status & 0xFF)


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


def pack_account(ledger: Ledger) -> bytes:
    """An account as it travels between processes; its figures may be of any size.

    MessagePack ends at 64 bits, and sums of forged claims can exceed that: the account is then JSON, which is slower.
    """
    try:
        return _encode(ledger)
    except OverflowError:
        return json.dumps(asdict(ledger)).encode()


def unpack_account(body: bytes) -> Ledger:
    """What `pack_account` has packed."""
    return msgspec.convert(json.loads(body), Ledger) if body.startswith(_JSON) else _decode(body)


class WorkerEnd:
    """The worker's end; any thread may call `say`. A process that a handler forks does not speak for its worker."""

    def __init__(self, sock: socket.socket) -> None:
        """Args: sock: one of the pair."""
        sock.setblocking(True)
        self._sock = sock
        self._lock = threading.Lock()
        register(self, Floor.TRANSPORT)

    def asked(self) -> Ask | None:
        """Waits for the next question; None when the keeper is gone."""
        try:
            said = self._sock.recv(1)
        except OSError:
            return None
        return Ask(said[0]) if said else None

    def say(self, what: Said, ledger: Ledger) -> None:
        """Sends a record, as a whole or, when the keeper is gone, not at all."""
        body = pack_account(ledger)
        with self._lock, contextlib.suppress(OSError):
            self._sock.sendall(_HEAD.pack(len(body), what) + body)

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002
        """Closes a forked child's copy of the socket, so that the keeper sees when this worker is gone."""
        self._lock = threading.Lock()  # a thread of the process that forked this one may hold the old one
        self._sock.close()


class KeeperEnd:
    """The keeper's end; never waits. A process forked from the keeper does not inherit it, or workers could outlive their keeper."""

    def __init__(self, sock: socket.socket) -> None:
        """Args: sock: the other one of the pair."""
        sock.setblocking(False)
        self._sock = sock
        self._buffer = bytearray()
        self.ended = False
        register(self, Floor.TRANSPORT)

    def fileno(self) -> int:
        """What to watch for reading."""
        return self._sock.fileno()

    def ask(self, what: Ask) -> bool:
        """Asks a worker that may be gone or stopped; returns whether the question could be sent."""
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
            try:
                said, ledger = Said(kind), unpack_account(body)
            except Exception:  # noqa: BLE001, S112  what a handler has written into its worker's socket must not end the keeper
                continue
            yield said, ledger

    def close(self) -> None:
        """Lets go of the socket; the worker sees that its keeper is gone."""
        self._sock.close()
        self.ended = True

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002
        """Closes a forked child's copy of the socket, so that the worker sees when its keeper is gone."""
        self.close()

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


def _serve(job: Job, shard: int, inlet: SocketInlet, keeper: WorkerEnd) -> None:
    intake = Intake(job.options, inlet=inlet, shard=(shard, job.count))
    serving = Serving(intake, job.handler, job.subjects)
    if isinstance(job.handler, Watcher):
        job.handler.watch(intake)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: serving.end())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
    threading.Thread(target=_answer, args=(keeper, intake, serving), name="atmost-worker", daemon=True).start()
    try:
        serving.start()
        keeper.say(Said.READY, intake.ledger())
        serving.run()
    finally:
        intake.close()
        if isinstance(job.handler, Watcher):
            job.handler.ended()
        keeper.say(Said.CLOSED, intake.ledger())


def _answer(keeper: WorkerEnd, intake: Intake, serving: Serving) -> None:
    """Answers until the keeper is gone; then nothing more is processed, and the address is let go."""
    try:
        while (asked := keeper.asked()) is not None:
            if asked is Ask.REPORT:
                keeper.say(Said.REPORT, intake.ledger())
            else:
                serving.end()
    finally:  # whatever goes wrong here, nobody could ask this worker to end any more: the address must not stay with it
        intake.close()
    threading.Event().wait(_ORPHAN_PATIENCE)  # the process ends by itself, unless its handler does not return
    os._exit(1)


def _leave() -> None:
    """Closes what the handler used, so that it says its last words, and flushes what the process printed."""
    close_all()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
