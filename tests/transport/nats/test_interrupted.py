"""Exceptions that signal handlers raise while a datagram is written to a NATS server: nothing stays taken, and nothing arrives twice (R6, R9)."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from atmost import Message, Receiver, Sender
from atmost.transport import nats
from tests.harness import Forked, raise_in
from tests.harness import Interruption as Interrupting
from tests.interrupting import At, Interruption, Place, chosen
from tests.nats_server import NatsServer
from tests.real import BOUND, until

FILES = str(Path(nats.__file__).parent)
MISSED = 5
"""After so many messages none of which came to a place there is none: the sender's thread may have handed over one or the other."""


def received(receiver: Receiver, sender: Sender, numbers: Iterator[int], got: Counter[Any]) -> None:
    """Send one after the other until one of them arrives: some are refused while the link connects anew."""
    deadline = time.monotonic() + BOUND
    first = next(numbers)
    number = first
    while not any(each >= first for each in got if isinstance(each, int)):
        assert time.monotonic() < deadline, "nothing is handed over any more"
        sender.send("a", number)
        sender.flush()
        while take_one(receiver, got) is not None:
            pass
        number = next(numbers)


def take_one(receiver: Receiver, got: Counter[Any]) -> Message | None:
    """Receive a message, if there is one, and note it."""
    message = receiver.receive(0.05)
    if message is not None:
        got[message.payload if isinstance(message.payload, int) else str(message.payload)] += 1
    return message


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


class Thread:
    """The thread of one end's link, interrupted once, and what its end is then."""

    def __init__(self, at: int | Place, action: str, last: int) -> None:
        """Args: at: which of its lines. action: of ACTIONS. last: the number of the line at which it is done where the chosen one does not come."""
        self.ends: list[Any] = []
        self.fork = Forked(self._tell, past_the_hook=False)
        self.interruption = Interrupting(at, getattr(self, action), ["transport/nats/"], at_latest=last)

    def throws(self) -> None:
        """Raise an exception in it."""
        raise Thrown

    def closes(self) -> None:
        """Close its end there, as a finalizer may."""
        for end in self.ends:
            end.close()

    def forks(self) -> None:
        """Fork it: in the child there is no other thread."""
        self.fork()
        if self.fork.pid == 0:
            self.fork.finish()

    def looks(self) -> None:
        """Do nothing."""

    def _tell(self) -> Any:
        """What a child finds: a sender hands over something, over a connection of its own; a receiver has nothing more to do."""
        if not self.ends:
            return None
        if isinstance(self.ends[0], Receiver):
            return [self.ends[0].receive(0), self.ends[0].closed]
        sender, numbers = self.ends[0], count()
        until(lambda: (sender.send("a", [os.getpid(), next(numbers)]), sender.flush(), sender.stats().handed_over)[-1])
        sender.close(0)
        return os.getpid()


ACTIONS = ("throws", "closes", "forks")
LINES = 200
"""So many lines the thread of a sender has executed when it is connected; that of a receiver has begun to claim its shards."""


def play_sender(at: int | Place, action: str, receiver: Receiver, numbers: Iterator[int], got: Counter[Any]) -> Thread:
    """Interrupt the thread of a new sender."""
    thread = Thread(at, action, LINES)
    with Sender(receiver.url, linger=0.001) as sender:
        thread.ends.append(sender)
        with thread.interruption.tracing_threads():
            sender.send("a", next(numbers))
        until(lambda: thread.interruption.is_over)
        if action == "closes":
            until(lambda: not sender._core.outlet._link._thread)  # type: ignore[attr-defined]
            assert not sender.send("a", next(numbers))
        else:
            received(receiver, sender, numbers, got)
        if action == "forks":
            assert thread.fork.finish()
    return thread


def play_receiver(
    at: int | Place, action: str, sender: Sender, numbers: Iterator[int], got: Counter[Any], last: int
) -> Thread:
    """Interrupt the thread of a new receiver; what is not made yet cannot be closed."""
    thread = Thread(at, action, last)
    thread.interruption.waits = action == "closes"
    with thread.interruption.tracing_threads():
        receiver = Receiver(sender.url, clock_guard=0.01, future_bound=0.01)
    with receiver:
        thread.ends.append(receiver)
        thread.interruption.waits = False
        until(lambda: (sender.send("a", next(numbers)), sender.flush(), thread.interruption.is_over)[-1])
        if receiver.closed:
            until(lambda: not receiver._intake.inlet._link._thread)  # type: ignore[attr-defined]
        else:
            received(receiver, sender, numbers, got)
        if action == "forks":
            assert thread.fork.finish() in (None, [None, True])
        assert receiver.ledger().balanced()
    return thread


def lines_of(thread: Thread, last: int, step: int) -> Iterable[int | Place]:
    """Every `step`-th line; or with 0 each one, once."""
    return range(1, last, step) if step else [place for _, place in chosen({"": thread.interruption.passed}, 1, "")]


each_step = pytest.mark.parametrize(
    "step", [pytest.param(67, id="a sample"), pytest.param(0, id="every line", marks=pytest.mark.slow)]
)


@each_step
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_thread_of_a_sender_interrupted_at_its_lines(server: NatsServer, action: str, step: int) -> None:
    """By an exception it connects anew; a close ends it; a fork leaves it to the parent. Nothing arrives twice."""
    numbers, got = count(), Counter[Any]()
    with Receiver(server.url(options="lease=0.2"), clock_guard=0.01, future_bound=0.01) as receiver:
        whole = play_sender(LINES, "looks", receiver, numbers, got)
        wheres = [
            play_sender(at, action, receiver, numbers, got).interruption.where for at in lines_of(whole, LINES, step)
        ]
        assert max(got.values()) == 1
        assert receiver.ledger().balanced()
        assert not receiver.ledger().refused.keys() & {"malformed", "inconsistent", "duplicate", "auth_failed"}
    print(f"{len(wheres)} places interrupted")  # noqa: T201  shown by `pytest -rP`
    assert None not in wheres


@each_step
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_thread_of_a_receiver_interrupted_at_its_lines(server: NatsServer, action: str, step: int) -> None:
    """By an exception it connects and claims anew; a close ends it; a fork leaves its shards to the parent. Nothing is processed twice."""
    numbers, got = count(), Counter[Any]()
    with Sender(server.url(options="lease=0.2"), linger=0.001) as sender:
        last = LINES if step else 3 * LINES
        whole = play_receiver(last, "closes" if action == "closes" else "looks", sender, numbers, got, last)
        wheres = [
            play_receiver(at, action, sender, numbers, got, last).interruption.where
            for at in lines_of(whole, last, step)
        ]
    assert set(got.values()) <= {1}
    print(f"{len(wheres)} places interrupted")  # noqa: T201  shown by `pytest -rP`
    assert None not in wheres


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
