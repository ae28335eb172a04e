"""What the tests of the link share: written verdicts, datagrams with a number and messages in them, and a target."""

import select
import socket
from collections.abc import Iterable, Iterator

from atmost.lab.faults import PASSED, Verdict

BOUND = 30.0
"""Seconds after which what a test waits for will not come."""


class Script:
    """A judge that gives the verdicts written down, and lets pass what comes after them."""

    def __init__(self, verdicts: Iterable[Verdict] = ()) -> None:
        self._verdicts: Iterator[Verdict] = iter(verdicts)

    def judge(self) -> Verdict:
        return next(self._verdicts, PASSED)


def data(messages: int, number: int = 0, size: int = 64) -> bytes:
    """A DATA datagram: the header of wire format 1 as far as a link reads it, then zeros."""
    header = bytes([0xA5, 0x11]) + bytes(18) + number.to_bytes(8, "big") + bytes(16) + messages.to_bytes(2, "big")
    return header.ljust(size, b"\0")


def number_of(datagram: bytes) -> int:
    """The number given to `data`."""
    return int.from_bytes(datagram[20:28], "big")


class Sink:
    """Where a link forwards to: a socket that keeps what arrives."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(BOUND)
        self.url = f"udp://127.0.0.1:{self.socket.getsockname()[1]}"

    def arrived(self) -> list[bytes]:
        """What is here; on the loopback device a datagram is here when it has been sent."""
        datagrams = []
        while select.select([self.socket], [], [], 0)[0]:
            datagrams.append(self.socket.recv(65_536))
        return datagrams
