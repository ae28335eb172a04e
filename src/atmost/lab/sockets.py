"""What a link asks of the operating system about its sockets: addresses, the receive buffer, drops.

Linux tells what a socket dropped (`SO_MEMINFO`) and lets privileged processes exceed its limit on receive buffers
(`SO_RCVBUFFORCE`); other systems do neither, and are asked for neither.
"""

import contextlib
import socket
import struct
import sys
from typing import Any
from urllib.parse import urlsplit

_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")
"""linux/sock_diag.h: nine counters, the last of them (SK_MEMINFO_DROPS) the datagrams this socket dropped."""


def resolve(option: str, url: str, *, lowest_port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Return the address family and the address of a URL, for `socket.bind` and `sendto`.

    Args:
        option: What the URL is for, to name it in the error.
        url: `udp://host:port`.
        lowest_port: 0 where port 0, which takes a free one, is welcome, else 1.

    Raises:
        ValueError: No such URL.
        OSError: A name that does not resolve.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "udp" or not parts.hostname or port is None or port < lowest_port:
        raise ValueError(f"{option} must be udp://host:port with a port from {lowest_port} to 65535, got {url!r}")
    family, _, _, _, address = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_DGRAM)[0]
    return family, address


def ask_receive_buffer(receiving: socket.socket, size: int) -> None:
    """Ask for a receive buffer of so many bytes; the kernel gives what it allows."""
    if sys.platform == "linux":
        with contextlib.suppress(PermissionError):
            receiving.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
            return
    with contextlib.suppress(OSError):  # Some kernels refuse what exceeds their limit, and keep what they had.
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def kernel_drops(receiving: socket.socket) -> int | None:
    """Return how many datagrams the kernel dropped instead of queueing them here; None where it does not tell.

    The counter has 32 bits and wraps.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            counters = receiving.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            if len(counters) == _MEMINFO.size:
                return int(_MEMINFO.unpack(counters)[-1])
    return None
