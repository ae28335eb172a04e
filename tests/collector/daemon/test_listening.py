"""Sockets of foreign protocols: a turn is bounded by time, and a Unix socket's short queue is said when it fills."""

import socket
import time
from collections import deque

import pytest

from atmost.collector.listening import READERS, DecodingReader, ForeignListener, bind_foreign
from atmost.collector.options import CollectorOptions, Place
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.state import CollectorState
from tests.collector.daemon.scene import collecting
from tests.real import BOUND, until


class Slow(DecodingReader):
    """Takes longer than a turn for two datagrams, as a stranger's worst do."""

    def __init__(self):
        self.state = CollectorState(CollectorOptions(), 0.0, 0.0)
        self.decoded, self.applied = [], []

    def decode(self, datagram, _address, _stats, _now):
        """Notes when it was decoded and when its values were taken."""
        time.sleep(0.006)
        self.decoded.append(datagram)
        return lambda: self.applied.append(datagram)


def test_a_turn_is_bounded_by_time(tmp_path):
    """What costs long is decoded over several turns, in order, and none of it is lost."""
    path = tmp_path / "s.sock"
    read = Slow()
    listener = bind_foreign("statsd", Place(path=str(path)), read)
    assert isinstance(listener, ForeignListener)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(str(path))
            sent = [b"%d" % number for number in range(8)]
            for datagram in sent:
                sock.send(datagram)
        turns = 1
        while listener.turn(0.0, 0.0):
            assert len(read.decoded) <= 2 * turns
            turns += 1
        assert turns >= 4
        assert read.applied == read.decoded == sent
        assert listener.stats.received == 8
    finally:
        listener.close()


@pytest.mark.needs("linux")
def test_a_full_queue_of_a_unix_socket_is_said(tmp_path, caplog):
    """Once, with the setting that mends it; what had been taken into the queue is all there."""
    path = tmp_path / "s.sock"
    with collecting(statsd=(str(path),)) as collector:
        state = collector.daemon.state
        (stats,) = state.listeners
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(str(path))
            sock.setblocking(False)
            accepted, refused = 0, False
            end = time.monotonic() + BOUND
            while not refused:
                assert time.monotonic() < end, "the queue was never full"
                # The receiving thread stands still at its first datagram; or before it, when something else was due: again then.
                with state.lock:
                    turn = time.monotonic() + 1.0
                    while not refused and time.monotonic() < turn:
                        try:
                            sock.send(b"a:1|c")
                        except BlockingIOError:
                            # Not until the thread waits for the lock is the queue nobody's.
                            refused = stats.received > 0
                        else:
                            accepted += 1
            until(lambda: stats.accepted == accepted)
            until(lambda: state.warnings)
        [warning] = state.warnings.values()
        assert "net.unix.max_dgram_qlen" in warning
        assert str(path) in warning
        assert sum("max_dgram_qlen" in each.getMessage() for each in caplog.records) <= 1


def test_every_protocol_has_a_reader_for_each_of_its_places():
    """None of them is shared."""
    state = CollectorState(CollectorOptions(), 0.0, 0.0)
    for make in READERS.values():
        assert make(state, Place()) is not make(state, Place())


def test_only_a_roomy_socket_is_patient(tmp_path, monkeypatch):
    """Datagrams gather in the kernel's buffer where it has the size that was asked for; a Unix socket's queue is too short."""
    read = Slow()
    for warning, place, patient in (
        (None, Place("127.0.0.1"), True),
        ("the kernel granted less", Place("127.0.0.1"), False),
        (None, Place(path=str(tmp_path / "s.sock")), False),
    ):
        monkeypatch.setattr("atmost.transport.sockets.ask_receive_buffer", lambda _, warning=warning: warning)
        listener = bind_foreign("statsd", place, read)
        try:
            assert listener.patient is patient
        finally:
            listener.close()


def test_datagrams_that_gather_are_all_taken():
    """In quick succession over UDP, between datagrams of a Unix socket, and at the end."""
    with collecting(statsd=("127.0.0.1:0",), syslog=("127.0.0.1:0",)) as collector:
        for number in range(300):
            collector.send("statsd", b"a:%d|c" % number)
            collector.send("syslog", b"<13>line %d" % number)
        state = collector.daemon.state
        until(lambda: [each.accepted for each in state.listeners] == [300, 300])
        with state.lock:
            assert state.statsd.series["a", "counter", ()].value == sum(range(300))


def test_lines_for_the_parser_hold_up_neither_the_queue_nor_the_turn(monkeypatch):
    """Members of sets are parsed one by one: in between the queue is emptied, and when the turn is over the rest is left, in order."""
    state = CollectorState(CollectorOptions(), 0.0, 0.0)
    read = READERS["statsd"](state, Place(path="/s.sock"))
    clock = iter(range(1_000_000))
    monkeypatch.setattr("atmost.collector.listening.time.monotonic", lambda: next(clock) * 0.002)
    sent = [(b"users:u%d|s" % number, ("127.0.0.1", 1)) for number in range(40)]
    waiting, emptied, turns = deque(sent), [], 0
    stats = ListenerStats("statsd", "x")
    while waiting:
        before = len(waiting)
        read.feed(waiting, stats, 1.0, lambda: emptied.append(len(waiting)))
        turns += 1
        assert before - 12 < len(waiting) < before
        assert list(waiting) == sent[40 - len(waiting) :]
    assert turns >= 4
    assert len(emptied) >= 40
    assert state.statsd.largest_set == 40


@pytest.mark.parametrize("long_line", [b"", b"x" * 9000])
def test_a_long_datagram_of_statsd_is_read_over_several_turns(monkeypatch, long_line):
    """Whole lines at a time, none lost or read twice, the one that is too long refused; what follows waits for its turn."""
    state = CollectorState(CollectorOptions(), 0.0, 0.0)
    read = READERS["statsd"](state, Place(path="/s.sock"))
    clock = iter(range(1_000_000))
    monkeypatch.setattr("atmost.collector.listening.time.monotonic", lambda: next(clock) * 0.011)
    lines = [b"users:u%d|s" % number for number in range(4000)]
    datagram = b"\n".join([*lines[:2000], *([long_line] if long_line else []), *lines[2000:], b""])
    waiting, turns = deque([(datagram, ("127.0.0.1", 1)), (b"last:1|c", ("127.0.0.1", 1))]), 0
    stats = ListenerStats("statsd", "x")
    while waiting:
        assert waiting[-1][0] == b"last:1|c"
        read.feed(waiting, stats, 1.0, None)
        turns += 1
    assert turns >= len(datagram) // 8192
    assert stats.accepted == 4001
    assert dict(stats.rejected) == ({"line_too_long": 1} if long_line else {})
