"""The one background thread of a sender: started by the first deadline, ended with its sender."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from atmost.endpoint.flusher import Flusher
from tests.real import BOUND, until


class Clockwork:
    """Counts its turns, and asks to be called again after `again` seconds, or never."""

    def __init__(self, again: float | None = None) -> None:
        self.again = again
        self.turns = 0
        self.flusher = Flusher(self)

    def _tick(self) -> float | None:
        self.turns += 1
        return None if self.again is None else time.monotonic() + self.again


@pytest.fixture
def clockwork() -> Iterator[Clockwork]:
    """Something with a flusher that has not begun."""
    clockwork = Clockwork()
    yield clockwork
    clockwork.flusher.stop()
    until(lambda: not running())


def running() -> list[threading.Thread]:
    """Return the flusher threads of this process."""
    return [thread for thread in threading.enumerate() if thread.name == "atmost-flusher"]


def test_without_a_deadline_there_is_no_thread(clockwork: Clockwork) -> None:
    """Whoever only constructs a sender gets none (R9)."""
    clockwork.flusher.wake_at(None)
    assert not running()
    assert clockwork.turns == 0


def test_the_first_deadline_starts_one_thread(clockwork: Clockwork) -> None:
    """A daemon, which does not keep a program alive; further deadlines start no other."""
    for _ in range(3):
        clockwork.flusher.wake_at(time.monotonic())
    (thread,) = running()
    assert thread.daemon
    until(lambda: clockwork.turns)
    clockwork.flusher.wake_at(time.monotonic())
    assert running() == [thread]


def test_an_earlier_deadline_wakes_it_and_a_later_one_does_not(clockwork: Clockwork) -> None:
    """It sleeps until the earliest."""
    clockwork.flusher.wake_at(time.monotonic() + 1000)
    until(lambda: clockwork.flusher.comes_at > time.monotonic() + 2000)
    turns = clockwork.turns
    clockwork.flusher.wake_at(time.monotonic() + 1000)
    clockwork.flusher.wake_at(time.monotonic() + 2000)
    assert clockwork.flusher.comes_at < time.monotonic() + 1000
    clockwork.flusher.wake_at(time.monotonic())
    until(lambda: clockwork.turns > turns)


def test_it_comes_again_as_often_as_it_is_asked_to(clockwork: Clockwork) -> None:
    """What a turn returns is the next deadline."""
    clockwork.again = 0.001
    clockwork.flusher.wake_at(time.monotonic())
    until(lambda: clockwork.turns > 20)


def test_a_wake_up_during_a_turn_is_not_lost() -> None:
    """Whoever finds it at work relies on the look it takes before it sleeps again."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Clockwork):
        def _tick(self) -> float | None:
            begun.set()
            go_on.wait(BOUND)
            return super()._tick()

    slow = Slow()
    slow.flusher.wake_at(time.monotonic())
    begun.wait(BOUND)
    slow.flusher.wake_at(time.monotonic())
    go_on.set()
    until(lambda: slow.turns >= 2)
    slow.flusher.stop()
    until(lambda: not running())


def test_it_ends_when_it_is_stopped(clockwork: Clockwork) -> None:
    """At its next turn, however long it would have slept; and it is not woken again."""
    clockwork.flusher.wake_at(time.monotonic() + 1000)
    until(running)
    clockwork.flusher.stop()
    until(lambda: not running())
    clockwork.flusher.wake_at(time.monotonic())
    assert not running()


def test_it_ends_with_its_sender() -> None:
    """It holds it weakly: nobody has to close what nobody holds."""
    clockwork = Clockwork(again=0.001)
    gone = weakref.ref(clockwork)
    clockwork.flusher.wake_at(time.monotonic())
    until(lambda: gone().turns)  # type: ignore[union-attr]
    del clockwork
    gc.collect()
    until(lambda: gone() is None)
    until(lambda: not running())


def test_threads_that_have_run_out_are_asked_for_again(clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing raises: the next deadline tries again."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        clockwork.flusher.wake_at(time.monotonic())
    assert not running()
    clockwork.flusher.wake_at(time.monotonic())
    until(lambda: clockwork.turns)
