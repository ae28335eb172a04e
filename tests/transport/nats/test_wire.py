"""What a server says is cut into operations wherever the system cuts the stream, and no bytes do harm."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.core.limits import MAX_DATAGRAM
from atmost.transport.nats.wire import Cutter, Delivery, ProtocolError, Said, publish, subscribe


def cut(stream, sizes=(1 << 20,)):
    """Return the operations of a stream that comes in pieces of these sizes, over and over."""
    cutter, found, place, turn = Cutter(), [], 0, 0
    while place < len(stream):
        space = cutter.space()
        assert len(space) > 0
        piece = stream[place : place + min(len(space), sizes[turn % len(sizes)])]
        space[: len(piece)] = piece
        found += cutter.cut(len(piece))
        place, turn = place + len(piece), turn + 1
    return found


def msg(sid, payload, reply=""):
    """Return the bytes of a delivery."""
    return f"MSG a.b {sid} {reply}{' ' if reply else ''}{len(payload)}\r\n".encode() + payload + b"\r\n"


OPERATIONS = st.one_of(
    st.builds(
        lambda sid, payload: (msg(sid, payload), Delivery(sid, payload)), st.integers(0, 99), st.binary(max_size=300)
    ),
    st.sampled_from(
        [
            (b"PING\r\n", Said("PING", "")),
            (b"+OK\r\n", Said("+OK", "")),
            (b"-ERR 'Slow Consumer'\r\n", Said("-ERR", "'Slow Consumer'")),
            (b'INFO {"a":1} \r\n', Said("INFO", '{"a":1}')),
            (msg(3, b"x" * (MAX_DATAGRAM + 1)), Delivery(3, None)),
            (msg(3, b"reply", "inbox"), Delivery(3, b"reply")),
        ]
    ),
)


@given(st.lists(OPERATIONS, max_size=20), st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_the_operations_are_the_same_however_the_stream_is_cut(operations, sizes):
    """Payloads may hold anything, line ends included; those larger than a datagram are passed over."""
    stream = b"".join(written for written, _ in operations)
    assert cut(stream, sizes) == [meant for _, meant in operations]


def test_a_stream_of_large_datagrams_goes_through():
    """The buffer is used over and over, with the rest of one read in front of the next."""
    payload = bytes(range(256)) * 240
    assert cut(msg(1, payload) * 40, (65_537,)) == [Delivery(1, payload)] * 40


@pytest.mark.parametrize(
    "stream",
    [
        b"MSG a\r\n",
        b"MSG a b c\r\n",
        b"MSG a 1 -5\r\n",
        b"MSG a 1 99999999999\r\n",
        b"MSG a 1 b c d\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_operation_ends_the_connection(stream):
    """With an error of its own, and without memory for what a number claims (R3)."""
    with pytest.raises(ProtocolError):
        cut(stream)


@given(
    st.lists(
        st.one_of(st.binary(max_size=60), st.sampled_from([b"MSG ", b"\r\n", b" 1 ", b"65508", b"-ERR"])), max_size=20
    )
)
def test_any_bytes_are_operations_or_an_error(pieces):
    """Nothing else is ever raised (R3)."""
    with suppress(ProtocolError):
        cut(b"".join(pieces))


def test_what_we_say():
    """As the protocol wants it; a subscription has no queue group."""
    assert publish("a.b", b"xy") == b"PUB a.b 2\r\nxy\r\n"
    assert subscribe("a.b", 3) == b"SUB a.b 3\r\n"
