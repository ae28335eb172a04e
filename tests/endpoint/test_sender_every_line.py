"""A sender interrupted at every line: nothing twice, the account balances, and it works or says that it is closed (R6, R8, R9)."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import count, repeat
from typing import Any

import pytest

from atmost import Sender, lifecycle
from atmost.core.events import Message
from atmost.core.keys import KeyMode, keyring, new_key
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.endpoint import sender as module
from atmost.endpoint.checking import find_keys
from atmost.transport.base import FORKED
from tests.endpoint.tape import Tape
from tests.harness import Forked, Interrupted, Interruption, Scenes, every_line, raises, sampled
from tests.interrupting import Place

FILES = (
    "endpoint/sender.py",
    "endpoint/background.py",
    "core/sending.py",
    "core/datagram.py",
    "core/seal.py",
    "atomic.py",
)
KEY = new_key(bytes(range(32)), 1, KeyMode.SIGNED).text()
OTHER = new_key(bytes(range(1, 33)), 2, KeyMode.SIGNED).text()


class Road(Tape):
    """An outlet that says "not now" every fourth time, refuses every fifth, and knows which process offered what."""

    def __init__(self) -> None:
        super().__init__()
        self.pids: list[int] = []
        self._turns: Iterator[int] = count(1)

    def open(self) -> None:
        """Take everything from here on."""
        self._turns = repeat(1)

    def send(self, datagram: bytes, process: int = 0) -> str | None:
        if process != lifecycle.HERE[0]:  # as a real outlet does in the line of its system call
            return FORKED
        turn = next(self._turns)
        error = "EAGAIN" if turn % 4 == 0 else "ECONNREFUSED" if turn % 5 == 0 else None
        self.attempts.append(datagram)
        if error is None:
            self.pids.append(os.getpid())
            self.taken.append(datagram)
        return error


class Scene:
    """A sender in the middle of its life: some messages taken, some waiting."""

    def __init__(
        self,
        linger: float,
        then: Callable[["Scene"], object] = lambda _scene: None,
        tracing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Args: linger: seconds. then: called before the first message. tracing: in which the first messages are sent."""
        self.road = Road()
        module.open_outlet, self._open = lambda _url: self.road, module.open_outlet
        try:
            self.sender = Sender(
                "memory://road", linger=linger, key=KEY, max_datagram=508, max_buffer=1200, max_hold=60
            )
        finally:
            module.open_outlet = self._open
        self.numbers = count()
        self.tried = 0
        self.answered = 0
        then(self)
        with tracing():
            self.say(9)

    def say(self, times: int = 1) -> None:
        """Send so many messages, each with a number of its own."""
        for _ in range(times):
            self.tried += 1
            self.sender.send("a.b", [f"{os.getpid()}:{next(self.numbers)}", "x" * 40])
            self.answered += 1

    def check(self, *, interrupted: bool) -> None:
        """Go on, close, and look at everything.

        Args:
            interrupted: whether an exception came out of a line: what it hit may be counted as handed over.
        """
        closed = self.sender._core.closed
        self.sender.flush()
        before = len(self.road.taken)
        answer = self.sender.send("a.b", ["after"])
        self.tried += 1
        assert answer is not closed
        self.sender.close(0.02)
        self.sender.close(0)
        assert not self.sender.send("a.b", "closed")
        assert self.road.closed
        stats = self.sender.stats()
        assert stats.open == 0
        assert stats.offered == stats.handed_over + sum(stats.dropped.values()) + sum(stats.refused.values())
        assert self.answered + 2 <= stats.offered <= self.tried + 1
        if not closed:
            assert len(self.road.taken) > before
        delivered = self.delivered()
        numbers = [payload[0] for payload in delivered]
        assert len(set(numbers)) == len(numbers), Counter(numbers).most_common(1)
        missing = stats.handed_over - len(delivered)
        assert missing == 0 or (interrupted and 0 < missing <= 12), missing

    def delivered(self) -> list[Any]:
        """Have a receiver be the judge: every datagram is accepted; return the payloads."""
        core = ReceiverCore(
            ReceiverOptions(future_bound=60, clock_guard=0), 0, keyring(find_keys([KEY, OTHER], None), "")
        )
        delivered: list[Any] = []
        for number, datagram in enumerate(self.road.taken):
            events = core.receive(datagram, float(number), self.road.clock())
            delivered += [event.payload for event in events if isinstance(event, Message)]
        assert core.ledger(0.0).refused == {}
        return delivered


WORKS: dict[str, Callable[[Scene], object]] = {
    "send": lambda scene: scene.say(6),
    "flush": lambda scene: scene.sender.flush(),
    "rotate": lambda scene: scene.sender.rotate_key(OTHER),
    "tick": lambda scene: scene.sender._tick(),
    "close": lambda scene: scene.sender.close(0),
    "last words": lambda scene: lifecycle.run(scene.sender.last_words(0.0)),
    "stats": lambda scene: scene.sender.stats(),
}
ACTIONS: dict[str, Callable[[Scene], object]] = {
    "exception": lambda _scene: raises(),
    "send": lambda scene: scene.say(),
    "flush": lambda scene: scene.sender.flush(),
    "rotate": lambda scene: scene.sender.rotate_key(OTHER),
    "close": lambda scene: scene.sender.close(0),
    "last words": lambda scene: lifecycle.run(scene.sender.last_words(0.0)),
    "stats": lambda scene: scene.sender.stats(),
}


@pytest.fixture(autouse=True)
def _untraced() -> Iterator[None]:
    """Give the tracer of a coverage run back."""
    before = sys.gettrace()
    yield
    sys.settrace(before)


def play(work: str, action: str, linger: float) -> Scenes:
    """Return the scene of one work and one interruption."""

    def scene(at: int | Place) -> Interruption:
        stage = Scene(linger)
        interruption = Interruption(at, lambda: ACTIONS[action](stage), FILES)
        outcome = interruption.run(lambda: WORKS[work](stage))
        try:
            stage.check(interrupted=isinstance(outcome, Interrupted))
        except Exception as error:
            error.add_note(f"{work} interrupted by {action} at {at}, {interruption.where}")
            raise
        return interruption

    return scene


@pytest.mark.parametrize("linger", [0.0, 0.005])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("work", WORKS)
def test_a_sample_of_lines(work: str, action: str, linger: float) -> None:
    """Every nineteenth."""
    assert sampled(play(work, action, linger), 19)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "work", [pytest.param(work, marks=[] if work == "stats" else pytest.mark.slow) for work in WORKS]
)
def test_every_line(work: str, action: str) -> None:
    """All of them."""
    assert every_line(play(work, action, 0.005))


ENTRY = f"sender.py:{sorted({line for *_, line in Sender.send.__code__.co_lines() if line})[1]} (send)"
"""Here `send()` has not begun: a fork is one before the call, which then both processes make."""


def play_fork(work: str, *, past_the_hook: bool) -> Scenes:
    """Return the scene of one work and a fork in it."""

    def scene(at: int | Place) -> Interruption:
        stage = Scene(0.005)

        def tell() -> dict[str, Any]:
            said = [f"{os.getpid()}:{number}" for number in range(2)]
            for text in said:
                stage.sender.send("a.b", [text])
            stage.sender.flush()
            stage.sender.close(0)
            stats = stage.sender.stats()
            mine = stage.road.pids.count(os.getpid())
            stage.road.taken = stage.road.taken[-mine:] if mine else []
            return {
                "balance": stats.offered
                - stats.handed_over
                - sum(stats.dropped.values())
                - sum(stats.refused.values()),
                "sent": [payload[0] for payload in stage.delivered()],
                "said": said,
                "offered": stats.offered,
            }

        fork = Forked(tell, past_the_hook=past_the_hook)
        interruption = Interruption(at, fork, FILES)
        interruption.run(lambda: WORKS[work](stage))
        told = fork.finish()
        try:
            stage.check(interrupted=False)
            if told is not None:
                sent = {payload[0] for payload in stage.delivered()}
                both = sent & set(told["sent"])
                assert not both or (interruption.where == ENTRY and len(both) == 1), both
                assert len(set(told["sent"])) == len(told["sent"])
                assert told["balance"] == 0
                assert told["offered"] >= len(told["said"])
        except Exception as error:
            error.add_note(f"{work} forked at {at}, {interruption.where}: {told}")
            raise
        return interruption

    return scene


@pytest.mark.parametrize("past_the_hook", [False, True])
@pytest.mark.parametrize("work", WORKS)
def test_a_sample_of_forks(work: str, past_the_hook: bool) -> None:
    """At every forty-first line, by Python and by C: nothing of the parent's leaves the child (R8)."""
    assert sampled(play_fork(work, past_the_hook=past_the_hook), 41)


@pytest.mark.slow
@pytest.mark.parametrize("past_the_hook", [False, True])
@pytest.mark.parametrize("work", WORKS)
def test_a_fork_at_every_line(work: str, past_the_hook: bool) -> None:
    """All of them."""
    assert every_line(play_fork(work, past_the_hook=past_the_hook))
