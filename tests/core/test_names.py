"""Which subjects and patterns are well formed, and what matches what."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.core import names
from atmost.core.names import MAX_SUBJECT, check_pattern, check_subject, matcher, overlap
from atmost.errors import SubjectError

GOOD = ["a", "a.b", "orders.new.eu-1", "ä.ö", "x" * MAX_SUBJECT, "$SYS.x", "a_b.c:d"]
BAD = [
    "",
    ".",
    ".a",
    "a.",
    "a..b",
    "a b",
    "a\tb",
    "a\nb",
    "a\x00b",
    "a\x7fb",
    "a\u0085b",
    "a\u2003b",
    "\ud800",
    "x" * (MAX_SUBJECT + 1),
    "ä" * (MAX_SUBJECT // 2 + 1),
]
NOT_TEXT = [None, 1, b"a", ["a"], 1.5]


@pytest.mark.parametrize("subject", GOOD)
def test_a_good_subject_is_a_good_pattern_too(subject):
    """Dotted text without wildcards can be sent on and asked for, and comes back as it was given."""
    assert check_subject(subject) == subject
    assert check_pattern(subject) == subject
    assert matcher(subject)(subject)


@pytest.mark.parametrize("subject", BAD + NOT_TEXT)
def test_a_bad_subject_is_refused_with_its_value(subject):
    """What is empty, too long, malformed or no text raises, for sending and for receiving, with the value as a field."""
    for check in (check_subject, check_pattern):
        with pytest.raises(SubjectError) as caught:
            check(subject)
        assert caught.value.subject == subject
        assert caught.value.problem
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("pattern", ["*", ">", "a.*", "a.*.b", "a.>", "*.>", "*.*"])
def test_wildcards_are_for_receiving(pattern):
    """A whole token may be a wildcard in a pattern, never in a subject."""
    assert check_pattern(pattern) == pattern
    with pytest.raises(SubjectError, match="wildcards"):
        check_subject(pattern)


@pytest.mark.parametrize("pattern", ["a*", "*a.b", "a.b>", ">.a", "a.>.b", "**", ">>", "a.*>"])
def test_a_wildcard_is_a_whole_token_and_the_last_one_is_last(pattern):
    """`*` and `>` stand alone in their token, `>` only at the end."""
    with pytest.raises(SubjectError):
        check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a", ["a"], ["b", "a.b", "aa"]),
        ("a.*", ["a.b", "a.c"], ["a", "a.b.c", "b.b"]),
        ("*.b", ["a.b"], ["b", "a.b.c", "a.c"]),
        ("a.>", ["a.b", "a.b.c"], ["a", "b.c"]),
        ("*.*.>", ["a.b.c", "a.b.c.d"], ["a.b"]),
        (">", ["a", "a.b.c"], []),
        ("*", ["a"], ["a.b"]),
    ],
)
def test_what_a_pattern_matches(pattern, yes, no):
    """`*` is one token, `>` one or more at the end."""
    matches = matcher([pattern])
    for _ in range(2):  # the second time from memory
        assert [subject for subject in yes + no if matches(subject)] == yes


def test_any_of_several_patterns_is_enough():
    """Several patterns are alternatives; among them `>` matches everything."""
    matches = matcher(["a.*", "b"])
    assert matches("a.x")
    assert matches("b")
    assert not matches("c")
    assert matcher(["a", ">"])("c.d")


def test_no_pattern_at_all_is_refused():
    """Nothing would ever match: that is a mistake, and malformed patterns are found here too."""
    with pytest.raises(SubjectError):
        matcher([])
    with pytest.raises(SubjectError):
        matcher(["a", "b..c"])


def test_a_flood_of_subjects_stays_bounded(monkeypatch):
    """Subjects come from the wire: the memory of answers is bounded, and the answers stay right."""
    monkeypatch.setattr(names, "_MATCHES_KEPT", 4)
    matches = matcher("a.*")
    for number in range(20):
        assert matches(f"a.{number}")
        assert not matches(f"b.{number}")
    (known,) = [cell.cell_contents for cell in matches.__closure__ if isinstance(cell.cell_contents, dict)]
    assert len(known) <= 4


@given(st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=4), st.booleans(), st.text("ab.", max_size=8))
def test_matching_agrees_with_the_rule_token_by_token(pattern, open_end, subject):
    """For every pattern and every text: as many tokens (or more, with `>`), each the same or under a `*`."""
    asked = subject.split(".")
    expected = (len(asked) > len(pattern) if open_end else len(asked) == len(pattern)) and all(
        p in {"*", t} for p, t in zip(pattern, asked, strict=False)
    )
    assert matcher(".".join([*pattern, ">"] if open_end else pattern))(subject) is expected


PATTERNS = st.builds(
    lambda tokens, open_end: ".".join([*tokens, ">"] if open_end else tokens),
    st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=3),
    st.booleans(),
)


@given(PATTERNS, PATTERNS)
def test_two_patterns_overlap_when_some_subject_matches_both(one, other):
    """Tried with every subject of up to four tokens, which is longer than either."""
    subjects = [".".join(tokens) for size in range(1, 5) for tokens in itertools.product("ab", repeat=size)]
    assert overlap(one, other) is any(matcher(one)(subject) and matcher(other)(subject) for subject in subjects)
