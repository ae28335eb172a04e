"""A sender opened once for ever: names that move, addresses that change, descriptors that are closed under it."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from atmost.core.sending import NOT_NOW
from atmost.transport import udp
from atmost.transport.base import NETWORK
from atmost.transport.udp import UdpOutlet
from atmost.transport.url import open_inlet, parse_url
from tests.real import BOUND, raw_receiver, run, until
from tests.system.network import CABLE, Host, Network

NAME = "collector.invalid"
BEACON = b"\xa5\x12"
"""What looks like one: with it an outlet looks after its socket."""


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The addresses that names stand for, first the preferred one; a name without any is unknown. Nothing is waited for for long."""
    known: dict[str, list[str]] = {}
    really = socket.getaddrinfo

    def look_up(host: str, port: int, **options: Any) -> list[Any]:
        if host not in known and host != NAME:
            return really(host, port, **options)
        if not known.get(host):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [row for address in known[host] for row in really(address, port, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for pause in ("_TEND", "_FIRST_PAUSE", "_LONGEST_PAUSE", "_LOOK_UP"):
        monkeypatch.setattr(udp, pause, 0.0)
    return known


@pytest.fixture
def opened() -> Iterator[Callable[[str], UdpOutlet]]:
    """Opens sending ends, and closes them."""
    outlets = []

    def open_one(url: str) -> UdpOutlet:
        outlets.append(UdpOutlet(parse_url(url)))
        return outlets[-1]

    yield open_one
    for outlet in outlets:
        outlet.close()


def arrives(outlet: UdpOutlet, receiving: Any) -> Callable[[], Any]:
    """Return a condition: something that is sent now arrives there."""

    def sent_and_received() -> Any:
        outlet.send(BEACON)
        return receiving.receive()

    return sent_and_received


def test_a_name_that_is_unknown_at_the_start_is_looked_up_again(
    names: dict[str, list[str]], opened: Callable[[str], UdpOutlet], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing raises; it is reported once, each datagram is refused by the resolver's name for it, and later ones go where the name stands then."""
    caplog.set_level("INFO", "atmost")
    with closing(open_inlet("udp://127.0.0.1:0")) as receiving:
        outlet = opened(f"udp://{NAME}:{receiving.url.rpartition(':')[2]}")
        assert outlet.preset is NETWORK
        assert [outlet.send(b"x") for _ in range(20)] == ["EAI_NONAME"] * 20
        names[NAME] = ["127.0.0.1"]
        assert until(arrives(outlet, receiving)) == BEACON
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"{outlet.url}: cannot resolve '{NAME}': Name or service not known; tried again in the background",
        f"{outlet.url}: sends to 127.0.0.1",
    ]


@pytest.mark.needs("ipv6")
def test_a_name_with_two_addresses_is_sent_to_where_somebody_receives(
    names: dict[str, list[str]], opened: Callable[[str], UdpOutlet]
) -> None:
    """`localhost` may be ::1 first, and the receiver be at 127.0.0.1: the refusal of one is followed by the other."""
    names[NAME] = ["::1", "127.0.0.1"]
    with closing(open_inlet("udp://127.0.0.1:0")) as receiving:
        outlet = opened(f"udp://{NAME}:{receiving.url.rpartition(':')[2]}")
        answers = [outlet.send(b"%d" % number) for number in range(4)]
        assert answers == [None, "ECONNREFUSED", None, None]
        assert [until(receiving.receive), until(receiving.receive)] == [
            b"2",
            b"3",
        ]  # what was refused is not sent again (R6)


def test_a_name_that_moves_is_followed(names: dict[str, list[str]], opened: Callable[[str], UdpOutlet]) -> None:
    """Although the old address refuses nothing: a collector that moved leaves a host that answers nobody."""
    names[NAME] = ["127.0.0.1"]
    with closing(open_inlet("udp://127.0.0.1:0")) as old:
        port = old.url.rpartition(":")[2]
        with closing(open_inlet(f"udp://127.0.0.2:{port}")) as new:
            outlet = opened(f"udp://{NAME}:{port}")
            assert until(arrives(outlet, old)) == BEACON
            names[NAME] = ["127.0.0.2"]
            assert until(arrives(outlet, new)) == BEACON


def test_a_resolver_that_does_not_answer_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, opened: Callable[[str], UdpOutlet]
) -> None:
    """The constructor waits a moment; then what is sent waits a moment, and is refused; then the answer comes."""
    answer, really = threading.Event(), socket.getaddrinfo

    def look_up(host: str, port: int, **options: Any) -> list[Any]:
        if host != NAME:
            return really(host, port, **options)
        answer.wait(BOUND)
        return really("127.0.0.1", port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(udp, "_PATIENCE", 0.02)
    monkeypatch.setattr(udp, "_TEND", 0.0)
    with closing(open_inlet("udp://127.0.0.1:0")) as receiving:
        outlet = opened(f"udp://{NAME}:{receiving.url.rpartition(':')[2]}")
        until(lambda: outlet.send(b"x") == "EAI_AGAIN")
        assert outlet.patience == 0.0
        answer.set()
        assert until(arrives(outlet, receiving)) == BEACON


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lookup_that_is_ended_from_outside_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]], opened: Callable[[str], UdpOutlet]
) -> None:
    """Nothing waits for its answer for ever."""
    asked, really = [], socket.getaddrinfo

    def look_up(host: str, port: int, **options: Any) -> list[Any]:
        asked.append(host)
        if asked.count(NAME) == 1:
            raise SystemExit
        return really(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    names[NAME] = ["127.0.0.1"]
    with closing(open_inlet("udp://127.0.0.1:0")) as receiving:
        outlet = opened(f"udp://{NAME}:{receiving.url.rpartition(':')[2]}")
        assert until(arrives(outlet, receiving)) == BEACON


def test_what_is_sent_waits_for_the_first_answer(
    monkeypatch: pytest.MonkeyPatch, opened: Callable[[str], UdpOutlet]
) -> None:
    """It is "not now", so that the sender keeps it, and a closing sender waits too."""
    answer, really = threading.Event(), socket.getaddrinfo

    def look_up(host: str, port: int, **options: Any) -> list[Any]:
        if host == NAME:
            answer.wait(BOUND)
            host = "127.0.0.1"
        return really(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(threading.Thread, "join", lambda _thread, _timeout=None: None)
    outlet = opened(f"udp://{NAME}:9")
    assert outlet.send(b"x") == NOT_NOW
    assert 0.0 < outlet.patience <= 2.0
    answer.set()
    until(lambda: outlet.send(b"x") is None)


@pytest.mark.parametrize("noticed", ["by the refusal", "by looking"])
def test_a_descriptor_that_is_somebody_elses_now_is_not_written_to(
    noticed: str, names: dict[str, list[str]], opened: Callable[[str], UdpOutlet]
) -> None:
    """A program that closes all descriptors opens others under their numbers; those are neither written to nor closed."""
    del names  # only for its pauses
    with closing(open_inlet("udp://127.0.0.1:0")) as receiving, raw_receiver() as other:
        outlet = opened(receiving.url)
        assert outlet._open is not None
        number = outlet._open[0].fileno()
        os.close(number)
        if noticed == "by the refusal":
            assert outlet.send(b"lost") == "EBADF"
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if stranger.fileno() != number:
            os.dup2(stranger.fileno(), number)
            stranger.detach()
            stranger = socket.socket(fileno=number)
        with closing(stranger):
            stranger.connect(other.getsockname())
            if noticed == "by looking":
                assert outlet.send(BEACON) is None
                assert until(receiving.receive) == BEACON
            assert outlet.send(b"to the receiver") is None
            assert until(receiving.receive) == b"to the receiver"
            outlet.close()
            stranger.send(b"the program's own")
            assert other.recv(100) == b"the program's own"


def test_a_daemon_that_closes_everything_goes_on_sending() -> None:
    """Forked, all descriptors closed, others opened under their numbers: nothing of ours is written into them."""
    code = """
import os, socket, sys, atmost
theirs = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
theirs.bind(("127.0.0.1", 0))
with atmost.Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver:
    sender = atmost.Sender(receiver.url, linger=0)
    sender.send("a", "parent")
    address = theirs.getsockname()
    pid = os.fork()
    if not pid:
        os.closerange(3, 64)
        files = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(40)]
        for each in files:
            each.connect(address)
        sender.send("a", "child")
        sender.close()
        for each in files:
            each.send(b"theirs")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert sorted(receiver.receive(10).payload for _ in range(2)) == ["child", "parent"]
    theirs.settimeout(10)
    assert {theirs.recv(2000) for _ in range(40)} == {b"theirs"}
    sender.close()
theirs.close()
"""
    assert run(code) == ""


def test_a_forked_child_has_a_socket_of_its_own(opened: Callable[[str], UdpOutlet]) -> None:
    """Or the refusals of one process's datagrams would be told to the other."""
    with raw_receiver() as receiving:
        host, port = receiving.getsockname()
        outlet = opened(f"udp://{host}:{port}")
        outlet.send(b"x")
        first = receiving.recvfrom(10)[1]
        outlet.renew(seen=True)
        outlet.send(b"x")
        assert receiving.recvfrom(10)[1] != first


LISTENER = """
import socket
sock, last = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), None
sock.bind(("0.0.0.0", 7140))
sock.settimeout(30)
while True:
    host = sock.recvfrom(2000)[1][0]
    if host != last:
        print(last := host, flush=True)
"""
SPEAKER = """
import select, sys, atmost
from atmost.transport import udp
udp._TEND = 0.0
sender = atmost.Sender("udp://192.0.2.2:7140", linger=0)
sender.send("a", 1)
print(*sender.stats().refused, flush=True)
while not select.select([sys.stdin], [], [], 0.01)[0]:
    sender.send("a", 1)
"""


@pytest.mark.needs("netns")
def test_the_network_may_come_later_and_change() -> None:
    """No route at the start, then one; then the host gets another address in place of its own: datagrams go on, from the new one."""
    with Network() as network, ExitStack() as stack:
        here, there = network.sender, network.receiver

        def start(host: Host, code: str) -> Any:
            started = subprocess.Popen(
                [*host.prefix, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.callback(started.communicate)
            stack.callback(started.kill)
            return started

        there.run("ip", "route", "add", "198.51.100.0/24", "dev", CABLE)
        here.run("ip", "address", "del", "192.0.2.1/24", "dev", CABLE)
        listener, speaker = start(there, LISTENER), start(here, SPEAKER)
        assert speaker.stdout.readline() == "ENETUNREACH\n"
        here.run("ip", "address", "add", "192.0.2.1/24", "dev", CABLE)
        assert listener.stdout.readline() == "192.0.2.1\n"
        here.run("ip", "address", "add", "198.51.100.9/24", "dev", CABLE)
        here.run("ip", "address", "del", "192.0.2.1/24", "dev", CABLE)
        here.run("ip", "route", "add", "192.0.2.0/24", "dev", CABLE)
        assert listener.stdout.readline() == "198.51.100.9\n"
