"""What one end of a connection is tested with: a transport that answers as it was told, and datagrams made by hand."""

from collections.abc import Callable, Iterable
from typing import Any

from atmost.core.datagram import Kind, unpack_beacon, unpack_messages
from atmost.core.limits import HEADER, TAG
from atmost.transport.base import SAME_HOST, wall_clock
from atmost.transport.memory import MemoryOutlet
from atmost.transport.url import parse_url
from tests.real import forge, header


class Tape:
    """An outlet over nothing: `attempts` are all datagrams it was offered, `taken` those it took."""

    url = "tape:"
    preset = SAME_HOST
    patience = 0.0

    def __init__(self, answers: Iterable[str | None] = (), *, max_datagram: int = 1432) -> None:
        self.max_datagram = max_datagram
        self.path: int | None = None
        self.clock: Callable[[], int] = wall_clock
        self.attempts: list[bytes] = []
        self.taken: list[bytes] = []
        self.closed = False
        self.answer: Callable[[bytes], str | None] = lambda _datagram: None
        self._answers = iter(answers)

    def send(self, datagram: bytes, process: int = 0) -> str | None:
        self.attempts.append(datagram)
        error = next(self._answers, self.answer(datagram))
        if error is None:
            self.taken.append(datagram)
        return error

    def path_datagram(self) -> int | None:
        return self.path

    def close(self) -> None:
        self.closed = True

    def payloads(self) -> list[Any]:
        """Return the payloads of all messages that were taken."""
        return [payload for datagram in self.taken for payload in payloads(datagram)]


def kinds(datagrams: Iterable[bytes]) -> list[Kind]:
    """Return what each datagram is."""
    return [header(datagram).kind for datagram in datagrams]


def data(datagrams: Iterable[bytes]) -> list[bytes]:
    """Return those that carry messages."""
    return [datagram for datagram in datagrams if header(datagram).kind is Kind.DATA]


def payloads(datagram: bytes) -> list[Any]:
    """Return the payloads a datagram carries; none if it carries no messages."""
    head = header(datagram)
    if head.kind is not Kind.DATA:
        return []
    messages = unpack_messages(datagram[HEADER:-TAG], head.count)
    assert messages is not None
    return [message.payload for message in messages]


def report(datagram: bytes) -> Any:
    """Return what a beacon or a goodbye says."""
    beacon = unpack_beacon(datagram[HEADER:-TAG])
    assert beacon is not None
    return beacon


class Hand:
    """Hand-made datagrams of one session into a network inside the process, numbered as a sender would."""

    def __init__(self, url: str, random64: int = 7140) -> None:
        """Args: url: of the memory network. random64: tells its sessions apart."""
        self._outlet = MemoryOutlet(parse_url(url))
        self._random64 = random64
        self._start_us = self._outlet.clock()
        self.sequence = 0
        self.prior = 0

    def make(self, *payloads: Any, kind: Kind = Kind.DATA, refused: dict[str, int] | None = None) -> bytes:
        """Return the next datagram, whose number is spent."""
        datagram = forge(
            [("a", payload) for payload in payloads],
            kind=kind,
            sequence=self.sequence,
            prior=self.prior,
            start_us=self._start_us,
            sent_us=self._outlet.clock(),
            random64=self._random64,
            refused=refused,
        )
        self.sequence += 1
        self.prior += len(payloads)
        return datagram

    def pass_on(self, datagram: bytes) -> None:
        """Send any bytes."""
        self._outlet.send(datagram)

    def data(self, *payloads: Any) -> bytes:
        """Send the next datagram, and return it."""
        datagram = self.make(*payloads)
        self.pass_on(datagram)
        return datagram

    def beacon(self, refused: dict[str, int] | None = None) -> None:
        """Send a beacon that tells what the sender's socket has refused."""
        self.pass_on(self.make(kind=Kind.BEACON, refused=refused))

    def goodbye(self) -> None:
        """Say goodbye."""
        self.pass_on(self.make(kind=Kind.GOODBYE))
