"""Sockets of a collector, for the real clients."""

import socket

import pytest

from tests.real import BOUND, raw_receiver


@pytest.fixture
def udp():
    """A plain UDP socket, as a collector's."""
    with raw_receiver() as sock:
        yield sock


@pytest.fixture
def unix(tmp_path):
    """A Unix datagram socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "dsd.sock"))
        sock.settimeout(BOUND)
        yield sock
