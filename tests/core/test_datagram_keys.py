"""R3: arrays as keys of a map are refused before they are hashed, where there are many; what is honest is not."""

import struct
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.core.datagram import MAX_ARRAY_KEYS, encode_message, has_many_array_keys, pack_messages, unpack_messages
from atmost.core.events import RefusalReason
from tests.core.twins import Receiving

WORD = 2**64
FIRST, SECOND, FIFTH = (
    11400714785074694791,
    14029467366897019727,
    2870177450012600261,
)  # Objects/tupleobject.c, xxHash's primes


def rotated(word: int, by: int) -> int:
    """A word of 64 bits turned to the left."""
    return (word << by | word >> 64 - by) % WORD


def colliding(count: int) -> Iterator[tuple[int, int]]:
    """Pairs of numbers whose tuples all have one hash: the second number is computed from the first."""
    target = rotated(12345, 64 - 31)
    first = 0
    while count:
        first += 1
        lane = rotated((FIFTH + first * SECOND) % WORD, 31) * FIRST % WORD
        second = (target - lane) * pow(SECOND, -1, WORD) % WORD
        if second < 2**61 - 1:  # a number that is its own hash
            yield first, second
            count -= 1


def body(payload: object) -> bytes:
    """Of a datagram of one message."""
    return pack_messages([encode_message(("s", payload))])


def raw_map(pairs: int, keys: list[bytes], *, head: bytes | None = None) -> bytes:
    """A body whose map says that it has so many pairs, and has these keys."""
    head = head if head is not None else b"\xde" + struct.pack(">H", pairs)
    return b"\xdc\x00\x01\x92\xa1s" + head + b"".join(key + b"\x01" for key in keys)


ARRAY = b"\x92\x01\x02"


@pytest.mark.parametrize("count", [MAX_ARRAY_KEYS + 1, 17, 100, 5000])
def test_r3_many_arrays_as_keys_are_malformed(count):
    """R3: refused as malformed, with nothing remembered."""
    payload = {(number, number): number for number in range(count)}
    assert unpack_messages(body(payload), 1) is None
    there = Receiving()
    hand = there.hand()
    assert there.refusal(hand.data(items=[encode_message(("s", payload))])) is RefusalReason.MALFORMED


def test_r3_a_few_arrays_as_keys_arrive():
    """What a program may honestly send: few tuples as keys, also in a large map, and in several maps."""
    few = {(number, "x"): number for number in range(MAX_ARRAY_KEYS)}
    large = few | {str(number): [number] for number in range(300)}
    for payload in (few, large, [few, few, large], {"a": {"b": large}}):
        (message,) = unpack_messages(body(payload), 1)
        assert message.payload == payload


@pytest.mark.parametrize(
    "hostile",
    [
        raw_map(5000, [ARRAY] * 16),
        raw_map(0, [ARRAY] * 16, head=b"\xdf\x00\x00\x00\x10"),
        raw_map(0, [ARRAY] * 20, head=b"\xdf\xff\xff\xff\xff"),
        raw_map(17, [b"\xa1k", *[ARRAY] * 16]),
        raw_map(40, [*[bytes([number]) for number in range(20)], *[b"\xdc\x00\x00"] * 20]),
        raw_map(20, [b"\xdd\x00\x00\x00\x01\x07"] * 16),
        raw_map(1, [b"\xa1k" + raw_map(30, [ARRAY] * 16)[6:]]),
    ],
    ids=["more pairs than there are", "map32", "a lie of 4 billion", "after a text", "array16", "array32", "nested"],
)
def test_r3_a_decoder_never_gets_to_the_sixteenth(hostile):
    """R3: also where the body ends before the map does, since a decoder would hash on its way."""
    assert has_many_array_keys(hostile, 1)
    assert unpack_messages(hostile, 1) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(st.text() | st.integers(0, 2**40) | st.binary(), inner, max_size=40)
    ),
    max_leaves=60,
)


@given(values)
def test_r3_what_is_honest_is_decoded(payload):
    """No payload without arrays as keys is refused, whatever its bytes look like."""
    (message,) = unpack_messages(body(payload), 1)
    assert message.payload == msgspec.msgpack.decode(msgspec.msgpack.encode(payload))


def array_keys_of(value: object) -> int:
    """The most arrays among the keys of one map."""
    if isinstance(value, dict):
        own = sum(isinstance(key, tuple) for key in value)
        return max([own, *map(array_keys_of, value.values()), *map(array_keys_of, value)])
    return max(map(array_keys_of, value), default=0) if isinstance(value, (list, tuple)) else 0


with_tuples = st.recursive(
    st.integers(0, 9) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(0, 99) | st.tuples(st.integers(0, 99)), inner, max_size=60)
    ),
    max_leaves=80,
)


@given(with_tuples)
def test_r3_the_walk_agrees_with_the_decoded_value(payload):
    """Token by token it finds what the decoder would have found."""
    assert has_many_array_keys(body(payload), 1) is (array_keys_of(payload) > MAX_ARRAY_KEYS)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xde\x00\x20", b"\xdf\x00\x00\x00\x20"]))
def test_r3_any_bytes_end_the_walk(tail, head):
    """It neither raises nor runs on, whatever it reads."""
    assert isinstance(has_many_array_keys(b"\xdc\x00\x01\x92\xa1s" + head + tail, 1), bool)


def test_r3_keys_that_collide_are_refused():
    """R3: the attack itself; decoded, these 55 KB would cost the square of their number, and refused a walk over the first 16 keys."""
    keys = list(colliding(5000))
    assert len({hash(key) for key in keys}) == 1
    assert unpack_messages(pack_messages([raw_map(5000, [msgspec.msgpack.encode(key) for key in keys])[3:]]), 1) is None
