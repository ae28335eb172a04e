"""A link's thread comes through what a server, and a crowded process, may do to it."""

import os
import resource
import socket
from contextlib import closing, suppress
from itertools import count

import pytest

from atmost.transport.nats import link as link_module
from atmost.transport.nats.dial import Connection, DialError
from atmost.transport.nats.link import Link
from atmost.transport.nats.outlet import _Sending
from atmost.transport.nats.url import Server, parse_nats
from atmost.transport.nats.wire import Cutter
from tests.interrupting import At, Interruption

ADDRESS = parse_nats("nats://127.0.0.1:1/test?ping=0.1")


@pytest.fixture
def crowd():
    """More descriptors than `select` knows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], min(2048, before[1])), before[1]))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for fd in held:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("crowd")
def test_a_process_may_have_many_descriptors():
    """A connection whose number is above 1023 is waited for like any other, where it is written to and where it ends."""
    near, far = socket.socketpair()
    assert near.fileno() > 1023
    near.setblocking(False)
    connection = Connection(near, Cutter(), Server("127.0.0.1", 1), {})
    link = Link(ADDRESS, _Sending(ADDRESS), "test")
    with closing(connection), far:
        while connection.write(bytes(4096)):
            pass
        with pytest.raises(DialError, match="accepts no more data"):
            link._write(connection, [b"PONG\r\n"])
        link._finish(connection)
    link.close()


def test_a_connection_that_held_ends_the_long_pauses(monkeypatch):
    """The next outage is one of its own, and its server is tried again soon."""
    monkeypatch.setattr(link_module, "_HOLDS", 0.0)
    link = Link(ADDRESS, _Sending(ADDRESS), "test")
    for _ in range(10):
        link._outages.pause()
    near, far = socket.socketpair()
    near.setblocking(False)
    far.close()
    link._serve(Connection(near, Cutter(), Server("127.0.0.1", 1), {}))
    assert link.losses == 1
    assert link._outages.pause() <= 0.1
    link.close()


def test_a_fault_of_ours_is_answered_as_a_lost_connection_is(monkeypatch):
    """Every server has its turn, and the pauses between the rounds grow: no server is asked again and again."""
    address = parse_nats("nats://127.0.0.1:1,127.0.0.1:2/test")
    link = Link(address, _Sending(address), "test")
    asked, pauses = [], []

    def faulty(_address, server, _name):
        asked.append(server.port)
        raise MemoryError

    def pause(seconds):
        pauses.append(seconds)
        link._stopped = len(pauses) == 3

    monkeypatch.setattr(link_module, "dial", faulty)
    monkeypatch.setattr(link, "_pause", pause)
    link._keep_connected()
    assert sorted(asked) == [1, 1, 1, 2, 2, 2]
    assert len(pauses) == 3
    assert link.refusal == link_module.NOT_CONNECTED
    link._waker.close()


def test_no_signal_leaves_a_turn_taken():
    """Raised at any place where one can come in while a thread waits for its turn, or has it."""
    link = Link(ADDRESS, _Sending(ADDRESS), "test")
    for place in count(1):
        with suppress(Interruption), At(place, throws, files=link_module.__file__) as at, link._alone(0.0):
            pass
        assert not link._tickets, at.where
        if not at.reached:
            break
    assert place > 1
    link.close()


def throws():
    """What a signal handler does."""
    raise Interruption
