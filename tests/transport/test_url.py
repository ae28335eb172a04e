"""A URL means one transport and one place, or gets one line that says what is wrong with it."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atmost.errors import AddressError
from atmost.transport.base import Address
from atmost.transport.memory import MemoryInlet, MemoryOutlet
from atmost.transport.sockets import SocketInlet
from atmost.transport.udp import UdpOutlet
from atmost.transport.unix import UnixInlet, UnixOutlet
from atmost.transport.url import DEFAULT_PORT, DEFAULT_URL, open_inlet, open_outlet, parse_url
from tests.real import until

SCHEMES = "udp://HOST:PORT, unix:///PATH, nats://HOST:PORT/CHANNEL or memory://NAME"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("udp://127.0.0.1:7140", {"host": "127.0.0.1", "port": 7140}),
        ("udp://127.0.0.1:0", {"host": "127.0.0.1", "port": 0}),
        ("udp://example.org:65535/", {"host": "example.org", "port": 65535}),
        ("udp://example.org", {"host": "example.org", "port": DEFAULT_PORT}),
        ("udp://[::1]:9", {"host": "::1", "port": 9}),
        ("udp://[fe80::1%eth0]:9", {"host": "fe80::1%eth0", "port": 9}),
        (
            "udp://239.1.2.3:9?interface=lo&ttl=4",
            {"host": "239.1.2.3", "port": 9, "options": {"interface": "lo", "ttl": "4"}},
        ),
        ("UDP://127.0.0.1:9", {"host": "127.0.0.1", "port": 9}),
    ],
)
def test_a_udp_url_names_host_port_and_options(url: str, parts: dict[str, Any]) -> None:
    """Without a port it is ours, and IPv6 stands in brackets."""
    assert parse_url(url) == Address(url, "udp", **parts)


def test_the_default_is_ours_on_this_host() -> None:
    """Nothing is reachable from a network unless somebody asks for it."""
    assert parse_url(DEFAULT_URL) == Address(DEFAULT_URL, "udp", host="127.0.0.1", port=7140)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("unix:///run/atmost.sock", "/run/atmost.sock"),
        ("unix:///run/with%20space", "/run/with space"),
        ("unix:///run/with space", "/run/with space"),
        ("unix:///run/caf%C3%A9", "/run/café"),
        ("unix:///run/raw%FFbyte", os.fsdecode(b"/run/raw\xffbyte")),
        ("unix:///" + "a" * 106, "/" + "a" * 106),
    ],
)
def test_a_unix_url_names_a_path(url: str, path: str) -> None:
    """Whatever bytes a path of this system can have can be written."""
    assert parse_url(url) == Address(url, "unix", path=path)


def test_a_memory_url_names_a_network() -> None:
    """A name is all there is to it."""
    assert parse_url("memory://orders-1") == Address("memory://orders-1", "memory", host="orders-1")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", f"no scheme: write {SCHEMES}"),
        ("127.0.0.1:7140", f"no scheme: write {SCHEMES}"),
        ("localhost", f"no scheme: write {SCHEMES}"),
        ("tcp://127.0.0.1:7140", f"unknown scheme 'tcp': write {SCHEMES}"),
        ("http://127.0.0.1:7140", f"unknown scheme 'http': write {SCHEMES}"),
        ("udp://127.0.0.1:65536", "the port must be from 0 to 65535"),
        ("udp://127.0.0.1:-1", "the port must be from 0 to 65535"),
        ("udp://127.0.0.1:http", "the port must be from 0 to 65535"),
        ("udp://", "no host: write udp://HOST:PORT, for example udp://127.0.0.1:7140"),
        ("udp://:7140", "no host: write udp://HOST:PORT, for example udp://127.0.0.1:7140"),
        ("udp://[::1:7140", "Invalid IPv6 URL"),
        ("udp://127.0.0.1:7140/orders", "a path (/orders) has no meaning for udp"),
        ("udp://me@127.0.0.1:7140", "a user name or fragment has no meaning here"),
        ("udp://127.0.0.1:7140#x", "a user name or fragment has no meaning here"),
        ("udp://127.0.0.1:7140?linger=0", "unknown option 'linger'; udp has: interface, ttl"),
        ("unix:///run/a?ttl=1", "unknown option 'ttl'; unix has: none"),
        ("memory://a?ttl=1", "unknown option 'ttl'; memory has: none"),
        ("memory://", "write memory://NAME"),
        ("memory://a/b", "write memory://NAME"),
        ("unix://", "write unix:///PATH with an absolute path, for example unix:///run/atmost.sock"),
        ("unix:///", "write unix:///PATH with an absolute path, for example unix:///run/atmost.sock"),
        ("unix://run/a", "write unix:///PATH with an absolute path, for example unix:///run/atmost.sock"),
        ("unix:tmp/a", "write unix:///PATH with an absolute path, for example unix:///run/atmost.sock"),
        ("unix:///" + "a" * 107, "the path of a Unix socket has at most 107 bytes"),
        ("unix:///" + "é" * 54, "the path of a Unix socket has at most 107 bytes"),
        ("unix:///run/a%00b", "a NUL character would end the name early, so that another address would be used"),
        (
            "udp://127.0.0.1\0.evil:1",
            "a NUL character would end the name early, so that another address would be used",
        ),
    ],
)
def test_what_cannot_be_used_gets_one_line(url: str, problem: str) -> None:
    """It names what was given and what is wrong, and nearly always what would be right."""
    with pytest.raises(AddressError) as refused:
        parse_url(url)
    shown = url.replace("me@", "").partition("?")[0]  # a user name, or an option's value, may be a secret
    assert refused.value.url == shown
    assert refused.value.problem == problem
    assert str(refused.value) == f"{shown!r}: {problem}"


@pytest.mark.parametrize("url", ["tls://me:hunter2@a/c", "me:hunter2@a:4222/c", "natss://me:hunter2/@a?b@c"])
def test_a_scheme_that_is_none_shows_no_password(url: str) -> None:
    """Those who connect to NATS elsewhere write tls:// and a password."""
    with pytest.raises(AddressError) as refused:
        parse_url(url)
    assert "hunter2" not in str(refused.value)


def test_what_is_no_text_is_no_url() -> None:
    """A caller's mistake of another kind gets the same kind of line."""
    with pytest.raises(AddressError, match=r"^'7140': not a string: write udp://HOST:PORT"):
        parse_url(7140)  # type: ignore[arg-type]


@given(st.one_of(st.text(), st.tuples(st.sampled_from(["udp://", "unix:///", "memory://"]), st.text()).map("".join)))
@example("unix:///\udcff")
@example("udp://[")
@example("udp://a]b")
def test_any_text_is_an_address_or_gets_a_line(text: str) -> None:
    """No text whatsoever raises anything else."""
    with suppress(AddressError):
        address = parse_url(text)
        assert address.scheme in {"udp", "unix", "memory"}
        assert address.host or address.path


@pytest.mark.parametrize(
    ("url", "outlet", "inlet"),
    [
        ("udp://127.0.0.1:0", UdpOutlet, SocketInlet),
        ("unix://{folder}/a.sock", UnixOutlet, UnixInlet),
        ("memory://connect", MemoryOutlet, MemoryInlet),
    ],
)
def test_each_scheme_has_its_two_ends(url: str, outlet: type, inlet: type, tmp_path: Path) -> None:
    """What one end is given comes out at the other; both can be closed twice."""
    receiving = open_inlet(url.format(folder=tmp_path))
    sending = open_outlet(receiving.url)
    assert (type(sending), type(receiving)) == (outlet, inlet)
    assert sending.url == receiving.url
    assert sending.preset.one_clock
    assert receiving.preset.one_clock
    assert sending.send(b"datagram") is None
    assert until(receiving.receive) == b"datagram"
    for end in (sending, receiving, sending, receiving):
        end.close()


@pytest.mark.parametrize("url", ["", "tcp://127.0.0.1:1", "memory://"])
def test_what_is_no_url_opens_nothing(url: str) -> None:
    """Both ends say the same."""
    for open_end in (open_inlet, open_outlet):
        with pytest.raises(AddressError):
            open_end(url)
