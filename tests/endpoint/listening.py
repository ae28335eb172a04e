"""A receiver in the middle of its life, for tests that interrupt it anywhere: what waits for it, how it is consumed, what must hold afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

from atmost import AsyncReceiver, Message, Receiver
from atmost.core.accounts import Ledger
from tests.endpoint.tape import Hand
from tests.interrupting import Interruption
from tests.real import until

ADDRESSES = (f"memory://interrupted-{number}" for number in count())
OPTIONS: dict[str, Any] = {"max_sessions": 2, "max_queue": 12, "grace": 0.0, "window": 8}
SCENES: list[Scene] = []
"""What the tests have made; each is closed at the end of its test."""


class Idle(BaseException):
    """Nothing more is at hand, and the scene's receiver does not wait for it."""


class Scene:
    """A receiver with something of everything waiting: sessions, one of them evicted, a gap, late ones, a copy, a full queue, a goodbye."""

    def __init__(self, *, awaited: bool = False) -> None:
        """Args: awaited: whether it is an `AsyncReceiver`."""
        self.got: list[Any] = []
        self.caught = 0
        self.url = url = next(ADDRESSES)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.receiver: Any
        if awaited:
            self.loop = asyncio.new_event_loop()
            self.loop.set_exception_handler(self._caught_by_the_loop)
            self.receiver = AsyncReceiver(url, **OPTIONS)
            self.receiver._readable = _NeverReadable()
        else:
            self.receiver = Receiver(url, **OPTIONS)
            self.receiver._intake.inlet.wait = _idle
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

    def consume(self, take: Callable[[Scene], None]) -> None:
        """Until nothing more is at hand; an interruption is caught, as a program would, and it goes on."""
        for _ in range(3):
            try:
                take(self)
            except Interruption:
                self.caught += 1

    def _caught_by_the_loop(self, _loop: object, context: dict[str, Any]) -> None:
        """An exception that came into a callback ends there."""
        assert isinstance(context["exception"], Interruption), context
        self.caught += 1

    def settled(self) -> Ledger:
        """The account when everything missing is lost."""
        until(lambda: not self.receiver.ledger().pending)
        return self.receiver.ledger()  # type: ignore[no-any-return]

    def close(self) -> None:
        """End it."""
        self.receiver.close()
        if self.loop is not None:
            self.loop.close()


class _NeverReadable(asyncio.Event):
    """The event for which an `AsyncReceiver` waits."""

    async def wait(self) -> Any:
        raise Idle


def _idle(_timeout: float | None) -> None:
    raise Idle


def by_receive(scene: Scene) -> None:
    """Message by message."""
    while (message := scene.receiver.receive(0)) is not None:
        scene.got.append(message.payload)


def by_next_event(scene: Scene) -> None:
    """Event by event."""
    while (event := scene.receiver.next_event(0)) is not None:
        if isinstance(event, Message):
            scene.got.append(event.payload)


def by_iteration(scene: Scene) -> None:
    """In a loop over the receiver."""
    try:
        for message in scene.receiver:
            scene.got.append(message.payload)
    except Idle:
        pass


def by_events(scene: Scene) -> None:
    """In a loop over its events."""
    try:
        for event in scene.receiver.events():
            if isinstance(event, Message):
                scene.got.append(event.payload)
    except Idle:
        pass


def by_run(scene: Scene) -> None:
    """With a handler."""
    with contextlib.suppress(Idle):
        scene.receiver.run(lambda message: scene.got.append(message.payload), ("a", "b.>"))


WAYS: dict[str, Callable[[Scene], None]] = {
    "receive": by_receive,
    "next_event": by_next_event,
    "iteration": by_iteration,
    "events": by_events,
    "run": by_run,
}


async def _receive(scene: Scene) -> None:
    while (message := await scene.receiver.receive(0)) is not None:
        scene.got.append(message.payload)


async def _next_event(scene: Scene) -> None:
    while (event := await scene.receiver.next_event(0)) is not None:
        if isinstance(event, Message):
            scene.got.append(event.payload)


async def _iteration(scene: Scene) -> None:
    async for message in scene.receiver:
        scene.got.append(message.payload)


async def _events(scene: Scene) -> None:
    async for event in scene.receiver.events():
        if isinstance(event, Message):
            scene.got.append(event.payload)


async def _run(scene: Scene) -> None:
    async def handle(message: Message) -> None:
        scene.got.append(message.payload)

    await scene.receiver.run(handle)


def awaited(how: Callable[[Scene], Any]) -> Callable[[Scene], None]:
    """Return a way that drives a coroutine until it waits for more."""

    def take(scene: Scene) -> None:
        assert scene.loop is not None
        coroutine = how(scene)
        task = None
        try:
            task = scene.loop.create_task(coroutine)
            scene.loop.run_until_complete(task)
        except Idle:
            pass
        finally:
            coroutine.close() if task is None else task.cancel()

    return take


AWAITED: dict[str, Callable[[Scene], None]] = {
    "receive": awaited(_receive),
    "next_event": awaited(_next_event),
    "iteration": awaited(_iteration),
    "events": awaited(_events),
    "run": awaited(_run),
}


def check(scene: Scene, where: str, *, in_hand: int = 0) -> None:
    """Nothing twice; the account balances, and says of every message what became of it.

    Args:
        scene: what was interrupted.
        where: at which place.
        in_hand: how many messages the interruption may have taken out of the consumer's hand.
    """
    assert max(Counter(scene.got).values(), default=1) == 1, where
    ledger = scene.receiver.ledger() if scene.receiver.closed else scene.settled()
    assert ledger.balanced(), where
    assert ledger.queued == 0, (where, ledger)
    assert scene.receiver.closed or ledger.pending == 0, (where, ledger)
    assert 0 <= ledger.delivered - len(scene.got) <= in_hand, (where, ledger.delivered, scene.got)
    assert 0 <= ledger.handler_errors <= in_hand


def works(scene: Scene, where: str) -> None:
    """What comes afterwards is received; a closed receiver says so, and its address is free."""
    if scene.receiver.closed:
        Receiver(scene.url).close()
    else:
        Hand(scene.url, 99).data("afterwards")
    got = list(scene.got)
    (AWAITED if scene.loop is not None else WAYS)["receive"](scene)
    assert scene.got[len(got) :] == ([] if scene.receiver.closed else ["afterwards"]), where
