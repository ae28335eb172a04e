"""Unix datagram sockets.

The kernel refuses what does not fit the receiver's queue (`net.unix.max_dgram_qlen`, often 10 datagrams) instead of dropping it:
datagrams are large here, and a refusal is "not now" and counted.
The inlet holds a lock file beside its socket, so that a stale socket can be told from a live one (H2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

from atmost.errors import AddressError, AddressInUse, BindError
from atmost.transport.base import LOCAL_DATAGRAM, SAME_HOST, Address, wall_clock
from atmost.transport.holder import unix_holder
from atmost.transport.sockets import SocketInlet, errno_name

_GONE = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE})


class UnixOutlet:
    """Sends to one path; connects again after the receiver was replaced."""

    clock = staticmethod(wall_clock)
    patience = 0.0
    max_datagram = LOCAL_DATAGRAM
    preset = SAME_HOST

    def __init__(self, address: Address) -> None:
        """Keeps the path; nobody need receive there yet.

        Raises:
            AddressError: this platform has no Unix sockets.
        """
        _require_unix(address)
        self.url = address.url
        self._path = address.path
        self._sock: socket.socket | None = None

    def send(self, datagram: bytes) -> str | None:
        """Hands one datagram to the receiver's queue; a refusal means that it was not transmitted."""
        try:
            if self._sock is None:
                self._connect()
            assert self._sock is not None
            self._sock.send(datagram)
        except OSError as error:
            if error.errno in _GONE:
                self.close()
            return errno_name(error)
        return None

    def path_datagram(self) -> int | None:
        """Half the present size: the system does not tell the limit."""
        return None

    def close(self) -> None:
        """Closes the socket; the next `send` would connect again."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        self._sock = sock


class UnixInlet(SocketInlet):
    """Receives on one path; removes its socket and lock when it closes."""

    def __init__(self, sock: socket.socket, address: Address, lock: int) -> None:
        """Args: sock: bound to the path. address: the URL. lock: the open, locked lock file."""
        super().__init__(sock, address.url, preset=SAME_HOST)
        self._path = address.path
        self._inode = os.stat(address.path).st_ino
        self._lock = lock

    def _release(self) -> None:
        """Lets go of the path; what stands there now is removed only when it is ours."""
        self._release_socket()
        with contextlib.suppress(OSError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        _unlock(_lock_path(self._path), self._lock)
        self._released.set()

    def abandon(self) -> None:
        """As for every socket; the lock stays with the process that took it."""
        super().abandon()
        os.close(self._lock)


def bind_unix(address: Address) -> UnixInlet:
    """Binds the receiving end; a socket file nobody answers on is removed first.

    Raises:
        AddressInUse: a live receiver holds the path.
        BindError: the directory is missing, the path is something else, or there is no permission.
    """
    _require_unix(address)
    path = address.path
    try:
        lock = _lock(_lock_path(path))
    except OSError as error:
        raise _bind_error(address, error) from error
    if lock is None:
        raise AddressInUse(address.url, unix_holder(path))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        _remove_stale(address)
        sock.bind(path)
        return UnixInlet(sock, address, lock)
    except OSError as error:
        sock.close()
        _unlock(_lock_path(path), lock)
        if isinstance(error, (AddressInUse, BindError)):
            raise
        raise _bind_error(address, error) from error


def _bind_error(address: Address, error: OSError) -> BindError:
    directory = os.path.dirname(address.path)
    if error.errno == errno.ENOENT and not os.path.isdir(directory):
        return BindError(address.url, f"the directory {directory} does not exist: mkdir -p {directory}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return BindError(address.url, f"no permission to create files in {directory}")
    return BindError(address.url, f"{error.strerror or error}")


def _remove_stale(address: Address) -> None:
    """Removes what a killed receiver left behind, having asked whether anybody answers."""
    try:
        mode = os.stat(address.path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BindError(address.url, "there is a file that is not a socket: choose another path, or move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            os.unlink(address.path)
            return
        except OSError as error:
            if error.errno not in (errno.EPROTOTYPE, errno.ENOENT):
                raise
    raise AddressInUse(address.url, unix_holder(address.path))


def _lock_path(path: str) -> str:
    return path + ".lock"


def _lock(path: str) -> int | None:
    """Opens and locks `path`; None when somebody else holds it. Survives the holder's removal of the file between the two."""
    import fcntl

    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        try:
            same = os.stat(path).st_ino == os.fstat(lock).st_ino
        except FileNotFoundError:
            same = False
        if same:
            return lock
        os.close(lock)


def _unlock(path: str, lock: int) -> None:
    with contextlib.suppress(OSError):
        if os.stat(path).st_ino == os.fstat(lock).st_ino:  # else somebody removed ours, and this is another receiver's
            os.unlink(path)
    os.close(lock)


def _require_unix(address: Address) -> None:
    if not hasattr(socket, "AF_UNIX"):
        raise AddressError(address.url, "this platform's Python has no Unix sockets: use udp://127.0.0.1:7140")
