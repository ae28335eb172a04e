"""What ends a program: the first signal asks, a second Ctrl-C insists."""

import signal
from types import SimpleNamespace

import pytest

from atmost.endpoint import serving


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be set."""
    now = [100.0]
    monkeypatch.setattr(serving, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_second_ctrl_c_insists(clock):
    """Once it cannot be the first one any more."""
    with serving.ended_by_signals(lambda: None):
        signal.raise_signal(signal.SIGINT)
        clock[0] += serving.INSISTS_AFTER
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_one_ctrl_c_that_is_told_twice_asks_only(clock):
    """As timeout(1) tells it: to the process, and to its group."""
    with serving.ended_by_signals(lambda: None):
        signal.raise_signal(signal.SIGINT)
        clock[0] += serving.INSISTS_AFTER / 2
        signal.raise_signal(signal.SIGINT)


def test_a_key_that_is_held_down_insists_too(clock):
    """The time is that since the first one, however many come between."""
    with serving.ended_by_signals(lambda: None):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            clock[0] += serving.INSISTS_AFTER / 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
