"""GELF: any bytes are read without harm, chunks in any order to the message they were cut from, within every bound."""

import gzip
import json
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost import OptionError
from atmost.ingest.gelf import GelfEnding, GelfIncomplete, GelfLimits, GelfReader, GelfReason, GelfRecord
from atmost.ingest.gelf.inflating import inflated
from atmost.ingest.gelf.values import CHUNK_COST, MAX_FIELDS, MAX_MEMBERS, SET_COST, GelfRefusal
from atmost.ingest.rejected import Rejected
from tests.ingest.page import NOW, PEER

PACKERS = st.sampled_from([lambda data: data, zlib.compress, gzip.compress])
MESSAGE = {"host": "web", "short_message": "hi", "level": 6, "timestamp": NOW}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)


def chunk(identity, number, count, data=b"x"):
    """A chunk of the message of that number."""
    return b"\x1e\x0f" + identity.to_bytes(8, "big") + bytes((number, count)) + data


def cut(data, size, identity=1):
    """A message's chunks."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return [chunk(identity, number, len(pieces), piece) for number, piece in enumerate(pieces)]


def one(outcomes):
    """The one outcome there is."""
    [outcome] = outcomes
    return outcome


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=100),
            st.builds(chunk, st.integers(0, 2), st.integers(0, 4), st.integers(0, 4), st.binary(max_size=20)),
            st.binary(max_size=60).map(zlib.compress),
            st.binary(max_size=60).map(gzip.compress),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from([*MESSAGE, "_a", "b"]), inner, max_size=4)
                ),
                max_leaves=8,
            ).map(lambda value: json.dumps(value).encode()),
        ),
        max_size=20,
    ),
    st.sampled_from([0.0, 1.0, 3.0]),
)
def test_any_bytes_are_read(datagrams, step):
    """Nothing raises, and nothing is held when the time of all is over."""
    reader, now = GelfReader(), NOW
    for datagram in datagrams:
        for outcome in reader.feed(datagram, PEER, now):
            assert isinstance(outcome, GelfRecord | GelfIncomplete | Rejected)
        now += step
    reader.tick(now + 5)
    assert (reader.stats().held, reader.stats().waiting, reader.next_deadline()) == (0, 0, None)
    assert reader._chunks._peers == {}


@given(
    TEXTS,
    st.dictionaries(
        TEXTS.filter(lambda name: name not in ("", "id")),
        TEXTS | st.integers(-(2**60), 2**60) | st.booleans(),
        max_size=5,
    ),
    st.integers(0, 7),
    PACKERS,
    st.randoms(),
    st.integers(1, 40),
)
def test_messages_as_written(message, fields, level, pack, chance, size):
    """Packed in any way, cut, mixed up and repeated, a message is read to what it was written from."""
    said = {"host": "web", "short_message": message, "level": level, "timestamp": NOW - 1.5}
    data = pack(json.dumps(said | {f"_{name}": value for name, value in fields.items()}).encode())
    chunks = cut(data, max(size, -(-len(data) // 128)))
    datagrams = chunks + chance.sample(chunks, len(chunks) // 2)
    chance.shuffle(datagrams)
    reader = GelfReader()
    outcomes = [outcome for datagram in datagrams for outcome in reader.feed(datagram, PEER, NOW)]
    if len(chunks) == 1:
        outcomes = outcomes[:1]
    record = one(outcomes)
    assert isinstance(record, GelfRecord)
    assert (record.message, record.severity, record.t, record.fields) == (message, level, NOW - 1.5, fields)
    assert (record.chunks, record.notes, reader.stats().waiting) == (len(chunks), (), 0)


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_a_bomb_costs_no_more_than_a_message(pack):
    """Inflating stops at the bound: 64 MiB of blanks are refused, and never made."""
    bomb = pack(b" " * (64 << 20))
    tracemalloc.start()
    try:
        assert one(GelfReader().feed(bomb, PEER, NOW)).reason is GelfReason.TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    for size in (100, 65_536):
        data = pack(b"x" * size)
        assert inflated(data, size) == b"x" * size
        with pytest.raises(GelfRefusal, match="too_large"):
            inflated(data, size - 1)


def test_a_bomb_of_many_members():
    """Each member of a gzip file is small, and all together are too large, or too many."""
    million = gzip.compress(b" " * 600_000)
    assert one(GelfReader().feed(million * 2, PEER, NOW)).reason is GelfReason.TOO_LARGE
    with pytest.raises(GelfRefusal, match="malformed_compression"):
        inflated(gzip.compress(b"x") * (MAX_MEMBERS + 1), 1000)
    assert inflated(gzip.compress(b"x") * MAX_MEMBERS, 1000) == b"x" * MAX_MEMBERS


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_damage_is_found(pack):
    """Cut short anywhere, or with a byte changed, it is refused, or not compressed at all any more."""
    data = pack(json.dumps(MESSAGE).encode())
    for end in range(len(data)):
        assert isinstance(one(GelfReader().feed(data[:end], PEER, NOW)), Rejected)
    damaged = data[:-1] + bytes((data[-1] ^ 1,))
    assert one(GelfReader().feed(damaged, PEER, NOW)).reason is GelfReason.MALFORMED_COMPRESSION


def test_too_large_without_compression():
    """A message in chunks can be larger than any datagram, and no larger than the bound."""
    reader = GelfReader(GelfLimits(max_message=1000))
    data = json.dumps(MESSAGE | {"_x": "x" * 1000}).encode()
    assert [one.reason for each in cut(data, 500) for one in reader.feed(each, PEER, NOW)] == [GelfReason.TOO_LARGE]


def test_an_incomplete_message_is_a_known_loss():
    """After five seconds it is lost for certain, and how many of its chunks are missing is told."""
    reader = GelfReader()
    assert reader.feed(chunk(7, 0, 5, b"abc"), PEER, NOW) == []
    assert reader.feed(chunk(7, 3, 5, b"de"), PEER, NOW + 4) == []
    assert reader.next_deadline() == NOW + 5
    assert reader.tick(NOW + 4.999) == []
    assert one(reader.tick(NOW + 5)) == GelfIncomplete(PEER, "0000000000000007", 2, 3, 5, NOW, GelfEnding.TIMEOUT)
    assert reader.stats().given_up["timeout"] == 1
    assert reader.feed(chunk(7, 1, 5), PEER, NOW + 6) == []
    assert reader.stats().late_chunks == 1
    assert reader.stats().waiting == 0


def test_another_datagram_finds_what_is_due():
    """Without a tick in between, the next datagram does."""
    reader = GelfReader()
    reader.feed(chunk(7, 0, 2), PEER, NOW)
    incomplete, record = reader.feed(json.dumps(MESSAGE).encode(), PEER, NOW + 9)
    assert isinstance(incomplete, GelfIncomplete)
    assert isinstance(record, GelfRecord)


def test_peers_are_not_joined():
    """The same id of two peers is two messages."""
    reader = GelfReader()
    first, second = cut(json.dumps(MESSAGE).encode(), 50)
    assert reader.feed(first, "10.0.0.8", NOW) == reader.feed(second, "10.0.0.9", NOW) == []
    assert reader.stats().waiting == 2
    assert sorted(one.peer for one in reader.close(NOW)) == ["10.0.0.8", "10.0.0.9"]
    assert reader.stats().held == 0


def test_chunks_of_a_peer_are_bounded():
    """The peer's own oldest message is given up, and nobody else's."""
    reader = GelfReader(GelfLimits(max_chunks_per_peer=128))
    reader.feed(chunk(0, 0, 2), "other", NOW)
    lost = [out for number in range(200) for out in reader.feed(chunk(number, 0, 2), PEER, NOW)]
    assert {(one.peer, one.reason) for one in lost} == {(PEER, GelfEnding.PEER_LIMIT)}
    assert [int(one.id, 16) for one in lost] == list(range(72))
    assert (reader.stats().waiting, reader.stats().given_up["peer_limit"]) == (129, 72)


def test_messages_are_bounded():
    """However many peers there are, the oldest of all is given up."""
    reader = GelfReader(GelfLimits(max_sets=10))
    lost = [out for number in range(25) for out in reader.feed(chunk(1, 0, 2), f"10.0.1.{number}", NOW)]
    assert [(one.peer, one.reason) for one in lost] == [(f"10.0.1.{n}", GelfEnding.SET_LIMIT) for n in range(15)]
    assert reader.stats().waiting == 10


def test_bytes_are_bounded():
    """A flood of large chunks holds no more than the bound, and a whole message still gets through."""
    reader = GelfReader(GelfLimits(max_bytes=1 << 16))
    most = 0
    for number in range(300):
        reader.feed(chunk(number, 0, 2, bytes(8000)), f"10.0.1.{number % 50}", NOW + number / 100)
        most = max(most, reader.stats().held)
    assert (1 << 16) - 8000 - SET_COST - CHUNK_COST <= most <= 1 << 16
    outcomes = [out for each in cut(json.dumps(MESSAGE).encode(), 40, 999) for out in reader.feed(each, "web", NOW + 3)]
    assert [out.message for out in outcomes if isinstance(out, GelfRecord)] == ["hi"]


def test_what_was_finished_is_remembered_within_bounds():
    """A million messages leave no more than the last thousands behind."""
    reader = GelfReader()
    data = json.dumps(MESSAGE).encode()
    for identity in range(5000):
        for each in cut(data, 50, identity):
            reader.feed(each, PEER, NOW)
    assert len(reader._chunks._finished) == 4096
    reader.feed(chunk(1, 0, 2), PEER, NOW + 5)
    assert len(reader._chunks._finished) == 0


def test_fields_are_bounded():
    """More fields than are kept are left out, and the record says so."""
    said = MESSAGE | {f"_{number}": number for number in range(MAX_FIELDS + 1)}
    record = one(GelfReader().feed(json.dumps(said).encode(), PEER, NOW))
    assert len(record.fields) == MAX_FIELDS
    assert record.notes == ("fields_left_out",)


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ("1" + "0" * 30, "1" + "0" * 30),
        ("[1" + "0" * 30 + "]", "[1" + "0" * 30 + "]"),
        ("[" * 500 + "]" * 500, "[" * 500 + "]" * 500),
    ],
)
def test_odd_values_do_no_harm(value, becomes):
    """Integers beyond 64 bits become their digits, whatever is nested its JSON."""
    record = one(GelfReader().feed(b'{"short_message":"x","_v":%b}' % value.encode(), PEER, NOW))
    assert record.fields == {"v": becomes}


def test_what_is_nested_is_not_taken_apart():
    """An inflated message of a megabyte of brackets costs its length, not an object for each of them."""
    nested = "[" + "[]," * 300_000 + "[]]"
    datagram = zlib.compress(f'{{"short_message":"x","_v":{nested}}}'.encode())
    assert len(datagram) < 2000
    tracemalloc.start()
    try:
        record = one(GelfReader().feed(datagram, PEER, NOW))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert record.fields == {"v": nested}
    assert peak < 8 * len(nested)  # a list of its own for each would be 24 times as much


def test_escapes_are_repaired_one_by_one():
    """An escaped backslash begins no escape, a whole character stays, and what is large is refused rather than searched."""
    text = rb"\\ud800 \ud83d\ude00 \ud83d\n \udcff\ud800"
    record = one(GelfReader().feed(b'{"short_message":"%b"}' % text, PEER, NOW))
    assert record.message == "\\ud800 😀 \ufffd\n \ufffd\ufffd"
    assert "not_unicode" in record.notes
    large = b'{"short_message":"\\ud800%b"}' % (b"x" * 70_000)
    assert one(GelfReader().feed(zlib.compress(large), PEER, NOW)).reason == "malformed_json"


def test_levels_have_names():
    """The severity's name is the level; without one there is none."""
    assert one(GelfReader().feed(json.dumps(MESSAGE).encode(), PEER, NOW)).level == "info"
    assert one(GelfReader().feed(b'{"short_message":"x","level":true}', PEER, NOW)).level is None


@pytest.mark.parametrize(
    "wrong", [{"timeout": 0}, {"max_chunks_per_peer": 127}, {"max_sets": 0}, {"max_bytes": 1000}, {"max_message": 1}]
)
def test_limits_that_hold_nothing(wrong):
    """A bound that leaves no room for one message is refused at once."""
    with pytest.raises(OptionError):
        GelfLimits(**wrong)
