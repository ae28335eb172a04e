"""Receive buffers and drop counters of sockets: what is asked of the kernel and what it tells (R22)."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

from atmost.transport.base import RECEIVE_BUFFER

_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h; needs CAP_NET_ADMIN and is not limited by rmem_max
_SO_MEMINFO: Final = 55  # Linux 4.12; nine u32, the ninth counts drops
_MEMINFO: Final = struct.Struct("9I")
_WRAP: Final = 1 << 32


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
        """Datagrams dropped since the start; None where the system does not tell."""
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
