"""A tap between senders and a receiver that records every datagram, and replays the whole tape from another source.

Whoever can listen can do this; the guarantee must hold against it over any number of restarts (GUARANTEE §1).
On standard input: `replay URL` sends the tape so far once more, from a socket that did not exist before.
Live datagrams are forwarded while a replay runs.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from typing import Final

from atmost.transport.sockets import ask_receive_buffer
from atmost.transport.url import parse_url
from tests.system.processes import say

MAX_TAPE: Final = 100_000
"""Datagrams; beyond it the tap only forwards."""
_RETRIES: Final = 200
"""Attempts at a Unix socket whose queue is full, a millisecond apart."""
_BATCH: Final = 32


class Tap:
    """The two sockets of the tap, and the tape."""

    def __init__(self, url: str, target: str) -> None:
        """Args: url: where senders send to. target: where the receiver is, or will be."""
        family, address = _address(url)
        _, self._target = _address(target)
        self.incoming = self._socket(family)
        ask_receive_buffer(self.incoming)
        self.incoming.bind(address)
        self._outgoing = self._socket(family)
        self.tape: list[bytes] = []
        self.refused = 0

    def forward(self) -> None:
        """Passes on what has arrived, recorded first."""
        for _ in range(_BATCH):
            try:
                datagram = self.incoming.recv(1 << 16)
            except BlockingIOError:
                return
            if len(self.tape) < MAX_TAPE:
                self.tape.append(datagram)
            self._send(self._outgoing, datagram, self._target)

    def replay(self, url: str) -> None:
        """Sends the tape to `url` from a new socket, on IP from another address too, and no faster than a receiver reads."""
        family, target = _address(url)
        with self._socket(family) as other:
            if family == socket.AF_INET:
                other.bind(("127.0.0.2", 0))
            for number, datagram in enumerate(self.tape[:]):
                if number % _BATCH == 0:
                    self.forward()
                    time.sleep(0.001)
                self._send(other, datagram, target)

    def _send(self, sock: socket.socket, datagram: bytes, target: str | tuple[str, int]) -> None:
        for _ in range(_RETRIES):
            try:
                sock.sendto(datagram, target)
            except BlockingIOError:  # a Unix socket holds ten datagrams
                time.sleep(0.001)
            except OSError:  # nobody receives at this moment
                break
            else:
                return
        self.refused += 1

    @staticmethod
    def _socket(family: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        return sock


def main() -> int:
    """Taps until nobody is left to command it."""
    url, target = json.loads(sys.argv[1])
    tap = Tap(url, target)
    host = tap.incoming.getsockname()
    say(url=url if isinstance(host, str) else f"udp://{host[0]}:{host[1]}")
    pending = b""
    while True:
        ready, _, _ = select.select([tap.incoming.fileno(), 0], [], [])
        if tap.incoming.fileno() in ready:
            tap.forward()
        if 0 in ready:
            got = os.read(0, 4096)
            if not got:
                return 0
            *lines, pending = (pending + got).split(b"\n")
            for line in lines:
                refused = tap.refused
                tap.replay(line.decode().removeprefix("replay "))
                say(taped=len(tap.tape), refused=tap.refused - refused)


def _address(url: str) -> tuple[int, str | tuple[str, int]]:
    address = parse_url(url)
    if address.scheme == "unix":
        return socket.AF_UNIX, address.path
    return socket.AF_INET, (address.host, address.port)


if __name__ == "__main__":
    sys.exit(main())
