"""A UDP port shared by several sockets: every session at one of them, and nobody else at the address."""

import errno
import os
import socket
import struct
import sys
from contextlib import closing

import pytest

from atmost.core.shards import shard_of
from atmost.errors import AddressError, AddressInUse, BindError
from atmost.transport import steering
from atmost.transport.base import SAME_HOST
from atmost.transport.steering import SharedPort, can_share, share_udp
from atmost.transport.udp import bind_udp
from atmost.transport.url import parse_url
from tests.real import BOUND, forge, until

pytestmark = pytest.mark.needs("linux")

LOOPBACK = "udp://127.0.0.1:0"


def share(url=LOOPBACK, count=3):
    """Return a shared port that closes with its block."""
    return closing(share_udp(parse_url(url), count))


def address_of(port: SharedPort):
    """Return its family and where to send."""
    address = parse_url(port.url)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return family, (address.host.replace("0.0.0.0", "127.0.0.1"), address.port)


def send(port: SharedPort, datagrams, *, broadcast=False):
    """Send each datagram from a source port of its own."""
    family, to = address_of(port)
    for datagram in datagrams:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            if broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                to = ("127.255.255.255", to[1])
            sock.sendto(datagram, to)


def arrived(port: SharedPort, shard: int):
    """Return what waits at one of the sockets."""
    datagrams = []
    with port.copy(shard) as copy:
        copy.setblocking(False)
        while True:
            try:
                datagrams.append(copy.recv(1 << 16))
            except BlockingIOError:
                return datagrams


def random64(datagram):
    """Return the random part of a datagram's session."""
    return struct.unpack_from(">Q", datagram, 12)[0]


@pytest.mark.parametrize(
    "url", [LOOPBACK, "udp://0.0.0.0:0", pytest.param("udp://[::1]:0", marks=pytest.mark.needs("ipv6"))]
)
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_r17_every_session_arrives_at_its_own_socket(url, count):
    """R17: whatever the source port, a datagram arrives at the socket its session says, and in the same place as the core says."""
    tape = [forge([("s", n)], random64=n * 0x9E3779B97F4A7C15 % 2**64, sequence=k) for n in range(40) for k in range(3)]
    with share(url, count) as port:
        send(port, tape)
        at = [arrived(port, shard) for shard in range(count)]
    assert sorted(datagram for there in at for datagram in there) == sorted(tape)
    for shard, there in enumerate(at):
        assert {shard_of(datagram[2:20], count) for datagram in there} <= {shard}
        assert there


def test_r17_steering_follows_only_the_session():
    """R17: all other bytes of a datagram may be anything."""
    one = bytearray(forge(random64=5, messages=[("s", 1)]))
    tape = [bytes(one)]
    for position in [*range(16), *range(20, len(one))]:
        other = bytearray(one)
        other[position] ^= 0xFF
        tape.append(bytes(other))
    with share(count=4) as port:
        send(port, tape)
        assert len(arrived(port, 5 % 4)) == len(tape)


@pytest.mark.parametrize("size", [0, 1, 16, 19])
def test_r17_what_is_too_short_to_have_a_session_goes_to_the_first(size):
    """R17: it is not lost to the account: somebody gets it, and refuses it as malformed."""
    with share() as port:
        send(port, [b"\xff" * size])
        assert arrived(port, 0) == [b"\xff" * size]


def test_r17_a_broadcast_reaches_every_socket():
    """R17: steering is for unicast only, which is why a worker must refuse by itself what is not its own."""
    datagram = forge([("s", 1)], random64=1)
    with share("udp://0.0.0.0:0") as port:
        send(port, [datagram], broadcast=True)
        assert [arrived(port, shard) for shard in range(3)] == [[datagram]] * 3


def test_r17_a_receiver_that_dies_gives_nothing_up():
    """R17: closing a copy, or an inlet over one, leaves the shares as they were, and what arrives meanwhile waits."""
    with share() as port:
        inlets = [port.inlet(port.copy(shard)) for shard in range(3)]
        for inlet in inlets:
            inlet.close()
        tape = [forge([("s", n)], random64=n) for n in range(9)]
        send(port, tape)
        assert [[random64(d) for d in arrived(port, shard)] for shard in range(3)] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


def test_h2_nobody_else_gets_the_address():
    """H2: neither a receiver nor a second owner, by any name of the address, as long as a socket or a copy of one is open."""
    with share("udp://0.0.0.0:0") as port:
        _, (_, number) = address_of(port)
        for host in ("0.0.0.0", "127.0.0.1", "127.0.0.2"):
            address = parse_url(f"udp://{host}:{number}")
            with pytest.raises(AddressInUse) as refused:
                bind_udp(address)
            assert f"pid {os.getpid()}" in str(refused.value)
            with pytest.raises(AddressInUse):
                share_udp(address, 2)
        copy = port.copy(1)
        port.close()
        with pytest.raises(AddressInUse):
            share_udp(parse_url(f"udp://127.0.0.1:{number}"), 2)
        copy.close()
    with share(f"udp://127.0.0.1:{number}"):
        pass


def test_h2_a_receiver_keeps_workers_away():
    """H2: an address that a plain receiver holds cannot be shared, by any name."""
    with closing(bind_udp(parse_url(LOOPBACK))) as inlet:
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(AddressInUse):
                share_udp(parse_url(f"udp://{host}:{parse_url(inlet.url).port}"), 2)


def test_h2_a_stranger_that_shares_the_port_is_never_chosen():
    """H2: another program of the same user may bind with SO_REUSEPORT; every session still arrives where it did."""
    tape = [forge([("s", n)], random64=n) for n in range(9)]
    with share() as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(address_of(port)[1])
        stranger.setblocking(False)
        send(port, tape)
        with pytest.raises(BlockingIOError):
            stranger.recv(1)
        assert [len(arrived(port, shard)) for shard in range(3)] == [3, 3, 3]


def test_r22_kernel_drops_are_known_of_all_sockets_together():
    """R22: what overflows any of the buffers is counted, also while nobody receives; the total stays after closing."""
    with share(count=2) as port:
        for shard in range(2):
            with port.copy(shard) as copy:
                copy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert port.kernel_drops() == 0
        sent = [forge([("s", "x" * 200)], random64=n, sequence=k) for k in range(100) for n in range(2)]
        send(port, sent)
        drops = len(sent) - sum(len(arrived(port, shard)) for shard in range(2))
        assert drops > 0
        assert port.kernel_drops() == drops
    assert port.kernel_drops() == drops


def test_r22_where_the_system_does_not_tell_drops_are_unknown(monkeypatch):
    """R22: unknown is None, not 0."""
    monkeypatch.setattr(steering.KernelDrops, "total", lambda _self: None)
    with share() as port:
        assert port.kernel_drops() is None


def test_h2_a_forked_child_lets_go():
    """H2: a process that the owner forks holds no socket of the address, unless it was handed one."""
    with share() as port:
        child = os.fork()
        if not child:
            os._exit(len(port._sockets))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        send(port, [forge([("s", 1)], random64=0)])
        assert len(arrived(port, 0)) == 1


@pytest.mark.needs("multicast")
def test_r17_a_group_cannot_be_shared():
    """R17: every socket would get each datagram; the address is free again."""
    with pytest.raises(AddressError, match="use one worker"):
        share_udp(parse_url("udp://239.255.71.40:0?interface=lo"), 2)


def test_a_system_that_cannot_steer_says_so(monkeypatch):
    """Where the program cannot be attached nothing is shared: unsteered workers would lose what they refuse."""
    monkeypatch.setattr(steering, "_SO_ATTACH_REUSEPORT_CBPF", 9999)
    opened = []
    monkeypatch.setattr(
        steering,
        "_share",
        lambda sockets, count, share=steering._share: (opened.append(sockets), share(sockets, count)),
    )
    with pytest.raises(BindError, match="3 workers cannot share it: " + os.strerror(errno.ENOPROTOOPT)):
        share_udp(parse_url(LOOPBACK), 3)
    assert {sock.fileno() for sock in opened[0]} == {-1}


def test_only_linux_steers(monkeypatch):
    """The option exists on Linux alone."""
    assert can_share()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not can_share()


def test_an_inlet_over_a_copy_receives_and_is_bounded():
    """An inlet of a shared port waits and reads like any other, at the address all of them have."""
    with share() as port, closing(port.inlet(port.copy(2))) as inlet:
        assert (inlet.url, inlet.preset) == (port.url, SAME_HOST)
        datagram = forge([("s", 1)], random64=2)
        send(port, [datagram])
        inlet.wait(BOUND)
        assert until(inlet.receive) == datagram
        assert inlet.receive() is None
