"""The ends of a link: where datagrams come from and where they go to."""

import socket

import pytest

from tests.lab.scripted import Sink


@pytest.fixture
def sink():
    """A target to forward to."""
    sink = Sink()
    yield sink
    sink.socket.close()


@pytest.fixture
def source():
    """A socket to send from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        yield sending
