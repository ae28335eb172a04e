"""The background thread that is woken: started by the first deadline, ended with its owner; and the rhythm over it."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.endpoint.background import Background, Rhythm, next_due
from tests.harness import raise_in
from tests.real import BOUND, until


class Clockwork:
    """Counts its turns, and asks to be called again after `again` seconds, or never."""

    def __init__(self, again: float | None = None) -> None:
        self.again = again
        self.turns = 0
        self.background = Background(self, type(self)._tick, "atmost-test")

    def _tick(self) -> float | None:
        self.turns += 1
        return None if self.again is None else time.monotonic() + self.again


@pytest.fixture
def clockwork() -> Iterator[Clockwork]:
    """Something with a flusher that has not begun."""
    clockwork = Clockwork()
    yield clockwork
    clockwork.background.stop()
    until(lambda: not running())


def running() -> list[threading.Thread]:
    """Return the flusher threads of this process."""
    return [thread for thread in threading.enumerate() if thread.name == "atmost-test"]


def test_without_a_deadline_there_is_no_thread(clockwork: Clockwork) -> None:
    """Whoever only constructs a sender gets none (R9)."""
    clockwork.background.wake_at(None)
    assert not running()
    assert clockwork.turns == 0


def test_the_first_deadline_starts_one_thread(clockwork: Clockwork) -> None:
    """A daemon, which does not keep a program alive; further deadlines start no other."""
    for _ in range(3):
        clockwork.background.wake_at(time.monotonic())
    (thread,) = running()
    assert thread.daemon
    until(lambda: clockwork.turns)
    clockwork.background.wake_at(time.monotonic())
    assert running() == [thread]


def test_an_earlier_deadline_wakes_it_and_a_later_one_does_not(clockwork: Clockwork) -> None:
    """It sleeps until the earliest."""
    clockwork.background.wake_at(time.monotonic() + 1000)
    until(lambda: clockwork.background.comes_at > time.monotonic() + 2000)
    turns = clockwork.turns
    clockwork.background.wake_at(time.monotonic() + 1000)
    clockwork.background.wake_at(time.monotonic() + 2000)
    assert clockwork.background.comes_at < time.monotonic() + 1000
    clockwork.background.wake_at(time.monotonic())
    until(lambda: clockwork.turns > turns)


def test_it_comes_again_as_often_as_it_is_asked_to(clockwork: Clockwork) -> None:
    """What a turn returns is the next deadline."""
    clockwork.again = 0.001
    clockwork.background.wake_at(time.monotonic())
    until(lambda: clockwork.turns > 20)


def test_a_wake_up_during_a_turn_is_not_lost() -> None:
    """Whoever finds it at work relies on the look it takes before it sleeps again."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Clockwork):
        def _tick(self) -> float | None:
            begun.set()
            assert go_on.wait(BOUND)
            return super()._tick()

    slow = Slow()
    slow.background.wake_at(time.monotonic())
    assert begun.wait(BOUND)
    slow.background.wake_at(time.monotonic())
    go_on.set()
    until(lambda: slow.turns >= 2)
    slow.background.stop()
    until(lambda: not running())


def test_it_ends_when_it_is_stopped(clockwork: Clockwork) -> None:
    """At its next turn, however long it would have slept; and it is not woken again."""
    clockwork.background.wake_at(time.monotonic() + 1000)
    until(running)
    clockwork.background.stop()
    until(lambda: not running())
    clockwork.background.wake_at(time.monotonic())
    assert not running()


def test_it_ends_with_its_sender() -> None:
    """It holds it weakly: nobody has to close what nobody holds."""
    clockwork = Clockwork(again=0.001)
    gone = weakref.ref(clockwork)
    clockwork.background.wake_at(time.monotonic())
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
        clockwork.background.wake_at(time.monotonic())
    assert not running()
    clockwork.background.wake_at(time.monotonic())
    until(lambda: clockwork.turns)


class Owner:
    """Counts its turns."""

    def __init__(self):
        self.turns = 0

    def turn(self):
        """One of them."""
        self.turns += 1


def threads(name):
    """Those of that name that live."""
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_turns_come_until_it_is_stopped():
    """Starting twice makes no second thread."""
    owner = Owner()
    rhythm = Rhythm(owner, Owner.turn, 0.005, "rhythm-stopped")
    assert rhythm.start()
    assert rhythm.start()
    assert len(threads("rhythm-stopped")) == 1
    until(lambda: owner.turns >= 3)
    rhythm.stop()
    until(lambda: not threads("rhythm-stopped"))


def test_it_ends_with_its_owner():
    """Which it does not hold: its thread goes without being told, long before its next turn."""
    owner = Owner()
    rhythm, gone = Rhythm(owner, Owner.turn, 3600.0, "rhythm-orphan"), weakref.ref(owner)
    rhythm.start()
    del owner
    gc.collect()
    assert gone() is None
    until(lambda: not threads("rhythm-orphan"))


def test_where_there_is_no_thread_to_be_had_the_next_start_tries_again(monkeypatch):
    """It says so, and raises nothing."""
    owner = Owner()
    rhythm = Rhythm(owner, Owner.turn, 0.005, "rhythm-later")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda _self: (_ for _ in ()).throw(RuntimeError("no more")))
        assert not rhythm.start()
    assert rhythm.start()
    until(lambda: owner.turns)
    rhythm.stop()


@given(st.floats(0, 1e6), st.floats(0.001, 1000), st.floats(0, 1e6))
def test_the_next_turn_is_the_first_of_the_rhythm_that_is_not_past(due, interval, now):
    """A whole number of intervals after the one that was due."""
    found = next_due(due, interval, now)
    assert found > due
    assert found > now or found == pytest.approx(now, rel=1e-9)
    steps = (found - due) / interval
    assert steps == pytest.approx(round(steps), rel=1e-6, abs=1e-6)
    assert found - interval <= max(due, now) * (1 + 1e-9) + interval * 1e-9


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_ended_from_outside_is_replaced(clockwork: Clockwork, error: type[BaseException]) -> None:
    """Callers may rely on its next turn."""
    clockwork.background.wake_at(time.monotonic())
    (thread,) = running()
    until(lambda: clockwork.turns >= 2)
    raise_in(thread, error)
    clockwork.background.wake_at(time.monotonic())
    until(lambda: not thread.is_alive())
    (other,) = until(running)
    turns = clockwork.turns
    clockwork.background.wake_at(time.monotonic())
    until(lambda: clockwork.turns > turns)
    assert running() == [other]


class Untimely(Exception):
    """What a debugger raises in a thread."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_ended_before_its_first_step_is_replaced(clockwork: Clockwork) -> None:
    """No `try` of its own has begun there."""
    ended: list[threading.Thread] = []

    def end_the_first(frame: FrameType, _event: str, _argument: object) -> None:
        if frame.f_code.co_name == "_run" and not ended:
            ended.append(threading.current_thread())
            raise Untimely

    threading.settrace(end_the_first)
    try:
        clockwork.background.wake_at(time.monotonic() + 0.001)
    finally:
        threading.settrace(None)  # type: ignore[arg-type]
    until(lambda: clockwork.turns)
    assert ended
    ended[0].join(BOUND)  # the other one may begin before it is quite gone
    assert not ended[0].is_alive()
