"""The sending end over UDP, and datagrams from one end to the other: IPv4, IPv6, multicast."""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from atmost.core.limits import MAX_DATAGRAM
from atmost.errors import AddressError
from atmost.transport import udp
from atmost.transport.base import NETWORK
from atmost.transport.sockets import SocketInlet
from atmost.transport.udp import UdpOutlet
from atmost.transport.url import open_inlet, open_outlet, parse_url
from tests.real import raw_receiver, until, url_of

ANY = "udp://127.0.0.1:9"
GROUP = "udp://239.255.71.40:0?interface=lo"


def outlet(url: str) -> UdpOutlet:
    """Return a sending end."""
    return UdpOutlet(parse_url(url))


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int | None]]:
    """The path's MTU as the kernel is made to tell it, changeable."""
    mtu: list[int | None] = [1500]
    monkeypatch.setattr(udp, "_path_mtu", lambda _sock, _family: mtu[0])
    return mtu


@pytest.mark.needs("linux")
@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("[::1]", marks=pytest.mark.needs("ipv6"))])
def test_datagrams_are_large_on_the_loopback_interface(host: str) -> None:
    """Its MTU is 65,536 bytes, and it never fragments (R2)."""
    with closing(outlet(f"udp://{host}:9")) as sending:
        assert sending.max_datagram == 61_440


@pytest.mark.parametrize(
    ("host", "mtu", "size"),
    [
        ("127.0.0.1", 1500, 1432),
        ("127.0.0.1", 9000, 1432),
        ("127.0.0.1", 1400, 1372),
        ("127.0.0.1", 576, 548),
        pytest.param("[::1]", 1500, 1432, marks=pytest.mark.needs("ipv6")),
        pytest.param("[::1]", 1280, 1232, marks=pytest.mark.needs("ipv6")),
    ],
)
def test_a_network_gets_what_nearly_every_path_takes(
    host: str, mtu: int, size: int, far_away: list[int | None]
) -> None:
    """1432 bytes, less where the path takes less; more only if somebody asks for it (R2)."""
    far_away[0] = mtu
    with closing(outlet(f"udp://{host}:9")) as sending:
        assert sending.max_datagram == size


@pytest.mark.parametrize(("same_host", "size"), [(True, 8192), (False, 1432)])
def test_where_the_system_does_not_tell_the_path_sizes_are_careful(
    same_host: bool, size: int, far_away: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS."""
    far_away[0] = None
    monkeypatch.setattr(udp, "_is_loopback", lambda _host: same_host)
    with closing(outlet(ANY)) as sending:
        assert sending.max_datagram == size
        assert sending.path_datagram() is None


@pytest.mark.needs("linux")
def test_what_the_path_cannot_take_is_refused_and_never_cut() -> None:
    """The kernel may not fragment: it says EMSGSIZE, and how much the path takes now (R2)."""
    with closing(outlet(ANY)) as sending:
        assert sending.send(bytes(MAX_DATAGRAM + 1)) == "EMSGSIZE"
        assert sending.path_datagram() == MAX_DATAGRAM
        assert sending._open[0].getsockopt(socket.IPPROTO_IP, 10) == 2


@pytest.mark.needs("linux", "ipv6")
def test_ipv6_takes_a_little_less_on_the_loopback_interface() -> None:
    """Its header is longer: the largest UDP datagram of IPv4 does not fit the MTU."""
    with closing(outlet("udp://[::1]:9")) as sending:
        assert sending.send(bytes(MAX_DATAGRAM)) == "EMSGSIZE"
        assert sending.path_datagram() == 65_536 - 48
        assert sending.send(bytes(65_536 - 48)) != "EMSGSIZE"


@pytest.mark.needs("linux")
def test_a_port_without_a_receiver_refuses_the_next_datagram() -> None:
    """The first one is on its way before anybody can know; the one that is told of it was not transmitted (R6)."""
    with raw_receiver() as gone:
        url = url_of(gone)
    with closing(outlet(url)) as sending:
        answers = [sending.send(b"x") for _ in range(4)]
    assert answers == [None, "ECONNREFUSED", None, "ECONNREFUSED"]


def test_a_full_socket_buffer_is_not_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket does not block: what it cannot take now is said to be so."""
    with closing(outlet(ANY)) as sending:
        assert sending._open[0].getblocking() is False

        def full(_datagram: bytes) -> int:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        monkeypatch.setattr(sending, "_send", full)
        assert sending.send(b"x") == "EAGAIN"


def test_a_closed_end_refuses_with_a_name() -> None:
    """Nothing raises, and it may be closed twice."""
    sending = outlet(ANY)
    sending.close()
    sending.close()
    assert sending.send(b"x") == "EBADF"


def test_port_zero_is_only_for_receiving() -> None:
    """Nobody can be reached there."""
    with pytest.raises(AddressError, match="port 0 is for receiving; a sender needs the receiver's port"):
        outlet("udp://127.0.0.1:0")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("udp://127.0.0.1:9?ttl=2", "interface and ttl are for multicast groups"),
        ("udp://127.0.0.1:9?interface=lo", "interface and ttl are for multicast groups"),
        ("udp://239.1.2.3:9?interface=lo&ttl=256", "ttl=256: expected a number from 0 to 255"),
        ("udp://239.1.2.3:9?interface=lo&ttl=-1", "ttl=-1: expected a number from 0 to 255"),
        ("udp://239.1.2.3:9?interface=lo&ttl=far", "ttl=far: expected a number from 0 to 255"),
        ("udp://" + "a" * 64 + ".org:9", f"cannot resolve {'a' * 64 + '.org'!r}: not a valid host name"),
    ],
)
def test_an_address_that_cannot_be_sent_to_gets_one_line(url: str, problem: str) -> None:
    """At construction, before anything is sent."""
    with pytest.raises(AddressError) as refused:
        outlet(url)
    assert refused.value.problem == problem


def test_broadcast_gets_one_line() -> None:
    """The system forbids it; without any network it has no way there."""
    with pytest.raises(AddressError) as refused:
        outlet("udp://255.255.255.255:9")
    assert refused.value.problem in {
        "cannot send there: Permission denied",
        "cannot send there: Network is unreachable",
    }


def test_an_unknown_interface_gets_the_list_of_those_there_are() -> None:
    """At both ends."""
    known = ", ".join(name for _, name in socket.if_nameindex())
    for open_end in (open_inlet, open_outlet):
        with pytest.raises(AddressError) as refused:
            open_end("udp://239.1.2.3:7140?interface=nowhere0")
        assert refused.value.problem == f"no interface 'nowhere0'; this host has: {known}"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The addresses that names stand for, first the preferred one; a name without any is unknown."""
    known: dict[str, list[str]] = {}
    really = socket.getaddrinfo

    def look_up(host: str, port: int, **options: Any) -> list[Any]:
        if host.replace(".", "").isdigit() or ":" in host:
            return really(host, port, **options)
        if not known.get(host):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [row for address in known[host] for row in really(address, port, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.usefixtures("names")
def test_a_receivers_name_that_cannot_be_resolved_gets_one_line() -> None:
    """With what the resolver said: a receiver that cannot receive does not pretend to."""
    with pytest.raises(AddressError) as refused:
        open_inlet("udp://collector.invalid:7140")
    assert str(refused.value) == (
        "'udp://collector.invalid:7140': cannot resolve 'collector.invalid': Name or service not known"
    )


def test_a_name_is_resolved_by_the_system() -> None:
    """`localhost` is this host, by whichever protocol the system prefers, at both ends the same."""
    with closing(open_inlet("udp://localhost:0")) as receiving:
        port = receiving.url.rsplit(":", 1)[1]
        with closing(outlet(f"udp://localhost:{port}")) as sending:
            assert sending.preset.one_clock
            sending.send(b"x")
            assert until(receiving.receive) == b"x"


@pytest.mark.parametrize(
    "url",
    [
        "udp://127.0.0.1:0",
        "udp://0.0.0.0:0",
        pytest.param("udp://[::1]:0", marks=pytest.mark.needs("ipv6")),
        pytest.param("udp://[::]:0", marks=pytest.mark.needs("ipv6")),
        pytest.param(GROUP, marks=pytest.mark.needs("multicast")),
    ],
)
def test_the_receivers_url_is_where_senders_reach_it(url: str) -> None:
    """With the port the system chose, and for a group the interface: both ends work with the same text."""
    with closing(open_inlet(url)) as receiving:
        assert ":0" not in receiving.url.replace("0.0.0.0", "")
        with closing(outlet(receiving.url)) as sending:
            datagram = os.urandom(1000)
            assert sending.send(datagram) is None
            assert until(receiving.receive) == datagram


@pytest.mark.parametrize(("url", "same_host"), [("udp://127.0.0.1:0", True), ("udp://0.0.0.0:0", False)])
def test_only_a_loopback_address_is_surely_of_one_host(url: str, same_host: bool) -> None:
    """A wildcard can be reached from a network, whose clocks differ."""
    with closing(open_inlet(url)) as receiving:
        assert receiving.preset.one_clock is same_host


@pytest.mark.needs("multicast")
def test_a_group_is_received_by_all_who_joined_it() -> None:
    """Here two of them, on two ports; and the sender's own host hears it too."""
    groups = [open_inlet(GROUP) for _ in range(2)]
    for receiving in groups:
        assert receiving.preset is NETWORK
        with closing(outlet(f"{receiving.url}&ttl=0")) as sending:
            assert sending.preset is NETWORK
            assert sending._open[0].getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 0
            sending.send(b"to all")
    for receiving in groups:
        assert until(receiving.receive) == b"to all"
        assert receiving.receive() is None
        receiving.close()


@pytest.mark.needs("multicast")
def test_a_group_is_sent_to_one_hop_unless_told_otherwise() -> None:
    """It does not leave the network it was meant for."""
    with closing(outlet("udp://239.1.2.3:9?interface=lo")) as sending:
        assert sending._open[0].getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 1


@pytest.mark.needs("ipv6-link")
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("[{address}%{link}]:0", "[{address}%{link}]:"),
        ("[ff02::7140%{link}]:0", "[ff02::7140%{link}]:"),
        ("[ff02::7140]:0?interface={link}", "[ff02::7140%{link}]:"),
        ("[ff05::7140]:0?interface={link}", "[ff05::7140]:"),
    ],
)
def test_an_ipv6_address_keeps_its_link(asked: str, told: str) -> None:
    """Many mean nothing without their interface: the receiver's URL names it, so that the same text serves senders."""
    address, link = link_local()
    with closing(open_inlet("udp://" + asked.format(address=address, link=link))) as receiving:
        assert receiving.url.startswith("udp://" + told.format(address=address, link=link))
        option = "ttl=0" if "ff0" in asked else ""  # what leaves no host arrives on its own all the same
        url = receiving.url + (option and f"{'&' if '?' in receiving.url else '?'}{option}")
        with closing(outlet(url)) as sending:
            assert sending.send(b"x") is None
        assert until(receiving.receive) == b"x"


def link_local() -> tuple[str, str]:
    """Return a link-local address of this host, and its interface."""
    rows = (line.split() for line in Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines())
    raw, link = next((row[0], row[5]) for row in rows if row[3:5] == ["20", "80"])
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(raw)), link


def test_the_receiving_end_is_the_common_one() -> None:
    """What holds for sockets holds here."""
    with closing(open_inlet("udp://127.0.0.1:0")) as receiving:
        assert isinstance(receiving, SocketInlet)
        assert receiving.kernel_drops() == (0 if sys.platform == "linux" else None)
