"""Unix datagram sockets.

The kernel refuses a datagram that does not fit the receiver's queue (`net.unix.max_dgram_qlen`, often 10 datagrams) instead of dropping it.
So datagrams are large here, and a refusal is "not now" and counted.

One receiver at a time (H2): a path can be deleted under its owner, and a second socket bound there. So there are three safeguards. A lock file
beside the socket holds between all processes that see the directory. An abstract socket, named after the directory and the name in it, holds
within a network namespace even if both files are deleted. And the owner checks every second whether its socket still stands at its path; if not,
it ends, because nobody can send to it any more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
import sys
import time
from typing import Final

from atmost.errors import AddressError, AddressInUse, BindError
from atmost.lifecycle import HERE, Floor, register, unregister
from atmost.transport.base import ANY_PROCESS, FORKED, LOCAL_DATAGRAM, SAME_HOST, Address, wall_clock
from atmost.transport.holder import process_name, unix_holder
from atmost.transport.sockets import IS_BEACON, SocketInlet, errno_name, identity_of, is_still, let_go

_GONE: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE})
_LOOK: Final = 1.0
"""How often a receiver checks that its path is still its own (seconds)."""
_CREDENTIALS: Final = struct.Struct("3i")
"""struct ucred: process, user and group of the listener."""


class UnixOutlet:
    """Sends to one path; connects again after the receiver was replaced."""

    clock = staticmethod(wall_clock)
    patience = 0.0
    max_datagram = LOCAL_DATAGRAM
    preset = SAME_HOST

    def __init__(self, address: Address) -> None:
        """Keeps the path; a receiver need not exist yet.

        Raises:
            AddressError: this platform has no Unix sockets.
        """
        _require_unix(address)
        self.url = address.url
        self._path = address.path
        self._sock: socket.socket | None = None
        self._identity = (0, 0)
        register(self, Floor.TRANSPORT)

    def send(self, datagram: bytes, process: int = ANY_PROCESS) -> str | None:
        """Hands one datagram to the receiver's queue; a refusal means that it was not transmitted."""
        if datagram[1:2] == IS_BEACON:
            self._look()
        try:
            if self._sock is None:
                self._connect()
            assert self._sock is not None
            return None if process in (HERE[0], ANY_PROCESS) and self._sock.send(datagram) >= 0 else FORKED
        except OSError as error:
            if error.errno in _GONE:
                self._disconnect()
            elif error.errno == errno.EBADF:
                self._look()
            return errno_name(error)

    def path_datagram(self) -> int | None:
        """None: the system does not say the limit."""
        return None

    def close(self) -> None:
        """Closes the socket; the next `send` would connect again."""
        self._disconnect()
        unregister(self)

    release = close

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002  the same whenever it is noticed
        """In a forked child: opens a socket of its own at the next datagram."""
        self._disconnect()

    def _look(self) -> None:
        """Forgets the socket if its descriptor belongs to something else by now, as in a program that closed all descriptors."""
        if self._sock is not None and not is_still(self._sock, self._identity):
            self._disconnect()

    def _disconnect(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            let_go(sock, self._identity)

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        self._identity = identity_of(sock)
        self._sock = sock


class UnixInlet(SocketInlet):
    """Receives on one path; removes its socket and its locks when it closes."""

    look_every = _LOOK

    def __init__(self, sock: socket.socket, address: Address, lock: _Lock) -> None:
        """Args: sock: bound to the path. address: the URL. lock: held."""
        self._path = address.path
        self._inode = _inode(address.path)
        self._ended: str | None = None
        self._look_at = time.monotonic() + _LOOK
        self._lock = lock
        super().__init__(sock, address.url, preset=SAME_HOST, unbind=_Unbind(address.path, self._inode, lock))

    @property
    def ended(self) -> str | None:
        """Why no sender can reach this socket any more: its path is gone, or another socket stands there."""
        if self._ended is None and not self._closed and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK
            try:
                if _inode(self._path) != self._inode:
                    self._ended = "another file stands at its path, so that no sender can reach it any more"
            except FileNotFoundError:
                self._ended = "its socket was deleted, so that no sender can reach it any more"
            except OSError:  # without permission to look the receiver goes on
                pass
        return self._ended

    def abandon(self) -> None:
        """As for every socket; the locks stay with the process that took them."""
        super().abandon()
        self._lock.close()


def bind_unix(address: Address) -> UnixInlet:
    """Binds the receiving end; a socket file on which nobody answers is removed first.

    Raises:
        AddressInUse: a live receiver holds the path.
        BindError: the directory is missing, the path is something else, or there is no permission.
    """
    _require_unix(address)
    path = address.path
    try:
        lock = _Lock(address)
    except AddressInUse:
        raise
    except OSError as error:
        raise _bind_error(address, error) from error
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        _remove_stale(address)
        sock.bind(path)
        return UnixInlet(sock, address, lock)
    except OSError as error:
        sock.close()
        lock.remove()
        if isinstance(error, (AddressInUse, BindError)):
            raise
        raise _bind_error(address, error) from error


class _Lock:
    """The two locks of one path."""

    def __init__(self, address: Address) -> None:
        """Takes both.

        Raises:
            AddressInUse: another process holds one of them.
            OSError: the lock file cannot be made.
        """
        self._path = address.path + ".lock"
        file = _lock_file(self._path)
        if file is None:
            raise AddressInUse(address.url, unix_holder(address.path))
        self._file = file
        self._abstract: socket.socket | None = None
        try:
            self._abstract = _lock_name(address)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Releases both, and removes the file."""
        with contextlib.suppress(OSError):
            if self._file >= 0 and os.stat(self._path).st_ino == os.fstat(self._file).st_ino:
                os.unlink(self._path)  # otherwise our file was removed, and this one is another receiver's
        self.close()

    def close(self) -> None:
        """Closes this process's copies."""
        file, self._file = self._file, -1
        if file >= 0:
            with contextlib.suppress(OSError):
                os.close(file)
        if self._abstract is not None:
            self._abstract.close()


class _Unbind:
    """Removes a receiver's socket file and lock, but never a file that another receiver has put there since."""

    def __init__(self, path: str, inode: tuple[int, int], lock: _Lock) -> None:
        self._path = path
        self._inode = inode
        self._lock = lock

    def __call__(self) -> None:
        with contextlib.suppress(OSError):
            if _inode(self._path) == self._inode:
                os.unlink(self._path)
        self._lock.remove()


def _bind_error(address: Address, error: OSError) -> BindError:
    directory = os.path.dirname(address.path)
    if error.errno == errno.ENOENT and not os.path.isdir(directory):
        return BindError(address.url, f"the directory {directory} does not exist: mkdir -p {directory}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return BindError(address.url, f"no permission to create files in {directory}")
    return BindError(address.url, f"{error.strerror or error}")


def _inode(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _remove_stale(address: Address) -> None:
    """Removes the socket file of a killed receiver, after checking that nobody answers on it."""
    try:
        mode = os.stat(address.path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BindError(address.url, "a file that is not a socket is there: choose another path, or move the file")
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


def _lock_file(path: str) -> int | None:
    """Opens and locks `path`; None when another process holds it. Copes with a holder that removes the file between the two steps."""
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


def _lock_name(address: Address) -> socket.socket | None:
    """Takes the abstract name of a file in a directory, the same for all paths that lead there; None where the system has no such names.

    Anybody may take such a name. A holder that may not write to the directory is a squatter, and is ignored.

    Raises:
        AddressInUse: a receiver holds it.
    """
    if sys.platform != "linux":
        return None
    directory, name = os.path.split(address.path)
    status = os.stat(directory)
    place = f"{status.st_dev}:{status.st_ino}:{name}"
    import hashlib  # brings OpenSSL along: senders need none

    abstract = "\0atmost-" + hashlib.blake2b(os.fsencode(place), digest_size=16).hexdigest()
    # A stream, because only a stream's client can ask who listens.
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(abstract)
        sock.listen(8)
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(abstract)
            except (ConnectionRefusedError, FileNotFoundError):  # the holder has gone meanwhile
                return None
            except BlockingIOError:  # the holder has too many callers to answer, so nothing is known of it
                return None
            process, user, _ = _CREDENTIALS.unpack(
                probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
        if user in {0, os.geteuid(), status.st_uid}:
            raise AddressInUse(address.url, process_name(process)) from None
        return None
    return sock


def _require_unix(address: Address) -> None:
    if not hasattr(socket, "AF_UNIX"):
        raise AddressError(address.url, "this platform's Python has no Unix sockets: use udp://127.0.0.1:7140")
