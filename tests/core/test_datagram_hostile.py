"""R3: decoding any bytes whatsoever never raises, and allocates by what arrived, never by what it claims."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.core.datagram import Kind, pack_messages, read_header, strip_padding, unpack_beacon, unpack_messages
from atmost.core.events import Message
from atmost.core.limits import HEADER, TAG
from tests.core.twins import Receiving, beacon_body, datagram, messages, with_tag

KINDS = [Kind.DATA, Kind.BEACON, Kind.GOODBYE]
LONG = b"\xff\xff\xff\xff"
"""What a 32-bit length can claim."""

HOSTILE = {
    "array of 2^32": b"\xdd" + LONG,
    "array of 2^16": b"\xdc\xff\xff",
    "map of 2^32": b"\xdf" + LONG,
    "map of 2^16": b"\xde\xff\xff",
    "text of 2^32": b"\xdb" + LONG,
    "bytes of 2^32": b"\xc6" + LONG,
    "extension of 2^32": b"\xc9" + LONG + b"\x01",
    "arrays in arrays": b"\xdc\xff\xff" * 400,
    "long arrays in long arrays": b"\xdd" + LONG[:3] * 3 + b"\xdd\x7f\xff\xff\xff" * 200,
    "maps in maps": b"\xde\xff\xff\xa1k" * 400,
    "maps as keys": b"\xde\xff\xff" * 400,
    "nested deeper than Python's stack": b"\x91" * 100_000,
    "text that is no UTF-8": b"\xa2\xff\xff",
    "lone surrogate": b"\xa3\xed\xa0\x80",
    "key that cannot be hashed": b"\x81\x90\xc0",
    "key that cannot be hashed, a map": b"\x81\x80\xc0",
    "time beyond the calendar": b"\xc7\x0c\xff" + LONG * 3,
    "time with 2^32 ns": b"\xd7\xff" + LONG + b"\x00" * 4,
    "reserved byte": b"\xc1",
    "nothing": b"",
}


def a_datagram(kind: Kind, there: Receiving) -> bytes:
    """A good one of its kind."""
    report = beacon_body(dropped={"pacing": 3}, refused={"EPERM": 2}) if kind is not Kind.DATA else None
    items = messages("x", {"a": [1, 2.5, None, b"z"]}) if kind is Kind.DATA else None
    return datagram(kind=kind, start_us=there.wall_us, sent_us=there.wall_us, items=items, body=report)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("repaired", [False, True])
def test_r3_truncated_at_each_length(kind, repaired):
    """Cut anywhere, the tag made right again or not, a datagram is refused and nothing else happens."""
    there = Receiving()
    whole = a_datagram(kind, there)
    for length in range(len(whole)):
        cut = whole[:length]
        if repaired:
            if length < HEADER + TAG or length == len(whole):
                continue
            cut = with_tag(cut)
        there.refusal(cut)
    assert there.payloads == []


@pytest.mark.parametrize("kind", KINDS)
def test_r3_each_byte_flipped(kind):
    """A changed byte anywhere is refused: what the tag does not catch, an earlier check has."""
    there = Receiving()
    whole = a_datagram(kind, there)
    for position in range(len(whole)):
        for flip in (1, 0x80, 0xFF):
            torn = bytearray(whole)
            torn[position] ^= flip
            there.refusal(bytes(torn))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", range(HEADER))
def test_r3_each_header_byte_takes_every_value_with_the_tag_repaired(kind, position):
    """With the right tag a changed header is refused or believed; it never raises, and the account stays balanced."""
    for value in range(256):
        there = Receiving()
        torn = bytearray(a_datagram(kind, there))
        torn[position] = value
        said = there.take(with_tag(bytes(torn)))
        ledger = there.ledger()
        assert ledger.datagrams_in == 1
        assert len([event for event in said if isinstance(event, Message)]) == (2 * ledger.accepted if kind == 1 else 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flip", [1, 0x80, 0xFF])
def test_r3_each_body_byte_flipped_with_the_tag_repaired(kind, flip):
    """The parser sees hostile bodies too, and neither raises nor half-accepts."""
    there = Receiving()
    whole = a_datagram(kind, there)
    for position in range(HEADER, len(whole) - TAG):
        torn = bytearray(whole)
        torn[position] ^= flip
        Receiving().take(with_tag(bytes(torn)))
        there.core.receive(with_tag(bytes(torn)), there.now, there.wall_us)
        there.ledger()


@pytest.mark.parametrize("inner", HOSTILE.values(), ids=HOSTILE)
def test_r3_a_hostile_payload_neither_raises_nor_allocates(inner):
    """A length on the wire is a claim; what is allocated is bounded by the bytes that came."""
    body = pack_messages([b"\x92\xa1s" + inner])
    assert _peak(lambda: unpack_messages(body, 1)) < 100_000 + 20 * len(body)


@pytest.mark.parametrize("inner", HOSTILE.values(), ids=HOSTILE)
def test_r3_a_hostile_report_neither_raises_nor_allocates(inner):
    """The same for what a beacon says, as the whole of it and in place of its last value."""
    assert _peak(lambda: unpack_beacon(inner)) < 100_000 + 20 * len(inner)
    within = beacon_body()[:-9] + inner
    assert _peak(lambda: unpack_beacon(within)) < 100_000 + 20 * len(within)


def test_r3_a_count_in_the_header_allocates_nothing():
    """65,535 messages are claimed by header and body, one is there."""
    body = b"\xdc\xff\xff" + messages("x")[0]
    assert _peak(lambda: unpack_messages(body, 65_535)) < 10_000


@given(st.binary(max_size=300))
def test_r3_any_bytes_at_all(noise):
    """No reader of the wire raises for anything."""
    read_header(noise)
    unpack_messages(noise, 1)
    unpack_beacon(noise)
    strip_padding(noise)


@given(st.sampled_from(KINDS), st.binary(max_size=200), st.integers(1, 3))
def test_r3_any_body_with_the_right_tag(kind, body, count):
    """Whatever the body, the datagram is accepted whole or refused without a trace."""
    there = Receiving()
    data = kind is Kind.DATA
    if data:
        body = b"\xdc" + count.to_bytes(2, "big") + body
    whole = datagram(kind=kind, start_us=there.wall_us, sent_us=there.wall_us, body=body, count=count if data else 0)
    before = there.state()
    said = there.take(whole)
    if there.ledger().accepted:
        assert len([event for event in said if isinstance(event, Message)]) == (count if data else 0)
    else:
        assert there.state() == before


def _peak(decode) -> int:
    """Bytes allocated while decoding, at most."""
    tracemalloc.start()
    try:
        decode()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
