"""A link's thread comes through what a server, and a crowded process, may do to it."""

import os
import resource
import socket
from contextlib import closing

import pytest

from atmost.transport.nats import link as link_module
from atmost.transport.nats.dial import Connection, DialError
from atmost.transport.nats.link import Link
from atmost.transport.nats.outlet import _Sending
from atmost.transport.nats.url import Server, parse_nats
from atmost.transport.nats.wire import Cutter

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
        with pytest.raises(DialError, match="takes nothing"):
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
