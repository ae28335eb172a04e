"""What UDP and Unix datagram sockets have in common: reading until empty, waiting, being woken, giving back, and errno names."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from atmost.core.datagram import Kind
from atmost.core.limits import MAX_DATAGRAM, VERSION
from atmost.core.sending import NOT_NOW
from atmost.core.shards import Shards
from atmost.transport.base import RECEIVE_BUFFER, Preset, wall_clock
from atmost.transport.mailbox import Waker

_READ: Final = MAX_DATAGRAM + 1024
IS_BEACON: Final = bytes([VERSION << 4 | Kind.BEACON])
"""The second byte of a beacon. A sender sends beacons by itself at intervals, and its outlet checks its socket at each."""
_RELEASE_TIMEOUT: Final = 1.0
_PEERS: Final = 64
"""How many datagrams' senders are remembered after `remember_peers`."""
_NOT_NOW: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h; needs CAP_NET_ADMIN and is not limited by rmem_max
_SO_MEMINFO: Final = 55  # Linux 4.12; nine u32, the ninth counts drops
_MEMINFO: Final = struct.Struct("9I")
_WRAP: Final = 1 << 32


def errno_name(error: OSError) -> str:
    """The symbolic name of a refusal; all errors that mean "not now" share one name."""
    if error.errno in _NOT_NOW:
        return NOT_NOW
    return errno.errorcode.get(error.errno or 0, "EUNKNOWN")


def identity_of(sock: socket.socket) -> tuple[int, int]:
    """Which socket of the system this is: its device and inode."""
    status = os.fstat(sock.fileno())
    return status.st_dev, status.st_ino


def is_still(sock: socket.socket, identity: tuple[int, int]) -> bool:
    """Whether the descriptor still is that socket: a program that closes all descriptors, as daemons do, may have opened something else under its number."""
    try:
        return identity_of(sock) == identity
    except OSError:
        return False


def let_go(sock: socket.socket, identity: tuple[int, int]) -> None:
    """Closes a socket, unless its descriptor belongs to something else by now."""
    if is_still(sock, identity):
        sock.close()
    else:
        sock.detach()


class Binding:
    """What an inlet holds of the system: given back once, by `close`, in a forked child, or when the inlet was dropped without `close`."""

    def __init__(self, sock: socket.socket, unbind: Callable[[], None] | None) -> None:
        """Args: sock: bound. unbind: after the socket was closed, gives back whatever else the address occupies."""
        self.sock = sock
        self.waker = Waker()
        self._identity = identity_of(sock)
        self._unbind = unbind
        self._pid = os.getpid()

    def give_back(self) -> None:
        """Releases the address; in a forked child it stays with the parent."""
        self.close_sockets()
        unbind, self._unbind = self._unbind, None
        if unbind is not None and os.getpid() == self._pid:
            unbind()

    def close_sockets(self) -> None:
        """Closes this process's copies."""
        if self.sock.fileno() >= 0:
            let_go(self.sock, self._identity)
        self.waker.close()


class SocketInlet:
    """The receiving end over a bound, non-blocking datagram socket.

    One thread may wait while another one closes. Closing a socket does not wake a thread that waits for it. So `close` only wakes the waiting
    thread, which closes the socket itself: the descriptor's number cannot be reused while a thread still waits for it.
    """

    shards: Shards | None = None
    overlap = 0.0
    look_every = float("inf")
    clock = staticmethod(wall_clock)

    def __init__(
        self, sock: socket.socket, url: str, *, preset: Preset, unbind: Callable[[], None] | None = None
    ) -> None:
        """Takes over a bound socket.

        Args:
            sock: bound; closed by `close`.
            url: the address really bound.
            preset: the usual bounds on clocks for senders that can reach it.
            unbind: gives back whatever else the address occupies; must not refer to this inlet.
        """
        self.url = url
        self.preset = preset
        self.warning = ask_receive_buffer(sock)
        sock.setblocking(False)
        self._binding = binding = Binding(sock, unbind)
        self._dropped = weakref.finalize(self, binding.give_back)
        self._dropped.atexit = False
        self._sock = sock
        self._recv: Callable[[int], bytes] = sock.recv
        self._peers: deque[tuple[bytes, Any]] = deque()
        self._drops = KernelDrops(sock)
        self._last_drops: int | None = self._drops.total()
        self._waker = binding.waker
        self._woken = binding.waker.reader.fileno()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._poll.register(binding.waker.reader, select.POLLIN)
        self._closed = False
        self._abandoned = False
        self._waiter: int | None = None
        self._state = threading.RLock()
        self._released = threading.Event()

    @property
    def ended(self) -> str | None:
        """None: nobody else can take the address while it is bound."""
        return None

    def receive(self) -> bytes | None:
        """The next datagram, or None when none waits."""
        try:
            return self._recv(_READ)
        except OSError:  # empty, or closed; an unconnected socket reports no other errors
            return None

    def descriptor(self) -> int:
        """Where the compiled hot path may receive as `receive` does; -1 where `receive` does more."""
        return -1 if self._peers.maxlen else self._sock.fileno()

    def confirms(self) -> bool:
        """Always: a bound socket stays bound until it is closed."""
        return True

    def remember_peers(self) -> None:
        """From now on `peer_of` knows who sent the last few datagrams; costs each datagram a little."""
        peers = self._peers = deque[tuple[bytes, Any]](maxlen=_PEERS)
        receive, remember = self._sock.recvfrom, peers.append

        def receive_from(size: int) -> bytes:
            pair = receive(size)
            remember(pair)
            return pair[0]

        self._recv = receive_from

    def peer_of(self, datagram: bytes) -> Any:
        """The address that sent one of the last datagrams, as the socket module writes it; None when it is not known."""
        return next((address for known, address in reversed(self._peers) if known is datagram), None)

    def wait(self, timeout: float | None) -> None:
        """Returns when a datagram may wait, when `wake` was called, or after `timeout` seconds."""
        with self._state:
            if self._closed:
                return
            self._waiter = threading.get_ident()
        try:
            ready = self._poll.poll(None if timeout is None else max(0.0, timeout * 1000))
            if any(fd == self._woken for fd, _ in ready):
                self._waker.clear()
        finally:
            with self._state:
                self._waiter = None
                if self._closed and not self._abandoned:
                    self._release()

    def wake(self) -> None:
        """Ends a `wait`."""
        self._waker.wake()

    def incarnation(self) -> int:
        """Always 1: a bound socket stays bound until it is closed."""
        return 1

    def resume(self, incarnation: int) -> None:
        """Nothing to do."""

    def fileno(self) -> int:
        """The socket, for an event loop."""
        return self._sock.fileno()

    def kernel_drops(self) -> int | None:
        """Datagrams the kernel dropped at this socket (R22)."""
        if not self._closed:
            self._last_drops = self._drops.total()
        return self._last_drops

    def close(self) -> None:
        """Releases the address; a thread that waits here is woken and closes the socket itself."""
        with self._state:
            if self._closed:
                return
            self.kernel_drops()
            self._closed = True
            waiter = self._waiter
            if waiter is None:
                self._release()
        if waiter is not None:
            self._waker.wake()
            if waiter != threading.get_ident():  # a signal handler's own thread waits no longer than the handler runs
                self._released.wait(_RELEASE_TIMEOUT)

    def abandon(self) -> None:
        """Closes this process's copy of the socket and leaves the address to the process that forked this one (H2)."""
        # A signal handler that interrupted `wait` may have forked; the child then continues inside `wait`.
        self._closed = self._abandoned = True
        self._state = threading.RLock()
        self._dropped.detach()
        self._binding.close_sockets()

    def _release(self) -> None:
        """Closes everything; nobody waits here any more."""
        self._dropped()
        self._released.set()


def ask_receive_buffer(sock: socket.socket) -> str | None:
    """Asks for `RECEIVE_BUFFER` bytes; returns a warning with the fix when the kernel grants less."""
    granted = 0
    if sys.platform == "linux":
        granted = _ask(sock, _SO_RCVBUFFORCE)
    if granted < RECEIVE_BUFFER:
        granted = _ask(sock, socket.SO_RCVBUF)
    if granted >= RECEIVE_BUFFER:
        return None
    fix = f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER}" if sys.platform == "linux" else "raise kern.ipc.maxsockbuf"
    return (
        f"the kernel granted a receive buffer of {granted} bytes instead of {RECEIVE_BUFFER}: bursts may be lost; {fix}"
    )


class KernelDrops:
    """The kernel's drop counter of one socket: a u32 that wraps, made a total."""

    def __init__(self, sock: socket.socket) -> None:
        """Args: sock: the receiving socket."""
        self._sock = sock
        self._last = self._read()
        self._total = 0

    def total(self) -> int | None:
        """Datagrams dropped since the start; None where the system does not say."""
        reading = self._read()
        if reading is None or self._last is None:
            return None
        self._total += (reading - self._last) % _WRAP
        self._last = reading
        return self._total

    def _read(self) -> int | None:
        if sys.platform != "linux":
            return None
        try:
            memory = self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return None
        return int(_MEMINFO.unpack(memory)[8]) if len(memory) == _MEMINFO.size else None


def _ask(sock: socket.socket, option: int) -> int:
    """Sets a buffer size; returns the usable bytes (Linux reports twice the size it grants)."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER)
    except OSError:
        return 0
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return granted // 2 if sys.platform == "linux" else granted
