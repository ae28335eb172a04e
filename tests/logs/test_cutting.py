"""Records in parts, and records too large: nothing is lost that need not be, and what is says so."""

import logging
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost import LogReader
from atmost.logs.life import Held
from atmost.logs.parts import LEAST, bounded, cut, whole
from atmost.logs.wire import Body, encode
from tests.logs.scene import deliver, make, message

TEXTS = st.text(max_size=900)
VALUES = st.one_of(
    TEXTS, st.integers(-(2**63), 2**63), st.lists(st.text(max_size=50), max_size=20), st.none(), st.binary(max_size=900)
)
FIELDS = st.one_of(st.none(), st.dictionaries(st.text(max_size=30), VALUES, max_size=6))


def body(**facts):
    """A record."""
    return Body(handler=bytes(12), prior={}, time=0.0, level="INFO", **facts)


def joined(parts):
    """What the reader's end makes of parts."""
    held = Held(parts[0], message(("logs.a", {})), 0, 0.0)
    for part in parts[1:]:
        assert held.add_part(part)
    return held.join()


@given(TEXTS, TEXTS, FIELDS, st.integers(LEAST, 600), st.randoms())
def test_parts_joined_in_any_order_are_the_record(text, exception, fields, room, chance):
    """Every text whole, no character broken, each part within its room; a value too large for a part became text."""
    one = body(message=text, exception=exception)
    pieces = bounded(one, fields, 1 << 20)
    parts = cut(one, pieces, room)
    for part in parts:
        overhead = len(encode(msgspec.structs.replace(part, message="", exception="", fields=None)))
        assert len(encode(part)) - overhead <= room + LEAST
    chance.shuffle(parts)
    again, trace, others, hole = joined(parts)
    clean = text.encode(errors="backslashreplace").decode()
    assert (again, trace, hole) == (clean, exception.encode(errors="backslashreplace").decode(), ())
    fits = {
        name: value
        for name, value in (whole(one, pieces).fields or {}).items()
        if isinstance(value, str) or len(encode(value)) + 16 + len(name.encode()) <= room
    }
    assert {name: others[name] for name in fits} == fits


@given(TEXTS, TEXTS, FIELDS, st.integers(512, 3000))
def test_beyond_the_limit_head_and_tail_are_kept(text, exception, fields, limit):
    """Never more than the limit, and what was cut says how much it was."""
    one = body(message=text * 4, exception=exception * 4)
    pieces = bounded(one, fields, limit)
    size = sum(size for *_, size in pieces)
    if one.truncated:
        assert one.original_bytes > limit
        assert size <= limit + len(pieces) * 64
    else:
        assert size <= limit
        assert whole(one, pieces).message == (text * 4).encode(errors="backslashreplace").decode()


def test_a_long_traceback_does_not_cost_the_message():
    """The longest gives first."""
    one = body(message="short", exception="x" * 100_000)
    kept = whole(one, bounded(one, {"order": 17}, 4096))
    assert kept.message == "short"
    assert kept.fields == {"order": 17}
    assert len(kept.exception) <= 4096
    assert "bytes left out" in kept.exception
    assert one.original_bytes > 100_000


def test_a_large_record_arrives_whole():
    """Larger than a datagram, smaller than the limit: in parts, each of which says what it is part of."""
    logger, handler, sender = make()
    text = "".join(Random(1).choices("aé日😀\n", k=9000))
    logger.error(text, extra={"big": "z" * 3000, "small": 1})
    sent = sender.take()
    assert len(sent) > 10
    assert sender.max_message >= max(len(encode(one)) for one in sent)
    [record] = deliver(LogReader(now=0.0), sent, 1.0)
    assert record.message == text
    assert record.fields == {"big": "z" * 3000, "small": 1}
    assert (record.parts, record.hole, record.truncated) == (len(sent), (), False)
    assert handler.stats().parted == 1


def test_parts_are_waited_for_also_without_a_grace():
    """They cannot all come at once; what stands behind them waits, and a lost one is a hole a little later."""
    logger, _, sender = make()
    logger.error("x" * 3000)
    logger.info("after")
    *parts, last = sender.take()
    reader = LogReader(now=0.0, grace=0.0)
    assert deliver(reader, parts[:-1], 1.0) == []
    [record] = deliver(reader, parts[-1:], 1.2)
    assert (len(record.message), record.hole) == (3000, ())
    reader = LogReader(now=0.0, grace=0.0)
    assert deliver(reader, parts[:-1], 1.0) == []
    assert reader.tick(1.24) == []
    [record] = reader.tick(1.25)
    assert record.hole == (len(parts) - 1,)
    assert [one.message for one in deliver(reader, [last], 1.3)] == ["after"]


@pytest.mark.parametrize("gone", [0, 1, 3, -1])
def test_a_lost_part_is_a_hole_in_the_record(gone):
    """Marked in the text where it is missing, and counted; the rest is there, and so is its place."""
    logger, _, sender = make()
    logger.info("before")
    logger.error("m" * 3000)
    logger.info("after")
    first, *parts, last = sender.take()
    gone %= len(parts)
    reader = LogReader(now=0.0)
    found = deliver(reader, [first, *parts[:gone], *parts[gone + 1 :], last], 1.0)
    assert [record.message for record in found] == ["before"]
    broken, after = reader.tick(2.0)
    assert broken.hole == (gone,)
    assert f"[... part {gone + 1} of {len(parts)} lost ...]" in broken.message
    assert broken.message.count("m") == 3000 - len(parts[gone][1].get("message", ""))
    assert (broken.level, broken.logger, after.message) == ("ERROR", "app.db", "after")
    assert reader.stats().holes == 1
    assert reader.stats().lost_by_level == {}
    assert deliver(reader, [parts[gone]], 2.1) == []
    assert reader.stats().late_parts == 1


@pytest.mark.parametrize(("gone", "where"), [(1, "message"), (4, "exception"), (7, "fields"), (9, "fields")])
def test_a_hole_stands_in_the_text_it_belongs_to(gone, where):
    """Message, exception and fields follow each other."""
    one = body(message="m" * 300, exception="e" * 300)
    parts = cut(one, bounded(one, {"f": "f" * 300}, 1 << 20), 116)
    gone = min(gone, len(parts) - 1)
    text, exception, fields, hole = joined([part for part in parts if part.part != gone])
    assert hole == (gone,)
    marked = {"message": text, "exception": exception, "fields": fields["f"]}
    assert [name for name, shown in marked.items() if "lost" in shown] == [where]


def test_a_huge_record_keeps_head_and_tail():
    """64 KB of it, and it says how much there was."""
    logger, handler, sender = make()
    logger.info("start %s end", "x" * 200_000)
    [record] = deliver(LogReader(now=0.0), sender.take(), 1.0)
    assert record.truncated
    assert record.original_bytes == 200_010
    assert record.message.startswith("start x")
    assert record.message.endswith("x end")
    assert len(record.message) <= 65_536
    assert handler.stats().truncated == 1


@pytest.mark.parametrize("max_message", [1365, 65_000])
def test_too_many_fields_are_cut_too(max_message):
    """256 of them are kept, however large a datagram may be."""
    logger, _, sender = make(max_message=max_message)
    logger.info("x", extra={f"f{number}": number for number in range(5000)})
    [record] = deliver(LogReader(now=0.0), sender.take(), 1.0)
    assert len(record.fields) == 256
    assert record.truncated


@pytest.mark.parametrize("letter", ["k", "é"])
def test_a_long_name_of_a_field_costs_its_own_end_only(letter):
    """Every part with some of the field repeats the name, so that it has a bound where a record is taken apart."""
    logger, handler, sender = make(max_message=512)
    logger.info("x", extra={letter * 5000: "v" * 3000, "order": 17})
    [record] = deliver(LogReader(now=0.0), sender.take(), 1.0)
    [(name, value)] = [field for field in record.fields.items() if field[0] != "order"]
    assert name == letter * (128 // len(letter.encode()))
    assert (value, record.fields["order"]) == ("v" * 3000, 17)
    assert handler.stats().dropped == 0


def test_a_way_too_narrow_for_any_part_is_counted():
    """The record is missing, visibly."""
    logger, handler, sender = make(max_message=100)
    logger.info("x" * 500)
    assert sender.take() == []
    assert handler.stats().dropped == 1
    sender.max_message = 1000
    logger.info("next")
    [(_, payload)] = sender.take()
    assert (payload["prior"], payload["dropped"]) == ({20: 1}, 1)


def test_a_way_that_becomes_narrower_leaves_a_hole():
    """Parts are numbered when the first leaves; what then fits no more is missing in the record."""
    logger, handler, sender = make()
    send = sender.send

    def narrower(subject, payload=None):
        sent = send(subject, payload)
        sender.max_message = 600
        return sent

    sender.send = narrower  # type: ignore[method-assign]
    logger.error("x" * 5000)
    sender.send = send  # type: ignore[method-assign]
    logger.log(logging.INFO, "next")
    reader = LogReader(now=0.0)
    found = deliver(reader, sender.take(), 1.0) + reader.tick(2.0)
    assert found[0].hole
    assert found[1].message == "next"
    assert handler.stats().dropped == 1


def test_a_record_of_thousands_of_parts_is_joined_in_little_work():
    """However many are missing: a stranger chooses how many parts there are."""
    parts = [
        body(message="x" * 100, exception="y" * 100, fields={"f": "z" * 100, "n": [number]}) for number in range(4096)
    ]
    for number, part in enumerate(parts):
        part.part, part.parts = number, 4096
    text, exception, fields, hole = joined(parts[0::2])
    assert len(hole) == 2048
    assert text.count("x") == exception.count("y") == 204_800
    assert fields["n"] == [0]
    assert fields["f"].count("z") == 204_800
