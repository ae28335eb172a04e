"""Carries messages from workers to the state, over one bounded socket.

A worker hands a message on without waiting; when the socket is full, it counts the message as dropped. Only metrics, logs and
heartbeats are handed on; the workers' ledgers account for everything else. Of other subjects a worker says once a second how
many messages came, and one of them; of senders that it refuses the datagram's head, or the beacon that names them. Loss events
stay in the workers: metrics and logs carry numbers that show how complete they are, but the completeness of plain readings is
unknown.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from operator import length_hint
from typing import Any, Final

import msgspec

from atmost.collector.state.refused import peer_text
from atmost.collector.state.state import CollectorState
from atmost.collector.state.subjects import MAX_SUBJECTS, Sample, sample_of
from atmost.core.accounts import Ledger
from atmost.core.datagram import Kind
from atmost.core.events import Arrival, Message, RefusalReason, Session, SessionClosed, Tail
from atmost.core.limits import HEADER, TAG
from atmost.core.names import matcher
from atmost.endpoint.intake import Intake
from atmost.endpoint.worker import Watcher
from atmost.transport.sockets import SocketInlet

SUBJECTS: Final = ("metrics.>", "logs.>", "heartbeats.>")
_BUFFER: Final = 8 << 20
_READ: Final = 1 << 17
_TURN: Final = 0.01
"""Longest decoding in one turn (seconds)."""
_A_TURN: Final = 256
_PLACES: Final = 4096
_COUNT: Final = struct.Struct("Q")
_TELL: Final = 1.0
"""Between two reports of the subjects seen (seconds)."""
_REFUSALS_A_SECOND: Final = 200
"""More from one worker are in its account only: a flood costs little more than counting."""
_SO_SNDBUFFORCE: Final = 32  # asm-generic/socket.h; needs CAP_NET_ADMIN

_encode: Final = msgspec.msgpack.Encoder().encode


class _Parcel(msgspec.Struct, array_like=True, gc=False, tag=0):
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


class _Refusal(msgspec.Struct, array_like=True, gc=False, tag=1):
    """A datagram of an unknown session that a worker refused: its head, or all of a beacon."""

    datagram: bytes
    reason: RefusalReason
    host: str
    address: str


class _Sighting(msgspec.Struct, array_like=True, tag=2):
    """Messages of a subject that is not handed on, since the last report."""

    subject: str
    count: int
    sample: Sample


_decode: Final = msgspec.msgpack.Decoder(_Parcel | _Refusal | _Sighting).decode


class Forwarder(Watcher):
    """The handler in each worker.

    Messages come in the worker's main thread; another thread reports the subjects seen, because after the last message of a
    second none may follow. The lock is made before the fork, when nothing can hold it.
    """

    def __init__(self, sock: socket.socket, dropped: mmap.mmap) -> None:
        """Args: sock: to the state. dropped: memory shared by all processes, with one counter for each."""
        self._sock = sock
        self._dropped = dropped
        self._is_handed_on = matcher(SUBJECTS)
        self._lock = threading.Lock()
        self._seen: dict[str, _Sighting] = {}
        self._inlet: SocketInlet | None = None
        self._second = 0
        self._refusals = 0
        """In this second."""

    def watch(self, intake: Intake) -> None:
        """Begins to report refused senders and subjects, in the worker's process."""
        if isinstance(intake.inlet, SocketInlet):
            self._inlet = intake.inlet
            self._inlet.remember_peers()
        intake.watch_refusals(self._note_refusal)
        threading.Thread(target=self._keep_telling, name="atmost-subjects", daemon=True).start()

    def ended(self) -> None:
        """Reports the subjects of the last second."""
        self.tell()

    def __call__(self, message: Message) -> None:
        """Hands one message on, or counts it by its subject."""
        if not self._is_handed_on(message.subject):
            self._see(message)
            return
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

    def tell(self) -> None:
        """Reports the subjects seen since the last report; what finds no room waits for the next one."""
        with self._lock:
            seen, self._seen = self._seen, {}
        for sighting in seen.values():
            try:
                self._sock.send(_encode(sighting))
            except OSError:
                with self._lock:
                    self._add(sighting)

    def _see(self, message: Message) -> None:
        with self._lock:
            known = self._seen.get(message.subject)
            if known is not None:
                known.count += 1
                return
            self._add(_Sighting(message.subject, 1, sample_of(message)))
            full = len(self._seen) >= MAX_SUBJECTS
        if full:
            self.tell()

    def _add(self, sighting: _Sighting) -> None:
        """Adds a sighting to those of its subject; beyond twice the bound the new ones are left out, while nobody reads."""
        known = self._seen.get(sighting.subject)
        if known is not None:
            known.count += sighting.count
        elif len(self._seen) < 2 * MAX_SUBJECTS:
            self._seen[sighting.subject] = sighting

    def _keep_telling(self) -> None:
        while True:
            time.sleep(_TELL)
            self.tell()

    def _note_refusal(self, datagram: bytes, reason: RefusalReason, known: bool) -> None:  # noqa: FBT001  a callback
        if known:
            return
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._refusals = second, 0
        self._refusals += 1
        if self._refusals > _REFUSALS_A_SECOND:
            return
        peer = None if self._inlet is None else self._inlet.peer_of(datagram)
        names_somebody = len(datagram) > 1 and datagram[1] & 15 != Kind.DATA
        head = datagram if names_somebody else datagram[: HEADER + TAG]
        host, address = ("", "") if peer is None else peer_text(peer)
        with contextlib.suppress(OSError):  # the socket is full: the account has the refusal too
            self._sock.send(_encode(_Refusal(head, reason, host, address)))


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
        self._messages: Iterator[Message] = iter(())
        self._others: deque[_Refusal | _Sighting] = deque()
        """What was read and not fed to the state yet; it outlasts a turn that a fault ends."""
        self.url = ""
        """The workers' address, once they have it."""

    @property
    def dropped(self) -> int:
        """Messages that a worker received but the full channel refused: they are in no chart and no log tail."""
        return sum(count for (count,) in _COUNT.iter_unpack(self._dropped[:]))

    def fileno(self) -> int:
        """The descriptor to watch for reading."""
        return self._reader.fileno()

    def turn(self, now: float, mono: float) -> bool:
        """Reads messages, and feeds them to the state."""
        more = False
        if not length_hint(self._messages) and not self._others:  # else a fault of ours has ended the turn before
            more = self._read(time.monotonic() + _TURN)
        while length_hint(self._messages):
            with self._state.lock:
                self._state.feed_all(self._messages, now, mono)
        if self._others:
            with self._state.lock:
                while self._others:
                    self._note(self._others.popleft(), now)
        return more

    def _read(self, until: float) -> bool:
        """Takes what waits in the channel; returns whether more may be there."""
        messages: list[Message] = []
        more = True
        for _ in range(_A_TURN):
            try:
                parcel = _decode(self._reader.recv(_READ))
            except OSError:
                more = False
                break
            if isinstance(parcel, _Parcel):
                messages.append(self._message(parcel))
            else:
                self._others.append(parcel)
            if time.monotonic() >= until:
                break
        self._messages = iter(messages)
        return more

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

    def _note(self, other: _Refusal | _Sighting, now: float) -> None:
        """Takes what a worker says of refused senders and subjects, under the state's lock."""
        state = self._state
        if isinstance(other, _Refusal):
            peer = (other.host, other.address)
            state.refused.feed(other.datagram, other.reason, self.url, peer, now, keyed=state.keyed)
        else:
            state.subjects.feed_sample(other.subject, other.count, other.sample, now)

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
