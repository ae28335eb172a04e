"""Datagrams over Unix sockets: the queue that refuses instead of dropping, and receivers that come and go."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from atmost.errors import AddressError
from atmost.transport.unix import UnixOutlet
from atmost.transport.url import open_inlet, parse_url
from tests.real import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a socket may be."""
    return tmp_path / "a.sock"


@pytest.fixture
def outlet(path: Path) -> Iterator[UnixOutlet]:
    """A sending end for that path; nobody need receive there."""
    outlet = UnixOutlet(parse_url(f"unix://{path}"))
    yield outlet
    outlet.close()


def fill(outlet: UnixOutlet) -> int:
    """Send until the receiver's queue is full; return how many it took."""
    for taken in range(100_000):
        if (error := outlet.send(b"x")) is not None:
            assert error == "EAGAIN"
            return taken
    pytest.fail("the queue never was full")


def test_datagrams_arrive_whole_and_in_order(path: Path, outlet: UnixOutlet) -> None:
    """As large as the sending end says they may be."""
    largest = os.urandom(outlet.max_datagram)
    with closing(open_inlet(outlet.url)) as receiving:
        assert receiving.url == f"unix://{path}"
        assert receiving.preset.one_clock
        for datagram in (b"first", largest, b""):
            assert outlet.send(datagram) is None
        assert [receiving.receive() for _ in range(4)] == [b"first", largest, b"", None]
    assert outlet.preset.one_clock
    assert (outlet.max_datagram, outlet.path_datagram()) == (61_440, None)


def test_a_full_queue_is_not_now(outlet: UnixOutlet) -> None:
    """The kernel refuses at once what does not fit, and takes the next as soon as there is room (R6)."""
    with closing(open_inlet(outlet.url)) as receiving:
        taken = fill(outlet)
        assert taken > 0
        assert receiving.receive() == b"x"
        assert outlet.send(b"y") is None
        assert outlet.send(b"z") == "EAGAIN"
        assert list(iter(receiving.receive, None)) == [b"x"] * (taken - 1) + [b"y"]
        assert receiving.kernel_drops() in {0, None}


def test_without_a_receiver_each_attempt_is_refused(path: Path, outlet: UnixOutlet) -> None:
    """Where there is no socket, and where one was left behind; nothing raises."""
    assert [outlet.send(b"x") for _ in range(2)] == ["ENOENT", "ENOENT"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
        killed.bind(str(path))
    assert [outlet.send(b"x") for _ in range(2)] == ["ECONNREFUSED", "ECONNREFUSED"]


def test_a_receiver_that_comes_later_is_found(outlet: UnixOutlet) -> None:
    """By the next datagram; the one that was refused is gone (R6)."""
    assert outlet.send(b"too early") == "ENOENT"
    with closing(open_inlet(outlet.url)) as receiving:
        assert outlet.send(b"in time") is None
        assert list(iter(receiving.receive, None)) == [b"in time"]


@pytest.mark.parametrize("lost", [1, 3])
def test_a_receiver_that_was_replaced_is_found_again(lost: int, outlet: UnixOutlet) -> None:
    """One attempt tells that the old one is gone; what was refused is not offered to the new one (R6)."""
    with closing(open_inlet(outlet.url)) as first:
        assert outlet.send(b"to the first") is None
        assert first.receive() == b"to the first"
    refusals = [outlet.send(b"to nobody") for _ in range(lost - 1)]
    with closing(open_inlet(outlet.url)) as second:
        if lost == 1:
            refusals.append(outlet.send(b"to the first, who is gone"))
        assert all(refusals)
        assert outlet.send(b"to the second") is None
        assert list(iter(second.receive, None)) == [b"to the second"]


def test_a_closed_end_connects_again(outlet: UnixOutlet) -> None:
    """Closing lets go of the socket, and may be done twice."""
    with closing(open_inlet(outlet.url)) as receiving:
        outlet.send(b"x")
        outlet.close()
        outlet.close()
        assert outlet.send(b"y") is None
        assert list(iter(receiving.receive, None)) == [b"x", b"y"]


def test_a_path_that_takes_no_datagrams_is_refused_by_name(path: Path, outlet: UnixOutlet) -> None:
    """A stream socket stands there: counted like every refusal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(str(path))
        stream.listen()
        assert outlet.send(b"x") == "EPROTOTYPE"


def test_paths_may_hold_any_byte(tmp_path: Path) -> None:
    """Percent signs write what a URL cannot."""
    with closing(open_inlet(f"unix://{tmp_path}/a%20b%23c%FF")) as receiving:
        assert os.fsencode(tmp_path) + b"/a b#c\xff" in [os.fsencode(file) for file in tmp_path.iterdir()]
        with closing(UnixOutlet(parse_url(receiving.url))) as sending:
            sending.send(b"x")
        assert until(receiving.receive) == b"x"


@pytest.mark.parametrize("end", ["sending", "receiving"])
def test_without_unix_sockets_the_line_says_what_to_use(end: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(AddressError, match=r"this platform's Python has no Unix sockets: use udp://127\.0\.0\.1:7140"):
        UnixOutlet(parse_url(f"unix://{path}")) if end == "sending" else open_inlet(f"unix://{path}")
