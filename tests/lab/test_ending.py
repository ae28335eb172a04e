"""What ends a process of the lab."""

import os
import signal
import socket

import pytest

from atmost.lab.process import StopSignals, watch_input


@pytest.fixture
def handlers():
    """The signals are given back whatever the test did to them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def standard_input():
    """A function that makes a file number the standard input, until the end of the test."""
    kept = os.dup(0)
    yield lambda number: os.dup2(number, 0)
    os.dup2(kept, 0)
    os.close(kept)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop_and_nothing_more(handlers, number):
    """It ends no process and raises nothing; afterwards the signals are whoever's they were."""
    signal.signal(number, signal.default_int_handler)
    with StopSignals() as stop:
        assert not stop.asked
        signal.raise_signal(number)
        assert stop.asked
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_signal_that_is_ignored_stays_ignored(handlers):
    """Ctrl-C reaches every process of the terminal; the one that started the others may want to handle it alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert not stop.asked
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_pipe_ends_when_its_other_end_is_closed(standard_input):
    """What is written to it is read and means nothing."""
    reading, writing = os.pipe()
    standard_input(reading)
    os.close(reading)
    ended = watch_input()
    assert not ended()
    os.write(writing, b"anything\n")
    assert not ended()
    assert not ended()
    os.close(writing)
    assert ended()


def test_a_socket_ends_when_its_other_end_is_reset(standard_input):
    """A parent that went without reading everything is gone all the same."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        standard_input(ours.fileno())
        ended = watch_input()
        assert not ended()
        ours.send(b"never read")
        theirs.close()
        assert ended()


def test_a_device_or_a_file_never_ends(standard_input, tmp_path):
    """A service whose input is /dev/null, which is always at its end, runs on."""
    path = tmp_path / "input"
    path.touch()
    for name in (os.devnull, path):
        number = os.open(name, os.O_RDONLY)
        standard_input(number)
        os.close(number)
        assert not watch_input()()


def test_a_closed_input_never_ends(standard_input):
    """Nor does a file that takes its number afterwards confuse anybody."""
    os.close(0)
    ended = watch_input()
    reading, writing = os.pipe()
    os.close(writing)
    assert not ended()
    os.close(reading)
