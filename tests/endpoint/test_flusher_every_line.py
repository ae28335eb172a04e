"""The background thread of a sender, interrupted at its lines: by an exception, a close, a nested call and a fork (R8, R9).

Signals come into the main thread only, but another thread can raise an exception here (`PyThreadState_SetAsyncExc`), a tracer or
debugger can, a finalizer can run in here and call anything, and every thread may be at any line when another one forks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.endpoint.test_sender_every_line import FILES, Scene
from tests.harness import Forked, Interruption
from tests.interrupting import Place, chosen
from tests.real import until

LINES = 320
"""The thread comes to so many lines within a second: it hands over, holds, offers again, and sends beacons."""

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
"""What ends a thread is shown, and another thread takes over."""


class Thrown(Exception):
    """What another thread has raised in this one."""


@pytest.fixture(autouse=True)
def _untraced() -> Iterator[None]:
    """Give the tracer of a coverage run back."""
    before = sys.gettrace()
    yield
    sys.settrace(before)


def throws(_scene: Scene) -> None:
    """Interrupt by an exception."""
    raise Thrown


ACTIONS: dict[str, Callable[[Scene], object]] = {
    "exception": throws,
    "close": lambda scene: scene.sender.close(0),
    "send": lambda scene: scene.say(),
    "flush": lambda scene: scene.sender.flush(),
    "stats": lambda scene: scene.sender.stats(),
}


def play(at: int | Place, action: Callable[[Scene], object]) -> Interruption:
    """Interrupt the thread of a new sender at a line, or at the last of `LINES` where a chosen one does not come."""
    scenes: list[Scene] = []
    interruption = Interruption(at, lambda: action(scenes[0]), FILES, at_latest=LINES)
    scene = Scene(0.005, then=scenes.append, tracing=interruption.tracing_threads)
    until(lambda: interruption.is_over)
    try:
        if not scene.sender._core.closed:
            # It goes on: what is sent now leaves without any other call.
            scene.say(2)
            until(lambda: scene.sender.stats().open == 0)
        scene.check(interrupted=action is throws)
    except AssertionError as error:
        error.add_note(f"at {at}, {interruption.where}")
        raise
    return interruption


def play_fork(at: int | Place) -> Interruption:
    """Fork the thread of a new sender at a line: the child, in which no other thread is, has a sender with nothing of its parent's."""
    scenes: list[Scene] = []

    def tell() -> dict[str, Any]:
        scene = scenes[0]
        before = len(scene.road.taken)
        scene.road.open()
        scene.sender.send("a.b", ["child's"])
        scene.sender.flush()
        scene.sender.close(0)
        stats = scene.sender.stats()
        scene.road.taken = scene.road.taken[before:]
        sent = [payload[0] for payload in scene.delivered()]
        return {"sent": sent, "offered": stats.offered, "open": stats.open}

    fork = Forked(tell, past_the_hook=False)

    def forks() -> None:
        fork()
        if fork.pid == 0:
            fork.finish()

    interruption = Interruption(at, forks, FILES, at_latest=LINES)
    scene = Scene(0.005, then=scenes.append, tracing=interruption.tracing_threads)
    until(lambda: interruption.is_over)
    told = fork.finish()
    try:
        scene.check(interrupted=False)
        assert told == {"sent": ["child's"], "offered": 1, "open": 0}
    except AssertionError as error:
        error.add_note(f"forked at {at}, {interruption.where}: {told}")
        raise
    return interruption


can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_sample_of_lines(action: str) -> None:
    """Every sixty-first: nothing is sent twice, the account balances, and the thread goes on or the sender is closed."""
    assert len({play(at, ACTIONS[action]).where for at in range(1, LINES, 61)}) > 1


@can_fork
def test_a_sample_of_forks() -> None:
    """Every sixty-first: nothing of the parent's leaves the child."""
    for at in range(1, LINES, 61):
        play_fork(at)


def each(play_at: Callable[[int | Place], Interruption]) -> None:
    """Play at each of the lines, a few times where the thread comes to one again and again."""
    passed = play(LINES, ACTIONS["stats"]).passed
    wheres = [play_at(place).where for _, place in chosen({"": passed}, 4, "")]
    print(f"{len(wheres)} places interrupted")  # noqa: T201  shown by `pytest -rP`
    assert len(set(wheres)) > 60


@pytest.mark.slow
@pytest.mark.parametrize("action", ACTIONS)
def test_every_line(action: str) -> None:
    """All of them."""
    each(lambda at: play(at, ACTIONS[action]))


@pytest.mark.slow
@can_fork
def test_a_fork_at_every_line() -> None:
    """All of them."""
    each(play_fork)
