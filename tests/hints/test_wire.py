"""Shards, texts and payloads: the same everywhere, and nothing that anybody sends raises."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost import HintError, OptionError, SubjectError
from atmost.hints.wire import (
    MAX_TEXT,
    affected,
    check_shards,
    check_text,
    read_hint,
    read_mark,
    shard_of,
    subjects,
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
HINT = [bytes(8), 3, 1, "k"]
MARK = [bytes(8), "name", "host", 1.0, 5.0, False, [1, 0], [0, 2], 3, [[3, "p"]]]


def test_shards_never_change():
    """Hints of this release are for the shards of every other."""
    assert [shard_of(key, 64) for key in ("", "user:42", "é", "x" * 1000)] == [2, 42, 51, 2]


@given(st.text(), st.integers(1, 256), st.integers(1, 256))
def test_affected_shards_share_a_key(text, theirs, ours):
    """Of a key's shard over there, the shard here is among those that count as affected."""
    assert shard_of(text, ours) in affected(shard_of(text, theirs), theirs, ours)


@given(st.integers(1, 256))
def test_only_one_is_affected_where_the_numbers_agree(shards):
    """No more than needed."""
    assert list(affected(shards - 1, shards, shards)) == [shards - 1]


@given(anything)
def test_reading_never_raises(payload):
    """Whatever it is."""
    read_hint(payload)
    read_mark(payload)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"short"),
        (1, -1),
        (1, 256),
        (2, 0),
        (2, -3),
        (2, 1 << 62),
        (2, "1"),
        (3, "x" * (MAX_TEXT + 1)),
        (3, None),
        (4, "d"),
    ],
)
def test_what_is_no_hint(place, value):
    """Field by field."""
    assert read_hint(HINT) is not None
    assert read_hint([*[*HINT, 5][:place], value, *HINT[place + 1 :]]) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"short"), (1, "n" * 257), (2, "h" * 257), (3, 0.01), (3, 61.0), (3, math.nan), (4, -1.0), (4, math.inf), (5, 1),
        (6, [1]), (6, []), (6, [-1, 0]), (6, [1 << 62, 0]), (7, [0] * 257), (8, -1), (9, [[4, "p"]]), (9, [[0, "p"]]),
        (9, [[1, "x" * (MAX_TEXT + 1)]]), (9, [[1, "p"]] * 257),
    ],
)  # fmt: skip
def test_what_is_no_mark(place, value):
    """Field by field."""
    assert read_mark(MARK) is not None
    assert read_mark([*MARK[:place], value, *MARK[place + 1 :]]) is None


@pytest.mark.parametrize("text", [5, None, b"k", ("a", 1), "x" * (MAX_TEXT + 1), "é" * (MAX_TEXT // 2 + 1), "\ud800"])
def test_what_cannot_be_a_key(text):
    """It says what to do."""
    with pytest.raises(HintError, match=r"^key .*: ") as caught:
        check_text("key", text)
    assert caught.value.text == text


def test_subclasses_of_text_become_text():
    """As Django's safe strings."""
    assert type(check_text("key", type("Safe", (str,), {})("a"))) is str


@pytest.mark.parametrize("shards", [0, 257, True, 1.5, "64", None])
def test_what_cannot_be_a_number_of_shards(shards):
    """It says the range."""
    with pytest.raises(OptionError, match="1 to 256"):
        check_shards(shards)


def test_subjects_are_checked():
    """With the kind they must still fit."""
    assert {str(kind): name for name, kind in subjects("hints.users").items()}["tag"] == "hints.users.tag"
    with pytest.raises(SubjectError):
        subjects("hints.*")
    with pytest.raises(SubjectError):
        subjects("h" * 253)
