"""A UDP port shared by several sockets of one owner, where the kernel gives every session to one of them (R17).

The owner binds all sockets and keeps them: if one were closed, the kernel would renumber the others, and sessions would move to windows
that have not seen them. A process that receives on one of them gets a copy of it, and may die and be replaced.

A classic BPF program returns the number of the socket (socket(7), SO_ATTACH_REUSEPORT_CBPF; Linux 4.5): the lower half of the session's
random64 modulo their number. A datagram too short for that goes to the first. This holds for unicast only: the kernel gives every
socket a copy of a broadcast, so receivers must also refuse the sessions of other shards (`wrong_shard`).

The port itself is the lock (H2). The first socket is bound *without* SO_REUSEPORT, which fails if anybody holds the address, alone or
shared; only then is the address opened for the other sockets. A second owner, or a receiver that wants the port for itself, is refused the
same way, by the kernel. The kernel knows what a lock file cannot: that 0.0.0.0:7140 and 127.0.0.1:7140 collide, and that the same port in two
network namespaces does not. Another program of the same user that asks for SO_REUSEPORT can still bind, and is never chosen.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import struct
import sys
from typing import Final

from atmost.core.shards import SHARD_OFFSET
from atmost.errors import AddressError, BindError
from atmost.lifecycle import Floor, register
from atmost.transport.base import Address, Preset
from atmost.transport.sockets import KernelDrops, SocketInlet
from atmost.transport.udp import bind_udp

# From linux/filter.h and asm-generic/socket.h.
_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS: big endian, from the datagram's first byte
_MODULO: Final = 0x94  # BPF_ALU | BPF_MOD | BPF_K
_RETURN: Final = 0x16  # BPF_RET | BPF_A
_INSTRUCTION: Final = struct.Struct("HBBI")


def can_share() -> bool:
    """Whether this system can steer by session."""
    return sys.platform == "linux"


class SharedPort:
    """The sockets of one address, in the order of their shards."""

    def __init__(self, sockets: list[socket.socket], url: str, *, preset: Preset) -> None:
        """Takes over bound sockets; see `share_udp`."""
        self.url = url
        self.preset = preset
        self._sockets = sockets
        self._drops = [KernelDrops(sock) for sock in sockets]
        self._last_drops: int | None = self.kernel_drops()
        register(self, Floor.TRANSPORT)

    def copy(self, shard: int) -> socket.socket:
        """A copy of one socket, for the process that is to receive on it; closing the copy does not release the address."""
        return self._sockets[shard].dup()

    def inlet(self, copy: socket.socket) -> SocketInlet:
        """The receiving end over a copy, which it closes."""
        return SocketInlet(copy, self.url, preset=self.preset)

    def kernel_drops(self) -> int | None:
        """Datagrams the kernel dropped at all sockets since they were bound, in any process (R22)."""
        if self._sockets:
            totals = [drops.total() for drops in self._drops]
            self._last_drops = None if None in totals else sum(total or 0 for total in totals)
        return self._last_drops

    def close(self) -> None:
        """Releases the address, unless a copy of a socket still holds it; may be called twice."""
        self.kernel_drops()
        self.abandon()

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002  the same whenever it is noticed
        """In a forked child: leaves the address to the parent."""
        self.abandon()

    def abandon(self) -> None:
        """Closes this process's sockets and leaves the address to the process that forked this one."""
        while self._sockets:
            self._sockets.pop().close()


def share_udp(address: Address, count: int) -> SharedPort:
    """Binds one UDP address `count` times, steered by session.

    Args:
        address: a unicast UDP address.
        count: sockets, at least 1.

    Raises:
        AddressError: the name cannot be resolved, or is a multicast group (every socket would get a copy of each datagram).
        AddressInUse: somebody holds the address, alone or shared.
        BindError: the system refused for another reason, or cannot steer.
    """
    inlet = bind_udp(address)
    try:
        sockets = [socket.socket(fileno=os.dup(inlet.fileno()))]
    finally:
        inlet.close()
    try:
        _refuse_groups(address, sockets[0])
        _share(sockets, count)
    except BaseException as error:
        for sock in sockets:
            sock.close()
        if isinstance(error, OSError):
            raise BindError(address.url, f"{count} workers cannot share it: {error.strerror or error}") from error
        raise
    return SharedPort(sockets, inlet.url, preset=inlet.preset)


def _refuse_groups(address: Address, sock: socket.socket) -> None:
    host = str(sock.getsockname()[0]).partition("%")[0]
    if ipaddress.ip_address(host).is_multicast:
        raise AddressError(address.url, "every worker would get each datagram of a multicast group: use one worker")


def _share(sockets: list[socket.socket], count: int) -> None:
    """Opens the first socket's address for the others, binds them, and attaches the steering program."""
    first = sockets[0]
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    while len(sockets) < count:
        sock = socket.socket(first.family, socket.SOCK_DGRAM)
        sockets.append(sock)
        if first.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(first.getsockname())
    if count > 1:
        _steer(first, count)


def _steer(sock: socket.socket, count: int) -> None:
    """Attaches the program to the group that `sock` belongs to."""
    program = ((_LOAD_WORD, SHARD_OFFSET), (_MODULO, count), (_RETURN, 0))
    code = b"".join(_INSTRUCTION.pack(operation, 0, 0, value) for operation, value in program)
    memory = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: the number of instructions, and where they are.
    filter_program = struct.pack("HP", len(program), ctypes.addressof(memory))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, filter_program)
