"""Workers under test: what they processed, written down before anything else happens, and what was sent to them."""

import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from atmost import MergedLedger, Message, Workers
from atmost.transport.base import wall_clock
from tests.real import BOUND, forge, until

START = {"future_bound": 0.01, "clock_guard": 0.02}
"""A short start: no clock is set back here."""
LOOPBACK = "udp://127.0.0.1:0"


class Journal:
    """What was processed, and by which process: a line each, appended before the handler does anything else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def handle(self, message: Message) -> None:
        """The handler."""
        os.write(self._file, f"{os.getpid()} {message.payload}\n".encode())

    def entries(self) -> list[tuple[int, str]]:
        """Return process and payload of each message, in the order they were processed."""
        lines = (line.split(" ", 1) for line in self._path.read_text().splitlines())
        return [(int(pid), payload) for pid, payload in lines]

    def times(self) -> Counter[str]:
        """Return how often each payload was processed."""
        return Counter(payload for _, payload in self.entries())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@contextmanager
def crew(
    handler: Callable[[Message], object], url: str = LOOPBACK, *, workers: int = 2, **options: Any
) -> Iterator[Workers]:
    """Make workers that start at once and that no test leaves behind."""
    with Workers(handler, url, workers=workers, **{**START, **options}) as group:
        try:
            yield group
        finally:
            for pid in group.pids.values():  # a stopped one could not end
                os.kill(pid, signal.SIGCONT)


def watch(group: Workers, condition: Callable[[], Any], bound: float = BOUND) -> Any:
    """Supervise until a condition is true, and return what it says."""

    def look() -> Any:
        group.supervise()
        return condition()

    return until(look, bound)


def settled(group: Workers, datagrams: int) -> MergedLedger:
    """Return the account once it holds so many datagrams and everything is handled."""
    return until(lambda: (ledger := group.ledger()).datagrams_in == datagrams and not ledger.queued and ledger)


class Hand:
    """A session by hand: what it sent can be sent again."""

    def __init__(self, number: int) -> None:
        """Args: number: the random part, which says whose it is."""
        self.number = number
        self.start_us = wall_clock()
        self.sequence = 0
        self.tape: list[bytes] = []

    def next(self) -> bytes:
        """Return the next datagram, with one message that names session and number."""
        message = ("s", f"{self.number}.{self.sequence}")
        made = forge(
            [message], sequence=self.sequence, prior=self.sequence, start_us=self.start_us, random64=self.number
        )
        self.sequence += 1
        self.tape.append(made)
        return made


def transmit(url: str, datagrams: Iterable[bytes], *, ports: int = 1) -> int:
    """Send all datagrams once from each of so many source ports; return how many that were."""
    host, _, number = url.removeprefix("udp://").rpartition(":")
    tape = list(datagrams)
    with ExitStack() as stack:
        for _ in range(ports):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for datagram in tape:
                sock.sendto(datagram, (host.replace("0.0.0.0", "127.0.0.1"), int(number)))
    return len(tape) * ports


def transmit_at_once(group: Workers, datagrams: Iterable[bytes]) -> None:
    """Send while the workers are stopped: each finds all that is its own when it goes on."""
    for pid in group.pids.values():
        os.kill(pid, signal.SIGSTOP)
    transmit(group.url, datagrams)
    for pid in group.pids.values():
        os.kill(pid, signal.SIGCONT)


def is_gone(pid: int) -> bool:
    """Tell whether a process that is not a child has ended, whether or not anybody has collected it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
