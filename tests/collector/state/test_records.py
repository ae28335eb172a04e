"""Records and gaps: levels, what a gap may hide, and fields of any kind made plain."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.collector.state.records import (
    MAX_FIELDS,
    MAX_FIELDS_TEXT,
    Gap,
    Record,
    clean,
    may_hold,
    plain_fields,
    plain_level,
    rank,
)

PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4),
    max_leaves=10,
)


def gap(lost, by_level):
    """A gap of so many records."""
    return Gap(t=0.0, sender="s", lost=lost, by_level=by_level, reason="lost", from_=0.0, to=1.0, verified=True)


@pytest.mark.parametrize(
    ("by_level", "least", "passes"),
    [
        (None, 50, True),
        ({"INFO": 2}, 20, True),
        ({"INFO": 2}, 30, False),
        ({"INFO": 2, "ERROR": 0}, 40, False),
        ({"INFO": 1}, 40, True),
        ({"AUDIT": 2}, 50, True),
    ],
)
def test_a_gap_passes_every_filter_whose_records_it_may_hide(by_level, least, passes):
    """What is not told by level may be anything."""
    assert may_hold(gap(2, by_level), least) is passes


@pytest.mark.parametrize(
    ("level", "number"),
    [
        ("info", 20),
        ("WARN", 30),
        ("Level 15", 15),
        ("Level x", None),
        ("Level " + "9" * 5000, None),
        ("AUDIT", None),
        (None, None),
        ("EMERG", 70),
    ],
)
def test_levels_have_an_order(level, number):
    """By the names of logging and syslog; others have none."""
    assert rank(level) == number


@given(st.dictionaries(st.text(max_size=200) | st.integers(), PAYLOADS, max_size=80))
def test_fields_of_any_kind_are_plain_and_bounded(given_fields):
    """Whatever a stranger sends: JSON can carry it, and it is no more than the bound."""
    fields, _ = plain_fields(given_fields)
    msgspec.json.encode(fields)
    assert len(fields) <= MAX_FIELDS
    assert all(len(key) <= 128 for key in fields)
    assert all(value is None or isinstance(value, str | int | float | bool) for value in fields.values())
    assert all(len(value) <= 4096 for value in fields.values() if isinstance(value, str))


def test_what_is_left_out_is_said():
    """Too many fields, or too long ones."""
    assert plain_fields({str(number): 1 for number in range(MAX_FIELDS + 1)})[1]
    assert plain_fields({"a": "x" * 5000})[1]
    assert not plain_fields({"a": "x", "b": 2**60})[1]
    assert plain_fields({"b": 2**60})[0] == {"b": str(2**60)}


def test_lone_surrogates_are_replaced():
    """UTF-8 cannot carry them."""
    assert clean("a\ud800b") == "a?b"
    assert clean("äö") == "äö"


def test_the_forms_on_the_wire():
    """Tagged by their type, and `from` under its own name."""
    record = Record(t=1.0, sender="s", host="h", level=None, logger="", message="m", source="syslog")
    assert msgspec.to_builtins(record)["type"] == "record"
    assert msgspec.to_builtins(gap(2, None)) == {
        "type": "gap",
        "cursor": 0,
        "t": 0.0,
        "sender": "s",
        "lost": 2,
        "by_level": None,
        "reason": "lost",
        "from": 0.0,
        "to": 1.0,
        "verified": True,
    }


@pytest.mark.parametrize(
    ("level", "plain"),
    [
        ("INFO", "INFO"),
        ("warn", "WARNING"),
        ("Level 35", "WARNING"),
        ("Level 1", "TRACE"),
        ("EMERGENCY", "ALERT"),
        ("AUDIT", "unknown"),
        (None, "unknown"),
    ],
)
def test_any_level_is_one_of_a_few(level, plain):
    """A metric's label must be one of a bounded set."""
    assert plain_level(level) == plain


def test_the_fields_of_a_record_are_bounded_together():
    """However many there are of the longest: a small datagram must not become a large line for every reader."""
    fields, left_out = plain_fields({f"f{number}": "x" * 5000 for number in range(64)})
    assert left_out
    assert sum(map(len, fields.values())) <= MAX_FIELDS_TEXT + 4096
