"""What the receiving thread reads from: receivers of ours, sockets of foreign protocols, and the channel from workers.

Each is turned by one thread: it reads what waits, up to a bounded number, decodes it, and hands it to the state under its lock.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

from atmost.collector.config.addresses import Place
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.state import CollectorState
from atmost.core.events import Event
from atmost.endpoint.intake import Intake
from atmost.errors import AddressInUse, BindError
from atmost.transport.connect import open_inlet
from atmost.transport.sockets import SocketInlet

_BATCHES_A_TURN: Final = 64
_DATAGRAMS_A_TURN: Final = 64
_READ: Final = 66_560
Apply = Callable[[], None]
Tap = Callable[[Event], object]
"""Given every event of a receiver of ours, in the receiving thread; must neither raise nor take long."""


class Listening(Protocol):
    """Something to read from."""

    def fileno(self) -> int:
        """What to watch for reading."""
        ...

    def turn(self, now: float, mono: float) -> bool:
        """Reads a bounded part of what waits; returns whether more may."""
        ...

    def next_wait(self) -> float | None:
        """Seconds until `turn` is due though nothing came; None when it is not."""
        ...

    def look(self) -> None:
        """Reads the system's counters; about once a second."""
        ...

    def abandon(self) -> None:
        """Lets go in a forked child."""
        ...

    def close(self) -> None:
        """Lets go of the address."""
        ...


class OurListener:
    """A receiver of ours."""

    def __init__(self, intake: Intake, state: CollectorState, tap: Tap | None = None) -> None:
        """Args: intake: bound. state: what its events go to. tap: who is given them too."""
        intake.wants_events = True
        self.intake = intake
        self._state = state
        self._tap = tap
        self.url = intake.inlet.url

    def fileno(self) -> int:
        """The inlet."""
        return self.intake.inlet.fileno()

    def turn(self, now: float, mono: float) -> bool:
        """Takes datagrams, and gives their events to the state."""
        intake, take, lock, tap = self.intake, self._state.take, self._state.lock, self._tap
        more = intake.pump()
        for _ in range(_BATCHES_A_TURN):
            if not intake.next_batch():
                return more
            with lock:
                for event in intake.current:
                    take(event, now, mono)
                    if tap is not None:
                        tap(event)
        return True

    def next_wait(self) -> float | None:
        """The core's next deadline, or the end of the start."""
        return self.intake.next_wait(self.intake.boot_wait() or None)

    def look(self) -> None:
        """Nothing: the ledger has it."""

    def abandon(self) -> None:
        """Nothing: intakes do so themselves."""

    def close(self) -> None:
        """Ends the incarnation."""
        self.intake.close()


class ForeignListener:
    """A socket of a foreign protocol."""

    def __init__(self, kind: str, inlet: SocketInlet, read: Reader) -> None:
        """Takes over a bound socket.

        Args:
            kind: statsd, syslog or gelf.
            inlet: bound; closed by `close`.
            read: what makes values of a datagram.
        """
        self._inlet = inlet
        self._sock = socket.socket(fileno=os.dup(inlet.fileno()))  # the same socket, which tells who sent
        self._sock.setblocking(False)
        self.stats = ListenerStats(kind, inlet.url, inlet.warning)
        self._read = read
        self.url = inlet.url

    def fileno(self) -> int:
        """The socket."""
        return self._sock.fileno()

    def turn(self, now: float, mono: float) -> bool:  # noqa: ARG002  what these protocols say is dated, not timed
        """Reads datagrams, and gives what they say to the state: decoded before the lock is taken."""
        stats, read, receive = self.stats, self._read, self._sock.recvfrom
        decoded: list[Apply] = []
        for _ in range(_DATAGRAMS_A_TURN):
            try:
                datagram, address = receive(_READ)
            except OSError:  # empty, or closed
                break
            stats.received += 1
            decoded.append(read.decode(datagram, address, stats, now))
        full = len(decoded) == _DATAGRAMS_A_TURN
        due = read.tick(stats, now)
        if due is not None:
            decoded.append(due)
        if decoded:
            with read.state.lock:
                for apply in decoded:
                    apply()
        return full

    def next_wait(self) -> float | None:
        """Nothing is due by itself: the state's tick does it."""
        return None

    def look(self) -> None:
        """Reads what the kernel dropped."""
        self.stats.kernel_drops = self._inlet.kernel_drops()

    def abandon(self) -> None:
        """Closes a forked child's copies."""
        self._sock.close()
        self._inlet.abandon()

    def close(self) -> None:
        """Lets go of the address."""
        with contextlib.suppress(OSError):
            self.look()
        self._sock.close()
        self._inlet.close()


class Reader(Protocol):
    """Makes values of datagrams."""

    state: CollectorState

    def decode(self, datagram: bytes, address: Any, stats: ListenerStats, now: float) -> Apply:
        """Decodes one, without the lock; what it returns is called under it."""
        ...

    def tick(self, stats: ListenerStats, now: float) -> Apply | None:
        """What is due without a datagram."""
        ...


def bind_foreign(kind: str, place: Place, read: Reader) -> ForeignListener:
    """Binds a listener of a foreign protocol.

    Raises:
        BindError: the address is taken or refused; the message names the option that moves it.
        AddressError: the name cannot be resolved.
    """
    move = f"move this listener with --{kind} HOST:PORT, or switch it off with --{kind} off"
    try:
        inlet = open_inlet(place.url)
    except AddressInUse as error:
        by = f" by {error.holder}" if error.holder else ""
        raise BindError(error.url, f"it is in use{by}; stop that one, {move}") from None
    except BindError as error:
        raise BindError(error.url, f"{error.problem}; or {move}") from None
    assert isinstance(inlet, SocketInlet)
    return ForeignListener(kind, inlet, read)


def peer_text(address: Any) -> tuple[str, str]:
    """Who sent: its address, and that with its port."""
    if isinstance(address, tuple) and address:
        host = str(address[0])
        return host, f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
    text = address.decode(errors="backslashreplace") if isinstance(address, bytes) else str(address or "")
    return "localhost", text or "unix"
