"""A receiver's cost per datagram, socket included, beside a loop of recv that only counts."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Final

from atmost.bench.systems import bound
from atmost.core.datagram import encode_message
from atmost.core.seal import ChecksumSeal
from atmost.core.sending import SenderCore, SenderOptions
from atmost.endpoint.receiver import Receiver

CHUNK: Final = 10
"""Datagrams that wait at once: as many as a Unix socket's queue holds on every system."""


class Source:
    """One sender's core."""

    def __init__(self, number: int) -> None:
        """Args: number: makes its session another than the others'."""
        self.core = SenderCore(
            SenderOptions(), 1432, lambda _session: ChecksumSeal(), name=f"s{number}", host="host", pid=number
        )
        self.number = number

    def datagrams(self, messages: int) -> Iterator[bytes]:
        """The datagrams it hands over for so many messages."""
        core, now, wall_us = self.core, time.monotonic(), time.time_ns() // 1000
        if core.needs_session(wall_us):
            core.begin(self.number * 0x9E3779B97F4A7C15 % (1 << 64), wall_us, now)
        for number in range(messages):
            core.offer(encode_message(("bench.message", {"n": number, "text": "x" * 98})), now)
        while (outgoing := core.next_datagram(now, wall_us, flush=True)) is not None:
            core.handed_over(outgoing, None, now)
            yield outgoing.data


class Receiving:
    """One receiver and one bare socket of the same kind, fed with the same datagrams from many sessions."""

    def __init__(self, url: str, messages: int, sessions: int) -> None:
        """Args: url: where to bind. messages: in each datagram, of 128 bytes. sessions: how many senders."""
        self._messages = messages
        self._sources = [Source(number) for number in range(sessions)]
        self._receiver = Receiver(url)
        self._send = _connected(self._receiver.url)
        self._left, self._right = _pair(self._receiver.url)
        self.round()  # opening the sessions is a cost of its own

    def figures(self) -> dict[str, float]:
        """One measurement, as a row has it."""
        ours, bare = self.round()
        return {"bare_us": bare, "receiver_us": ours, "share_of_bare": bare / ours}

    def round(self) -> tuple[float, float]:
        """Processor time of this thread per datagram (µs): the receiver's, and the bare loop's."""
        data = [one for source in self._sources for one in source.datagrams(self._messages)]
        return self._drain(data), self._bare(data)

    def close(self) -> None:
        """Closes all sockets."""
        self._receiver.close()
        for sock in (self._send, self._left, self._right):
            sock.close()

    def _drain(self, data: list[bytes]) -> float:
        receive, spent, came = self._receiver.receive, 0, 0
        for start in range(0, len(data), CHUNK):
            for datagram in data[start : start + CHUNK]:
                self._send.send(datagram)
            began = time.thread_time_ns()
            while receive(0) is not None:
                came += 1
            spent += time.thread_time_ns() - began
        expected = self._messages * len(self._sources)
        if came != expected:
            raise RuntimeError(f"{came} of {expected} messages came: the socket's buffer is too small")
        return spent / 1000 / len(data)

    def _bare(self, data: list[bytes]) -> float:
        receive, spent = self._right.recv, 0
        for start in range(0, len(data), CHUNK):
            part = data[start : start + CHUNK]
            for datagram in part:
                self._left.send(datagram)
            began = time.thread_time_ns()
            for _ in part:
                receive(65_536)
            spent += time.thread_time_ns() - began
        return spent / 1000 / len(data)


def _connected(url: str) -> socket.socket:
    """A socket that sends to the receiver."""
    scheme, _, place = url.partition("://")
    sock = socket.socket(socket.AF_INET if scheme == "udp" else socket.AF_UNIX, socket.SOCK_DGRAM)
    host, _, port = place.partition(":")
    sock.connect((host, int(port)) if scheme == "udp" else place)
    return sock


def _pair(url: str) -> tuple[socket.socket, socket.socket]:
    """Two sockets of the same kind; one of them only counts."""
    if url.startswith("unix:"):
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    right = bound(None)
    return _connected(f"udp://127.0.0.1:{right.getsockname()[1]}"), right
