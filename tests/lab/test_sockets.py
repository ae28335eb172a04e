"""What a link asks of the operating system."""

import socket
import sys

import pytest

from atmost.lab.link import ask_receive_buffer, kernel_drops, resolve


@pytest.mark.parametrize(
    ("url", "family", "address"),
    [
        ("udp://127.0.0.1:7140", socket.AF_INET, ("127.0.0.1", 7140)),
        ("udp://127.0.0.1:0", socket.AF_INET, ("127.0.0.1", 0)),
        ("udp://[::1]:7140", socket.AF_INET6, ("::1", 7140, 0, 0)),
    ],
)
def test_a_url_becomes_an_address(url, family, address):
    """IPv4 and IPv6 alike."""
    assert resolve("bind", url, lowest_port=0) == (family, address)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:7140", "tcp://127.0.0.1:7140", "udp://127.0.0.1", "udp://:7140", "udp://127.0.0.1:99999"]
)
def test_anything_else_is_refused_with_what_is_wanted(url):
    """The text names the option, what it must be, and what it was."""
    with pytest.raises(ValueError, match=r"^bind must be udp://host:port with a port from 0 to 65535, got ") as refused:
        resolve("bind", url, lowest_port=0)
    assert str(refused.value).endswith(repr(url))


def test_port_zero_is_no_target():
    """A datagram cannot be sent to a port yet to be chosen."""
    with pytest.raises(ValueError, match=r"^target must be udp://host:port with a port from 1 "):
        resolve("target", "udp://127.0.0.1:0", lowest_port=1)


def test_a_receive_buffer_is_granted_as_far_as_the_kernel_allows():
    """Asking never fails, for more than anyone gets either; the buffer is no smaller than before."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
        before = receiving.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        ask_receive_buffer(receiving, 4 * 1024 * 1024)
        assert receiving.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= before


def test_drops_of_the_kernel_are_told_or_said_to_be_unknown():
    """Linux counts what a full receive buffer cost; elsewhere the answer is None and never 0."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
    ):
        receiving.setblocking(False)
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        receiving.bind(("127.0.0.1", 0))
        for _ in range(100):
            sending.sendto(bytes(1000), receiving.getsockname())
        drops = kernel_drops(receiving)
        if sys.platform != "linux":
            assert drops is None
            return
        queued = 0
        while queued < 100:
            try:
                receiving.recv(2000)
            except BlockingIOError:
                break
            queued += 1
        assert 0 < queued < 100
        assert drops == 100 - queued


def test_a_closed_socket_tells_nothing():
    """An account asked for too late says unknown."""
    receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving.close()
    assert kernel_drops(receiving) is None
