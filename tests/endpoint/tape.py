"""A transport that keeps what it was given and answers as it was told, for tests of what a sender does with answers."""

from collections.abc import Callable, Iterable
from typing import Any

from atmost.core.datagram import Kind, unpack_beacon, unpack_messages
from atmost.core.limits import HEADER, TAG
from atmost.transport.base import wall_clock
from tests.real import header


class Tape:
    """An outlet over nothing: `attempts` are all datagrams it was offered, `taken` those it took."""

    url = "tape:"
    same_host = True

    def __init__(self, answers: Iterable[str | None] = (), *, max_datagram: int = 1432) -> None:
        self.max_datagram = max_datagram
        self.path: int | None = None
        self.clock: Callable[[], int] = wall_clock
        self.attempts: list[bytes] = []
        self.taken: list[bytes] = []
        self.closed = False
        self.answer: Callable[[bytes], str | None] = lambda _datagram: None
        self._answers = iter(answers)

    def send(self, datagram: bytes) -> str | None:
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
