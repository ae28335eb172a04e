"""A nats:// URL means servers, a channel and how to be let in, or gets one line that says what is wrong, without a password in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.errors import AddressError
from atmost.transport.nats.url import DEFAULT_SHARDS, NatsAddress, Server, Tls, parse_nats
from atmost.transport.url import parse_url


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("nats://a:4222/c", {}),
        ("nats://a/c", {}),
        ("nats://a/c/", {}),
        ("NATS://a:4222/c", {}),
        ("nats://a:1,b,[::1]:2/c", {"servers": (Server("a", 1), Server("b", 4222), Server("::1", 2))}),
        ("nats://a/c?shards=4&lease=0.5&ping=2", {"shards": 4, "lease": 0.5, "ping": 2.0}),
        ("nats://me:s%40id@a/c", {"user": "me", "password": "s@id"}),
        ("nats://me:x@a,me:x@b/c", {"user": "me", "password": "x", "servers": (Server("a", 4222), Server("b", 4222))}),
        ("nats://secret@a/c", {"token": "secret"}),
        ("nats://a/c?tls=1", {"tls": Tls.REQUIRED}),
        ("nats://a/c?tls=first", {"tls": Tls.FIRST}),
        ("nats://a/c?ca=/x.pem", {"tls": Tls.REQUIRED, "ca": "/x.pem"}),
        ("nats://a/eu.telemetry-1", {"channel": "eu.telemetry-1"}),
        ("nats://a/c?nkey=/k", {"nkey": "/k"}),
    ],
)
def test_a_url_in_parts(url, parts):
    """What is not said is the usual."""
    usual = {"servers": (Server("a", 4222),), "channel": "c"}
    assert parse_nats(url) == NatsAddress(**{"url": parse_nats(url).url} | usual | parts)
    assert parse_url(url).scheme == "nats"


def test_without_a_host_the_servers_are_those_of_the_environment(monkeypatch):
    """`NATS_URL` is where other programs look, too."""
    monkeypatch.delenv("NATS_URL", raising=False)
    assert parse_nats("nats:///c").servers == (Server("127.0.0.1", 4222),)
    monkeypatch.setenv("NATS_URL", "tls://me:pw@a:1, nats://b:2/")
    found = parse_nats("nats:///c")
    assert (found.servers, found.user, found.tls) == ((Server("a", 1), Server("b", 2)), "me", Tls.REQUIRED)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nats://a", "no channel: write nats://HOST:PORT/CHANNEL"),
        ("nats://a/", "no channel"),
        ("nats://a/b c", "channel 'b c': tokens of letters"),
        ("nats://a/x.>", "channel 'x.>'"),
        ("nats://a/b/c", "channel 'b/c'"),
        ("nats://a/" + "x" * 129, "128 at most"),
        ("nats://a:0/c", "the port must be from 1 to 65535"),
        ("nats://a:65536/c", "the port must be from 1 to 65535"),
        (f"nats://a:{'9' * 5000}/c", "the port must be from 1 to 65535"),
        ("nats://a:x/c", "the port must be from 1 to 65535"),
        ("nats://a,,b/c", "a server without a host"),
        ("nats://::1/c", "a server without a host"),
        ("nats://[::1/c", "write an IPv6 address in brackets"),
        ("nats://a/c?shards=0", "shards=0: a whole number from 1 to 1024"),
        ("nats://a/c?shards=1.5", "shards=1.5: a whole number from 1 to 1024"),
        ("nats://a/c?lease=nan", "lease=nan: seconds from 0.05 to 60"),
        ("nats://a/c?ping=", None),
        ("nats://a/c?tls=maybe", "tls=maybe: write 1"),
        ("nats://a/c?color=red", "unknown option 'color'; nats has: ca, cert"),
        ("nats://a/c#x", "a fragment has no meaning here"),
        ("nats://me:hunter2@a,you:hunter2@b/c", "one user for all servers"),
        ("nats://me:hunter2@a/c?nkey=/k", "give only one of user and password"),
        ("nats://hunter2@a", "no channel"),
        ("nats://me:hunter2/x@a/c", "in a user, password or token / is written %2F"),
        ("nats://me:hunter2?x@a/c", "in a user, password or token / is written %2F"),
        ("nats://me:x?hunter2@a/c", "in a user, password or token / is written %2F"),
        ("nats://me:hunter2#x@a/c", "in a user, password or token / is written %2F"),
        ("nats://me:hunter2,x@a/c", "the port must be from 1 to 65535"),
        ("nats://me:hunter2,x:@a/c", "the port must be from 1 to 65535"),
        ("nats://a/c?token=hunter2", "unknown option 'token'"),
    ],
)
def test_what_cannot_be_used_gets_one_line(url, problem):
    """It says what would be right, and shows no password."""
    if problem is None:
        assert parse_nats(url).shards == DEFAULT_SHARDS
        return
    with pytest.raises(AddressError) as refused:
        parse_nats(url)
    assert problem in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["nats://me:hunter2@a/c?shards=4", "nats://hunter2@a,b:9/c", "nats://u:hunter2@a,u:hunter2@b/c"]
)
def test_credentials_are_not_shown(url):
    """Not in the URL that ends show and log, which otherwise means the same."""
    shown = parse_nats(url).url
    assert "hunter2" not in shown
    assert parse_nats(shown).servers == parse_nats(url).servers
    assert parse_nats(shown).shards == parse_nats(url).shards


@given(st.text())
def test_any_text_is_a_url_or_an_error_of_ours(text):
    """Nothing else is ever raised."""
    try:
        found = parse_nats("nats://" + text)
    except AddressError:
        return
    assert found.servers
    assert all(1 <= server.port <= 65_535 for server in found.servers)
