"""The wire format, version 1: what becomes of a header, of messages and of a report, and what is not ours."""

import struct
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.core.datagram import (
    FLAG_ENCRYPTED,
    FLAG_PADDED,
    HEADER_LAYOUT,
    BeaconBody,
    Kind,
    encode_message,
    pack_beacon,
    pack_messages,
    read_header,
    strip_padding,
    unpack_beacon,
    unpack_messages,
)
from atmost.core.limits import HEADER, MAX_NAME, MAX_REASON, MAX_REASONS, OVERHEAD, TAG
from tests.core.twins import Receiving, beacon_body, datagram, messages

payloads = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def test_the_header_is_48_bytes_and_the_overhead_67():
    """The sizes of the protocol are part of it: 48 in front, 3 for the array, 16 behind."""
    assert (HEADER_LAYOUT.size, HEADER, TAG, OVERHEAD) == (48, 48, 16, 67)


def test_every_field_stands_where_the_specification_says():
    """Offsets and widths, big endian, written out byte by byte."""
    made = datagram(
        key_id=0x0203,
        start_us=0x0405060708090A0B,
        random64=0x0C0D0E0F10111213,
        sequence=0x1415161718191A1B,
        prior=0x1C1D1E1F20212223,
        sent_us=0x2425262728292A2B,
        count=0x2C2D,
        flags=3,
        body=b"",
    )
    assert made[:46] == bytes([0xA5, 0x11, *range(2, 0x2E)])
    assert made[46:48] == b"\x00\x03"
    assert read_header(made) == (
        0xA5,
        0x11,
        0x0203,
        0x0405060708090A0B,
        0x0C0D0E0F10111213,
        0x1415161718191A1B,
        0x1C1D1E1F20212223,
        0x2425262728292A2B,
        0x2C2D,
        3,
    )


@pytest.mark.parametrize("kind", [Kind.BEACON, Kind.GOODBYE])
def test_a_beacon_has_no_messages(kind):
    """R11.1: BEACON and GOODBYE have count 0, DATA has not."""
    assert read_header(datagram(kind=kind)) is not None
    assert read_header(datagram(kind=kind, count=1)) is None
    assert read_header(datagram(kind=Kind.DATA, count=0)) is None


@pytest.mark.parametrize(
    "made",
    [
        b"",
        datagram(body=b"")[:-1],
        datagram(magic=0xA4),
        datagram(version=0),
        datagram(version=2),
        datagram(kind=0),
        datagram(kind=4),
        datagram(kind=15),
        *(datagram(flags=1 << bit) for bit in range(2, 16)),
    ],
)
def test_r11_what_is_not_ours_has_no_header(made):
    """R11.1: too short, another magic, version, type, or a flag that must be 0."""
    assert read_header(made) is None


@pytest.mark.parametrize("flags", [0, FLAG_ENCRYPTED, FLAG_PADDED, FLAG_ENCRYPTED | FLAG_PADDED])
def test_the_known_flags_pass(flags):
    """Both flags of version 1 are understood by the header."""
    assert read_header(datagram(flags=flags)) is not None


@given(st.lists(st.tuples(st.text(), payloads), min_size=1, max_size=20))
def test_messages_come_back_as_they_were_sent(pairs):
    """Subjects and payloads survive, in order, and the body begins with the 16-bit array header."""
    body = pack_messages([encode_message((subject, payload)) for subject, payload in pairs])
    assert body[:3] == b"\xdc" + struct.pack(">H", len(pairs))
    assert [(m.subject, m.payload) for m in unpack_messages(body, len(pairs))] == pairs


def test_r4_a_message_is_encoded_when_it_is_given():
    """R4: what the caller does to the payload afterwards changes nothing."""
    payload = {"a": [1]}
    item = encode_message(("s", payload))
    payload["a"].append(2)
    (message,) = unpack_messages(pack_messages([item]), 1)
    assert message.payload == {"a": [1]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xdc\x00",
        pack_messages(messages("x")) + b"\x00",
        pack_messages(messages("x"))[:-1],
        b"\x91" + messages("x")[0],
        b"\xdd\x00\x00\x00\x01" + messages("x")[0],
        b"\xdc\x00\x01\x91\xa1s",
        b"\xdc\x00\x01\x93\xa1s\xc0\xc0",
        b"\xdc\x00\x01\x94\xa1s\xc0\xc0\xc0",
        b"\xdc\x00\x01\x92\x01\xc0",
        b"\xdc\x00\x01\x92\xc0\xc0",
        b"\xdc\x00\x01\x92\xa1\xff\xc0",
        b"\xdc\x00\x01\x82\xa1s\xc0",
        b"\xdc\x00\x01\xc0",
    ],
)
def test_a_body_is_exactly_an_array_of_pairs(body):
    """R11.7: short, long, another array header, no pair, three in a pair, no text for a subject: None."""
    assert unpack_messages(body, 1) is None


@pytest.mark.parametrize("count", [0, 2, 65_535])
def test_the_count_of_header_and_body_agree(count):
    """A header that counts otherwise than the body is refused, for `prior` is counted from it."""
    assert unpack_messages(pack_messages(messages("x")), count) is None


def test_a_report_comes_back_as_it_was_sent():
    """Everything a beacon says of its sender."""
    report = BeaconBody("worker", "host", 42, 10, {"pacing": 2}, {"ECONNREFUSED": 1}, 0.8)
    assert unpack_beacon(memoryview(pack_beacon(report))) == report


def test_a_report_may_say_more_than_this_version_knows():
    """Fields of a later version are skipped; one that is missing is not guessed."""
    known = msgspec.msgpack.decode(beacon_body())
    assert unpack_beacon(msgspec.msgpack.encode({**known, "mood": "fine"})) is not None
    for name in known:
        assert unpack_beacon(msgspec.msgpack.encode({k: v for k, v in known.items() if k != name})) is None


@pytest.mark.parametrize(
    "lie",
    [
        {"pid": -1},
        {"offered": -1},
        {"dropped": {"pacing": -1}},
        {"refused": {"EPERM": -1}},
        {"next": -0.1},
        {"next": float("nan")},
        {"next": float("inf")},
        {"next": 1e6},
        {"name": "x" * (MAX_NAME + 1)},
        {"host": "x" * (MAX_NAME + 1)},
    ],
)
def test_a_report_that_cannot_be_true_is_none(lie):
    """Counts below 0, an interval that is no time, and names beyond their limit."""
    assert unpack_beacon(beacon_body(**lie)) is None


def test_names_up_to_their_limit_pass():
    """The limit itself is allowed, in characters."""
    assert unpack_beacon(beacon_body(name="ä" * MAX_NAME, host="x" * MAX_NAME)) is not None


@given(st.binary(max_size=40), st.integers(2, 300))
def test_padding_goes_as_it_came(body, length):
    """The last u16 says how much to take off, itself included."""
    padded = body + bytes(length - 2) + struct.pack(">H", length)
    assert strip_padding(padded) == body


@pytest.mark.parametrize("padded", [b"", b"\x02", b"xx\x00\x00", b"xx\x00\x01", b"xx\x00\x05", b"xx\xff\xff"])
def test_padding_longer_than_the_body_is_none(padded):
    """A length that is no room for itself, or more than there is, leaves no body."""
    assert strip_padding(padded) is None


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.BEACON])
def test_a_padded_datagram_is_accepted_without_its_padding(kind):
    """Flag bit 1: segmentation offload needs equal sizes; the receiver takes the padding off after the tag."""
    there = Receiving()
    body = pack_messages(messages("x")) if kind is Kind.DATA else beacon_body()
    padded = body + bytes(8) + b"\x00\x0a"
    there.take(datagram(kind=kind, flags=FLAG_PADDED, body=padded, start_us=there.wall_us, sent_us=there.wall_us))
    assert there.ledger().accepted == 1
    assert there.payloads == (["x"] if kind is Kind.DATA else [])


@pytest.mark.parametrize(
    ("payload", "arrives"),
    [
        (b"\x81\x92\x01\x02\xc0", {(1, 2): None}),
        (b"\x82\x01\x01\x01\x02", {1: 2}),
        (b"\x81\xc4\x01a\xc0", {b"a": None}),
        (b"\x81\xc0\xc0", {None: None}),
        (
            b"\xc7\x0c\xff\x00\x00\x00\x00" + struct.pack(">q", 253_402_300_799),
            datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        ),
        (b"\xc7\x0c\xff\x00\x00\x00\x00" + struct.pack(">q", -62_135_596_800), datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_what_other_encoders_may_write_is_taken(payload: bytes, arrives: object) -> None:
    """As docs/wire.md says of payloads: keys of every kind that can be one, and times that have a date."""
    taken = unpack_messages(b"\xdc\x00\x01\x92\xa1a" + payload, 1)
    assert taken is not None
    assert taken[0].payload == arrives


@pytest.mark.parametrize(
    "payload",
    [
        b"\x81\x80\xc0",
        b"\x81\x91\x80\xc0",
        b"\x81\xd4\x05a\xc0",
        b"\x81\x91\xd4\x05a\xc0",
        b"\xc7\x0c\xff\x00\x00\x00\x00" + struct.pack(">q", 253_402_300_800),
        b"\xc7\x0c\xff\x00\x00\x00\x00" + struct.pack(">q", -62_135_596_801),
    ],
)
def test_what_has_no_value_here_is_malformed(payload: bytes) -> None:
    """As docs/wire.md says of payloads: a map or an extension as a key, also inside an array; a time without a date."""
    assert unpack_messages(b"\xdc\x00\x01\x92\xa1a" + payload, 1) is None


@pytest.mark.parametrize("field", ["dropped", "refused"])
def test_r16_a_report_has_few_and_short_names(field: str) -> None:
    """R16: it is kept with its session, so a flood of forged ones would otherwise cost a megabyte each."""
    most = {str(number).rjust(MAX_REASON, "x"): 1 for number in range(MAX_REASONS)}
    taken = unpack_beacon(beacon_body(**{field: most}))
    assert taken is not None
    assert getattr(taken, field) == most
    assert unpack_beacon(beacon_body(**{field: {**most, "one more": 1}})) is None
    assert unpack_beacon(beacon_body(**{field: {"x" * (MAX_REASON + 1): 1}})) is None
