"""Binding a UDP address: exclusively, and each refusal with its class and what to do."""

import errno
import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing

import pytest

from atmost.errors import AddressError, AddressInUse, BindError
from atmost.transport.url import open_inlet
from tests.real import program, raw_receiver, url_of

HOLD = """
import sys
from atmost.transport.url import open_inlet
inlet = open_inlet(sys.argv[1])
print(inlet.url, flush=True)
sys.stdin.read()
"""


@pytest.mark.needs("linux")
def test_an_address_in_use_names_its_holder() -> None:
    """By name and process id, so that it can be stopped."""
    with program(HOLD, "udp://127.0.0.1:0") as other:
        url = other.line()
        with pytest.raises(AddressInUse) as refused:
            open_inlet(url)
        assert refused.value.url == url
        assert refused.value.holder is not None
        assert refused.value.holder.endswith(f"(pid {other.pid})")
        assert str(refused.value) == (
            f"{url} is in use by {refused.value.holder}: stop that receiver, or bind another address"
        )


@pytest.mark.parametrize(
    ("held", "asked"),
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "0.0.0.0")],
)
def test_a_second_receiver_is_refused(held: str, asked: str) -> None:
    """Also where a wildcard covers an address: each would process the same messages (H2)."""
    with closing(open_inlet(f"udp://{held}:0")) as first:
        port = first.url.rsplit(":", 1)[1]
        with pytest.raises(AddressInUse):
            open_inlet(f"udp://{asked}:{port}")


@pytest.mark.needs("ipv6")
@pytest.mark.parametrize(("held", "asked"), [("[::1]", "[::1]"), ("[::1]", "[::]"), ("[::]", "[::1]")])
def test_a_second_receiver_is_refused_on_ipv6(held: str, asked: str) -> None:
    """As on IPv4."""
    with closing(open_inlet(f"udp://{held}:0")) as first:
        port = first.url.rsplit(":", 1)[1]
        with pytest.raises(AddressInUse):
            open_inlet(f"udp://{asked}:{port}")


@pytest.mark.needs("ipv6")
def test_ipv6_takes_only_ipv6() -> None:
    """An address means one protocol: a receiver of each may have the same port."""
    with closing(open_inlet("udp://[::]:0")) as six:
        port = six.url.rsplit(":", 1)[1]
        with closing(open_inlet(f"udp://0.0.0.0:{port}")) as four:
            assert four.url == f"udp://0.0.0.0:{port}"


@pytest.mark.parametrize("option", ["SO_REUSEADDR", "SO_REUSEPORT"])
def test_nobody_can_squeeze_in_beside_a_receiver(option: str) -> None:
    """Neither option is set (R10), so that a socket which sets it is refused as well."""
    number = getattr(socket, option)
    with (
        closing(open_inlet("udp://127.0.0.1:0")) as first,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as intruder,
    ):
        assert first._sock.getsockopt(socket.SOL_SOCKET, number) == 0  # type: ignore[attr-defined]
        intruder.setsockopt(socket.SOL_SOCKET, number, 1)
        with pytest.raises(OSError, match="in use"):
            intruder.bind(("127.0.0.1", int(first.url.rsplit(":", 1)[1])))


def test_a_receiver_does_not_squeeze_in_beside_others() -> None:
    """Whoever holds the address with SO_REUSEADDR meant his own kind."""
    with raw_receiver() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(AddressInUse):
            open_inlet(url_of(holder))


@pytest.mark.needs("multicast")
def test_a_group_has_one_receiver_a_port_on_this_host() -> None:
    """One audience, one receiver: two would each process the same message."""
    with (
        closing(open_inlet("udp://239.255.71.40:0?interface=lo")) as first,
        pytest.raises(AddressInUse),
    ):
        open_inlet(first.url)


def test_an_address_is_free_as_soon_as_its_receiver_has_closed() -> None:
    """A restart needs no patience."""
    first = open_inlet("udp://127.0.0.1:0")
    first.close()
    with closing(open_inlet(first.url)) as second:
        assert second.url == first.url


def test_an_address_is_free_as_soon_as_its_receiver_was_killed() -> None:
    """Nothing is left behind that would have to be cleaned up."""
    with program(HOLD, "udp://127.0.0.1:0") as other:
        url = other.line()
        os.kill(other.pid, signal.SIGKILL)
        other.process.wait()
        open_inlet(url).close()


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[socket.socket]]:
    """A function that makes the kernel refuse to bind with an errno; it returns the sockets made from then on."""
    made: list[socket.socket] = []

    def refuse(number: int) -> list[socket.socket]:
        class Refused(socket.socket):
            def bind(self, _address: object) -> None:
                made.append(self)
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(socket, "socket", Refused)
        return made

    return refuse


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (errno.EACCES, "no permission: ports below 1024 need root or CAP_NET_BIND_SERVICE"),
        (errno.EADDRNOTAVAIL, "this host has no such address"),
        (errno.ENODEV, "No such device"),
    ],
)
def test_a_refusal_says_what_to_do(number: int, problem: str, refuse: Callable[[int], list[socket.socket]]) -> None:
    """In one line, and the socket is closed."""
    made = refuse(number)
    with pytest.raises(BindError) as refused:
        open_inlet("udp://127.0.0.1:7140")
    assert refused.value.problem == problem
    assert str(refused.value) == f"cannot receive on udp://127.0.0.1:7140: {problem}"
    assert [sock.fileno() for sock in made] == [-1]


def test_an_address_of_another_host_is_refused() -> None:
    """By the kernel itself; the address is reserved for documentation."""
    with pytest.raises(BindError, match="this host has no such address"):
        open_inlet("udp://192.0.2.254:0")


@pytest.mark.parametrize("option", ["interface=lo", "ttl=1"])
def test_options_for_groups_are_refused_for_other_addresses(option: str) -> None:
    """As for sending: an option without effect would be a lie."""
    with pytest.raises(AddressError, match="interface and ttl are for multicast groups"):
        open_inlet(f"udp://127.0.0.1:0?{option}")
