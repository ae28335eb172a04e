"""Exceptions that signal handlers raise while a datagram is written to a NATS server: nothing stays taken, and nothing arrives twice (R6, R9)."""

import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from atmost import Message, Receiver, Sender
from atmost.transport import nats
from tests.harness import Interruption as Interrupting
from tests.harness import raise_in
from tests.interrupting import At, Interruption
from tests.nats_server import NatsServer
from tests.real import BOUND, until

FILES = str(Path(nats.__file__).parent)
LINES = 200
"""So many lines a link's thread has executed when it is connected."""
MISSED = 5
"""After so many messages none of which came to a place there is none: the sender's thread may have handed over one or the other."""


def received(receiver: Receiver, sender: Sender, numbers: Iterator[int], got: Counter[int]) -> None:
    """Send one after the other until one of them arrives: some are refused while the link connects anew."""
    deadline = time.monotonic() + BOUND
    first = next(numbers)
    number = first
    while not any(each >= first for each in got):
        assert time.monotonic() < deadline, "nothing is handed over any more"
        sender.send("a", number)
        sender.flush()
        while (message := receiver.receive(0.05)) is not None:
            assert isinstance(message, Message)
            got[message.payload] += 1
        number = next(numbers)


def test_a_sender_interrupted_anywhere_in_a_write_goes_on(server: NatsServer) -> None:
    """At every place in the transport where a signal can come in."""
    url = server.url(options="lease=0.2")
    numbers, got = count(), Counter[int]()
    interrupted = set()
    with Receiver(url, clock_guard=0.01, future_bound=0.01) as receiver, Sender(url, linger=0) as sender:
        received(receiver, sender, numbers, got)
        place, missed = 1, 0
        while missed < MISSED:
            core, before = sender._core, sender.stats()
            with At(place, throws, files=FILES) as at:
                try:
                    sender.send("a", next(numbers))
                except Interruption:
                    interrupted.add(at.where)
            assert sender._core is core
            stats = sender.stats()
            assert stats.offered == before.offered + 1, at.where
            received(receiver, sender, numbers, got)
            place, missed = (place + 1, 0) if at.reached else (place, missed + 1)
        assert len(interrupted) > 5
        assert max(got.values()) == 1
        assert receiver.ledger().balanced()
        assert not receiver.ledger().refused.get("auth_failed")


def throws() -> None:
    """What a signal handler does."""
    raise Interruption


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The link says of each connection that it is gone."""
    caplog.set_level("ERROR", "atmost")


class Thrown(Exception):
    """What another thread has raised in the link's."""


def thrown() -> None:
    """Raise it."""
    raise Thrown


def play(at: int, receiver: Receiver, numbers: Iterator[int], got: Counter[int]) -> str:
    """Interrupt the threads of a new sender at a line of the transport; return where."""
    interruption = Interrupting(at, thrown, ["transport/nats/"])
    with interruption.tracing_threads():
        sender = Sender(receiver.url, linger=0.001)
        sender.send("a", next(numbers))
    with sender:
        until(lambda: interruption.where is not None)
        received(receiver, sender, numbers, got)
    assert interruption.where is not None
    return interruption.where


@pytest.mark.parametrize(
    "step", [pytest.param(41, id="a sample"), pytest.param(1, id="every line", marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_the_thread_of_a_link_interrupted_at_its_lines_goes_on(server: NatsServer, step: int) -> None:
    """It connects anew, and nothing arrives twice; before its `try` the thread has not begun."""
    numbers, got = count(), Counter[int]()
    with Receiver(server.url(options="lease=0.2"), clock_guard=0.01, future_bound=0.01) as receiver:
        wheres = [play(at, receiver, numbers, got) for at in range(4, LINES, step)]
        assert max(got.values()) == 1
        assert receiver.ledger().balanced()
    print(f"{len(wheres)} places interrupted")  # noqa: T201  shown by `pytest -rP`


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_link_whose_thread_is_ended_from_outside_gets_another(server: NatsServer) -> None:
    """By `SystemExit`, which no `except Exception` catches; a sender's and a receiver's."""
    numbers, got = count(), Counter[int]()
    with (
        Receiver(server.url(options="lease=0.2"), clock_guard=0.01, future_bound=0.01) as receiver,
        Sender(receiver.url, linger=0.001) as sender,
    ):
        received(receiver, sender, numbers, got)
        for link in (sender._core.outlet._link, receiver._intake.inlet._link):  # type: ignore[attr-defined]
            ((_, thread),) = link._thread.values()
            raise_in(thread, SystemExit)
            link._waker.wake()
            until(lambda thread=thread: not thread.is_alive())  # type: ignore[misc]
            received(receiver, sender, numbers, got)
        assert max(got.values()) == 1
        assert receiver.ledger().balanced()
