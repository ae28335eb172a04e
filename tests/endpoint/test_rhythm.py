"""One thread a rhythm: even, one turn after a pause, and gone with its owner."""

import gc
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.endpoint.rhythm import Rhythm, next_due
from tests.real import until


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
    assert not rhythm.turn()


def test_it_ends_with_its_owner():
    """Which it does not hold: its thread goes without being told, long before its next turn."""
    owner = Owner()
    rhythm, gone = Rhythm(owner, Owner.turn, 3600.0, "rhythm-orphan"), weakref.ref(owner)
    rhythm.start()
    del owner
    gc.collect()
    assert gone() is None
    until(lambda: not threads("rhythm-orphan"))
    assert not rhythm.turn()


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
