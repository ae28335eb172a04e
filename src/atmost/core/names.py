"""Decides which subjects and patterns are well formed, which subjects a pattern matches, and which characters of a name are shown.

Subjects are dotted, patterns have the wildcards of NATS: `*` stands for one token, `>` for one or more at the end.
Pure functions, safe from any thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from atmost.errors import SubjectError

MAX_SUBJECT: Final = 255
"""Bytes of UTF-8 in a subject."""

HARMFUL: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    r"\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Control characters, line separators, overrides of the writing direction, and characters that nobody sees.

The last are Unicode's Default_Ignorable_Code_Point, without the selectors of variants (U+FE00 to U+FE0F), which emoji need.
"""
_MATCHES_KEPT: Final = 4096
_REFUSED: Final = re.compile(r"[\s\x00-\x20\x7f-\x9f\ud800-\udfff]")
"""White space, control characters and lone surrogates: they end a NATS protocol line, or a terminal's patience."""


def check_subject(subject: object) -> str:
    """Returns `subject` when a message can be sent on it.

    Raises:
        SubjectError: it is not text, empty, too long, has empty tokens, wildcards, white space or control characters.
    """
    text = _check_tokens(subject)
    if "*" in text or ">" in text:
        raise SubjectError(subject, "wildcards (*, >) are for receiving; a message is sent on one plain subject")
    return text


def check_pattern(pattern: object) -> str:
    """Returns `pattern` when subjects can be matched against it.

    Raises:
        SubjectError: as for a subject, or a wildcard that is only part of a token, or `>` before the end.
    """
    text = _check_tokens(pattern)
    tokens = text.split(".")
    for position, token in enumerate(tokens):
        if token not in {"*", ">"} and ("*" in token or ">" in token):
            raise SubjectError(pattern, f"the wildcard in {token!r} must be the whole token")
        if token == ">" and position != len(tokens) - 1:
            raise SubjectError(pattern, "'>' must be the last token")
    return text


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Makes the test whether a subject matches any of `patterns`, with a bounded memory of its answers.

    Args:
        patterns: one or more patterns; a single text is taken as one pattern.

    Raises:
        SubjectError: a pattern is malformed, or there is none.
    """
    checked = [check_pattern(p) for p in ([patterns] if isinstance(patterns, str) else patterns)]
    if not checked:
        raise SubjectError("", "at least one pattern is needed; '>' matches everything")
    if ">" in checked:
        return lambda _subject: True
    split = [p.split(".") for p in checked]
    known: dict[str, bool] = {}

    def matches(subject: str) -> bool:
        answer = known.get(subject)
        if answer is None:
            if len(known) >= _MATCHES_KEPT:
                known.clear()
            tokens = subject.split(".")
            answer = known[subject] = any(_matches(pattern, tokens) for pattern in split)
        return answer

    return matches


def overlap(one: str, other: str) -> bool:
    """Whether some subject matches both patterns; they are well formed."""
    mine, yours = one.split("."), other.split(".")
    for token, counterpart in zip(mine, yours, strict=False):
        if ">" in (token, counterpart):
            return True
        if token != counterpart and "*" not in (token, counterpart):
            return False
    return len(mine) == len(yours)


def legible(text: str) -> str:
    """Returns `text` with every undecodable byte replaced by a question mark: names of programs, hosts and files may hold such bytes."""
    return text.encode(errors="replace").decode()


def harmless(text: str) -> str:
    """Returns `text` with what a terminal obeys, and what nobody sees, shown as escapes."""
    return HARMFUL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def _check_tokens(subject: object) -> str:
    if not isinstance(subject, str):
        raise SubjectError(subject, f"must be a string, not {type(subject).__name__}")
    if not subject:
        raise SubjectError(subject, "must not be empty")
    if found := _REFUSED.search(subject):
        raise SubjectError(subject, f"must not contain white space or control characters (at {found.start()})")
    if (size := len(subject.encode())) > MAX_SUBJECT:
        raise SubjectError(subject, f"is {size} bytes long, at most {MAX_SUBJECT} are allowed")
    if subject[0] == "." or subject[-1] == "." or ".." in subject:
        raise SubjectError(subject, "has an empty token: dots may only stand between tokens, as in 'orders.new'")
    return subject


def _matches(pattern: list[str], tokens: list[str]) -> bool:
    for position, expected in enumerate(pattern):
        if expected == ">":
            return len(tokens) > position
        if position >= len(tokens) or expected not in {"*", tokens[position]}:
            return False
    return len(pattern) == len(tokens)
