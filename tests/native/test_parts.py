"""The compiled parts make the same bytes, and give the same answers, as the libraries and the readable Python."""

import math
import os
import struct
from typing import Any

import msgspec
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from atmost.compiled import native
from atmost.core.datagram import encode_message, has_many_array_keys, pack_messages

NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1) | st.sampled_from(
    [sign * (1 << bits) + step for bits in (5, 7, 8, 15, 16, 31, 32, 62) for sign in (1, -1) for step in (-1, 0, 1)]
)
PLAIN = st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=300) | st.binary(max_size=300)
PAYLOADS = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=20), inner, max_size=20)
    ),
    max_leaves=40,
)


@pytest.mark.parametrize("seed", [0, 1, 0x9E3779B97F4A7C15, (1 << 64) - 1])
def test_the_tag_is_that_of_the_library(seed: int) -> None:
    """For every length up to some blocks of XXH3, and for the largest datagrams."""
    data = os.urandom(65_507)
    for length in [*range(17, 2200), 61_440 - 16, 65_507 - 16]:
        part = data[-length:]
        assert native.tag(part, seed) == xxhash.xxh3_128_digest(part, seed), length


def test_a_tag_of_less_than_a_header_is_refused() -> None:
    """The compiled checksum is made for datagrams."""
    with pytest.raises(ValueError, match="more than 16 bytes"):
        native.tag(bytes(16), 0)


@given(st.text(max_size=255), PAYLOADS)
def test_a_pair_is_encoded_as_msgspec_does(subject: str, payload: Any) -> None:
    """Byte for byte; what only msgspec can say is left to it, for example text with a lone surrogate."""
    made = native.encode(subject, payload)
    assert made == encode_message((subject, payload))


@pytest.mark.parametrize("size", [15, 16, 31, 32, 255, 256, 65_400])
def test_heads_of_every_size(size: int) -> None:
    """Where the length takes another form."""
    for payload in (
        "x" * size,
        "é" * (size // 2),
        b"x" * size,
        [1] * (size // 2),
        {str(n): n for n in range(size // 12)},
    ):
        assert native.encode("a", payload) == encode_message(("a", payload))


class Text(str):
    """A text of a user's own class."""

    __slots__ = ()


class Point(msgspec.Struct):
    """A value that msgspec knows."""

    x: int


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "payload",
    [
        Text("a"),
        Point(1),
        {1: 2},
        {Text("a"): 1},
        bytearray(b"a"),
        1 << 64,
        -(1 << 63) - 1,
        "\ud800",
        {1, 2},
        object(),
        LOOP,
        "x" * 70_000,
        [["x" * 40_000], b"x" * 40_000],
    ],
)
def test_what_is_unusual_is_left_to_the_readable_python(payload: Any) -> None:
    """Other types, and what is too large or too deep: the one place that encodes or refuses them is msgspec."""
    assert native.encode("a", payload) is None


def test_not_a_number_keeps_its_bits() -> None:
    """Also one with a sign and a text of its own."""
    odd = struct.unpack(">d", bytes.fromhex("fff8000000abcdef"))[0]
    assert math.isnan(odd)
    assert native.encode("a", odd) == encode_message(("a", odd))


TOKENS = st.sampled_from(
    [bytes([head]) for head in range(256)]
    + [bytes([head, 0, count]) for head in (0xDC, 0xDE, 0xC5, 0xDA, 0xC8) for count in (0, 1, 2, 40)]
    + [bytes([head, 0, 0, 0, count]) for head in (0xDD, 0xDF, 0xC6, 0xDB, 0xC9) for count in (0, 1, 40)]
    + [b"\x91\x01", b"\x90", b"\xde\x00\x10", b"\xde\x00\x11", b"\x92\xa1s"]
)


@given(st.lists(TOKENS, max_size=120).map(b"".join), st.integers(1, 20))
def test_array_keys_are_counted_as_the_readable_python_does(body: bytes, count: int) -> None:
    """In any bytes whatsoever (R3)."""
    readable = (0xDE in body or 0xDF in body) and has_many_array_keys(body, count)
    assert native.many_array_keys(body, count) == readable


@pytest.mark.parametrize("keys", [15, 16, 17, 1000])
def test_array_keys_at_their_limit(keys: int) -> None:
    """Fifteen are decoded, sixteen are not."""
    pairs = b"".join(b"\x91\xcd" + number.to_bytes(2) + b"\x00" for number in range(keys))
    pairs += b"".join(bytes([0xCD]) + number.to_bytes(2) + b"\x00" for number in range(20))
    body = pack_messages([b"\x92\xa1s\xde" + (keys + 20).to_bytes(2) + pairs])
    assert native.many_array_keys(body, 1) == has_many_array_keys(body, 1) == (keys > 15)


def test_what_is_nested_very_deep_is_left_to_the_readable_python() -> None:
    """It has a stack of any size."""
    body = b"\xdc\x00\x01\x92\xa1s\xde\x00\x01\xa1k" + b"\x92" * 5000
    assert native.many_array_keys(body, 1) is None
