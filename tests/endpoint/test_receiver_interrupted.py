"""Rows of signals: a receiver is interrupted at every place where a signal can come in, and at every line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from atmost import Message, Receiver
from atmost.core.accounts import Ledger
from tests.endpoint.tape import Hand
from tests.interrupting import At, Interruption, places_of
from tests.real import until

ADDRESSES = (f"memory://interrupted-{number}" for number in count())
OPTIONS: dict[str, Any] = {"max_sessions": 2, "max_queue": 12, "grace": 0.0, "window": 8}


SCENES: list[Scene] = []


class Scene:
    """A receiver with something of everything waiting: sessions, one of them evicted, a gap, late ones, a copy, a full queue, a goodbye."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.caught = 0
        url = next(ADDRESSES)
        self.receiver = Receiver(url, **OPTIONS)
        SCENES.append(self)
        one, other, third = Hand(url, 1), Hand(url, 2), Hand(url, 3)
        one.beacon()
        one.data("a0", "a1")
        copy = one.data("a2")
        one.pass_on(copy)
        late = one.make("a3", "a4")
        one.data("a5")
        other.data("b0", "b1", "b2")
        other.data("b3")
        one.pass_on(late)
        one.make("lost")
        one.data("a7")
        one.pass_on(b"garbage")
        third.data("c0", "c1", "c2", "c3", "c4")
        one.data("a8")
        one.goodbye()
        self.one = one

    def consume(self, take: Callable[[Receiver, list[Any]], None]) -> None:
        """Until nothing more is at hand; an interruption is caught, as a program would, and it goes on."""
        for _ in range(3):
            try:
                take(self.receiver, self.got)
            except Interruption:
                self.caught += 1

    def settled(self) -> Ledger:
        """The account when everything missing is lost."""
        until(lambda: not self.receiver.ledger().pending)
        return self.receiver.ledger()

    def close(self) -> None:
        self.receiver.close()


def by_receive(receiver: Receiver, got: list[Any]) -> None:
    """Message by message."""
    while (message := receiver.receive(0)) is not None:
        got.append(message.payload)


def by_events(receiver: Receiver, got: list[Any]) -> None:
    """Event by event."""
    while (event := receiver.next_event(0)) is not None:
        if isinstance(event, Message):
            got.append(event.payload)


def by_run(receiver: Receiver, got: list[Any]) -> None:
    """As `run` does, which would wait for more."""
    intake = receiver._intake
    while intake.next_batch() or intake.pump() or intake.next_batch():
        intake.handle_current(lambda message: got.append(message.payload), lambda _subject: True)


WAYS = {"receive": by_receive, "events": by_events, "run": by_run}


def check(scene: Scene, where: str, *, in_hand: int = 0, elsewhere: int = 0) -> None:
    """Nothing twice; the account balances, and says of every message what became of it."""
    assert max(Counter(scene.got).values(), default=1) == 1, where
    ledger = scene.settled()
    assert ledger.balanced(), where
    assert (ledger.pending, ledger.queued) == (0, 0), (where, ledger)
    handed = len(scene.got) + elsewhere
    assert 0 <= ledger.delivered - handed <= in_hand, (where, ledger.delivered, scene.got)
    assert 0 <= ledger.handler_errors <= in_hand


def works(scene: Scene, where: str) -> None:
    """What comes afterwards is received."""
    Hand(scene.receiver.url, 99).data("afterwards")
    assert [message.payload for message in iter(lambda: scene.receiver.receive(0), None)] == ["afterwards"], where


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Every scene is closed at the end of its test, also after a failure."""
    yield
    while SCENES:
        SCENES.pop().close()


def walk(way: str, number: int, action: Callable[[Scene], object], places: str) -> tuple[Scene, At]:
    """One scene, interrupted at one place."""
    scene = Scene()
    with At(number, lambda: action(scene), places=places) as at:
        scene.consume(WAYS[way])
    return scene, at


def total(way: str, places: str) -> int:
    """How many places a way has."""
    scene = Scene()
    count = places_of(lambda: scene.consume(WAYS[way]), places=places)
    scene.close()
    return count


def raises(_scene: Scene) -> None:
    """What `signal.alarm` or Ctrl-C does."""
    raise Interruption


def drains(scene: Scene) -> None:
    """What a handler on a signal may do: take what there is."""
    while (message := scene.receiver.receive(0)) is not None:
        scene.got.append(message.payload)


def interrupted(way: str, action: Callable[[Scene], object], places: str, step: int, first: int = 1) -> int:
    """Every `step`-th place; how many they were."""
    tried = 0
    for number in range(first, total(way, places) + 1, step):
        scene, at = walk(way, number, action, places)
        if at.reached:
            tried += 1
            check(scene, at.where, in_hand=int(action is raises))
            # In `run` an exception that comes in right after the handler has returned is the handler's.
            assert scene.caught + scene.receiver.ledger().handler_errors == int(action is raises), at.where
            assert scene.receiver.ledger().refused.get("malformed", 0) <= 1, at.where
            works(scene, at.where)
        scene.close()
    return tried


ACTIONS = {"an exception": raises, "a drain": drains}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("places", ["signals", "lines"])
def test_interrupted_here_and_there_nothing_is_lost_or_repeated(way: str, action: str, places: str) -> None:
    """A sample of the places; the next test has all."""
    assert interrupted(way, ACTIONS[action], places, step=23, first=1 + len(way) % 4) > 20


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("places", ["signals", "lines"])
def test_interrupted_anywhere_nothing_is_lost_or_repeated(way: str, action: str, places: str) -> None:
    """Every place where a signal can come in, and every line."""
    assert interrupted(way, ACTIONS[action], places, step=1) > 400
