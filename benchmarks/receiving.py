"""A receiver's cost per datagram, socket included, for datagrams that wait in the socket's buffer and are read all at once.

    python -m benchmarks.receiving [--sessions 1000] [--rounds 7] [--json]

One-message datagrams, and full ones of 1432 bytes, from many sessions, over UDP and Unix sockets. Processor time of this
thread per datagram, the median of the rounds; `bare` is a loop of recv that only counts. The difference from the core's
own cost (`atmost lab scale`) is what the carrier adds.
"""

from __future__ import annotations

import socket
import statistics
import tempfile
import time
from collections.abc import Iterator

import atmost
from atmost.core.datagram import encode_message
from atmost.core.seal import ChecksumSeal
from atmost.core.sending import SenderCore, SenderOptions
from benchmarks.common import arguments, show

FULL = 10
"""Messages of 128 bytes in a datagram of 1432."""
CHUNK = 10
"""Datagrams that wait at once: as many as a Unix socket's queue holds on every system."""


class Source:
    """One sender's core."""

    def __init__(self, number: int) -> None:
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


def main() -> None:
    """Measures each carrier and size, and prints a table or JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--sessions", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        urls = ("udp://127.0.0.1:0", f"unix://{folder}/receiving.sock")
        rows = [measure(url, count, options.sessions, options.rounds) for count in (1, FULL) for url in urls]
    titles = {
        "carrier": "carrier",
        "messages": "messages a datagram",
        "bare_us": "bare recv, µs",
        "receiver_us": "receiver, µs a datagram",
        "datagrams_per_second": "datagrams/s",
        "messages_per_second": "messages/s",
    }
    show(rows, as_json=options.json, titles=titles)


def measure(url: str, messages: int, sessions: int, rounds: int) -> dict[str, float | str]:
    """Measures one carrier and size."""
    sources = [Source(number) for number in range(sessions)]
    costs, bares = [], []
    with atmost.Receiver(url) as receiver:
        send = _connected(receiver.url)
        left, right = _pair(receiver.url)
        for turn in range(rounds + 1):
            data = [one for source in sources for one in source.datagrams(messages)]
            costs.append(_drain(receiver, send, data, messages * sessions))
            bares.append(_bare(left, right, data))
            if turn == 0:  # opening the sessions is a cost of its own
                costs.clear()
        for sock in (send, left, right):
            sock.close()
    cost = statistics.median(costs)
    return {
        "carrier": url.partition(":")[0],
        "messages": messages,
        "bare_us": statistics.median(bares),
        "receiver_us": cost,
        "datagrams_per_second": 1e6 / cost,
        "messages_per_second": 1e6 / cost * messages,
    }


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
    right = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    right.bind(("127.0.0.1", 0))
    return _connected(f"udp://127.0.0.1:{right.getsockname()[1]}"), right


def _drain(receiver: atmost.Receiver, send: socket.socket, data: list[bytes], expected: int) -> float:
    """Processor time per datagram (µs), in chunks that fit the socket's buffer."""
    spent, came = 0, 0
    for start in range(0, len(data), CHUNK):
        for datagram in data[start : start + CHUNK]:
            send.send(datagram)
        began = time.thread_time_ns()
        while receiver.receive(0) is not None:
            came += 1
        spent += time.thread_time_ns() - began
    assert came == expected, f"{came} of {expected} messages: the buffer is too small"
    return spent / 1000 / len(data)


def _bare(left: socket.socket, right: socket.socket, data: list[bytes]) -> float:
    """The same for a loop of recv that only counts."""
    spent = 0
    for start in range(0, len(data), CHUNK):
        part = data[start : start + CHUNK]
        for datagram in part:
            left.send(datagram)
        began = time.thread_time_ns()
        count = 0
        while count < len(part):
            right.recv(65_536)
            count += 1
        spent += time.thread_time_ns() - began
    return spent / 1000 / len(data)


if __name__ == "__main__":
    main()
