"""Carries messages from workers to the state, over one bounded socket.

A worker hands a message on without waiting; when the socket is full, it counts the message as dropped. Only metrics, logs and
heartbeats are handed on; the workers' ledgers account for everything else. Loss events stay in the workers: metrics and logs
carry numbers that show how complete they are, but the completeness of plain readings is unknown.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import time
from collections import OrderedDict
from operator import length_hint
from typing import Any, Final

import msgspec

from atmost.collector.state.state import CollectorState
from atmost.core.accounts import Ledger
from atmost.core.events import Arrival, Message, Session, SessionClosed, Tail

SUBJECTS: Final = ("metrics.>", "logs.>", "heartbeats.>")
_BUFFER: Final = 8 << 20
_READ: Final = 1 << 17
_TURN: Final = 0.01
"""Longest decoding in one turn (seconds)."""
_A_TURN: Final = 256
_PLACES: Final = 4096
_COUNT: Final = struct.Struct("Q")
_SO_SNDBUFFORCE: Final = 32  # asm-generic/socket.h; needs CAP_NET_ADMIN

_encode: Final = msgspec.msgpack.Encoder().encode


class _Parcel(msgspec.Struct, array_like=True, gc=False):
    """A message on its way."""

    key: bytes
    start_us: int
    name: str
    host: str
    pid: int
    sequence: int
    sent_us: int
    received_us: int
    subject: str
    payload: Any


_decode: Final = msgspec.msgpack.Decoder(_Parcel).decode


class Forwarder:
    """The handler in each worker."""

    def __init__(self, sock: socket.socket, dropped: mmap.mmap) -> None:
        """Args: sock: to the state. dropped: memory shared by all processes, with one counter for each."""
        self._sock = sock
        self._dropped = dropped

    def __call__(self, message: Message) -> None:
        """Hands one message on."""
        arrival, session = message.arrival, message.session
        parcel = _Parcel(
            session.key,
            session.start_us,
            session.name,
            session.host,
            session.pid,
            arrival.sequence,
            arrival.sent_us,
            arrival.received_us,
            message.subject,
            message.payload,
        )
        try:
            self._sock.send(_encode(parcel))
        except OSError:  # the socket is full, or the message is too large
            at = os.getpid() % _PLACES * _COUNT.size
            _COUNT.pack_into(self._dropped, at, _COUNT.unpack_from(self._dropped, at)[0] + 1)


class WorkerChannel:
    """The state's end."""

    patient = False

    def __init__(self, state: CollectorState, max_sessions: int) -> None:
        """Args: state: what messages go to. max_sessions: how many are remembered between messages."""
        self._state = state
        self._max = max_sessions
        self._reader, self._writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for sock in (self._reader, self._writer):
            sock.setblocking(False)
        try:
            self._writer.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
        except OSError:
            self._writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._dropped = mmap.mmap(-1, _PLACES * _COUNT.size)
        self.handler = Forwarder(self._writer, self._dropped)
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._closed: set[bytes] = set()

    @property
    def dropped(self) -> int:
        """Messages that a worker received but the full channel refused: they are in no chart and no log tail."""
        return sum(count for (count,) in _COUNT.iter_unpack(self._dropped[:]))

    def fileno(self) -> int:
        """The descriptor to watch for reading."""
        return self._reader.fileno()

    def turn(self, now: float, mono: float) -> bool:
        """Reads messages, and feeds them to the state."""
        messages = []
        more, until = False, time.monotonic() + _TURN
        for _ in range(_A_TURN):
            try:
                messages.append(self._message(_decode(self._reader.recv(_READ))))
            except OSError:
                break
            if time.monotonic() >= until:
                more = True
                break
        if messages:
            left = iter(messages)
            while length_hint(left):
                with self._state.lock:
                    self._state.feed_all(left, now, mono)
        return more or len(messages) == _A_TURN

    def next_wait(self) -> float | None:
        """None: nothing is due without input."""
        return None

    def read_drops(self) -> None:
        """Does nothing: the ledger has all counts."""

    def ended(self, ledger: Ledger, now: float, mono: float) -> None:
        """Reports to the state the sessions that said goodbye to a worker."""
        closed = {(row.key_id, row.id) for row in ledger.sessions if row.tail is Tail.CLOSED}
        for key, session in list(self._sessions.items()):  # the receiving thread may add to them meanwhile
            if key not in self._closed and (session.key_id, session.id) in closed:
                self._closed.add(key)
                with self._state.lock:
                    self._state.feed(SessionClosed(session), now, mono)
        self._closed &= self._sessions.keys()

    def abandon(self) -> None:
        """Does nothing: a forked worker keeps the writing end."""

    def close(self) -> None:
        """Closes both ends."""
        self._reader.close()
        self._writer.close()

    def _message(self, parcel: _Parcel) -> Message:
        session = self._sessions.get(parcel.key)
        if session is None:
            session = self._sessions[parcel.key] = Session(parcel.key, parcel.start_us)
            if len(self._sessions) > self._max:
                self._sessions.popitem(last=False)
        if parcel.name:
            session.name, session.host, session.pid = parcel.name, parcel.host, parcel.pid
        return Message(
            parcel.subject, parcel.payload, Arrival(session, parcel.sequence, parcel.sent_us, parcel.received_us)
        )
