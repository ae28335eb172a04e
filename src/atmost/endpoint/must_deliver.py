"""Decides which subjects must not be sent at most once, for all senders of the process.

What is declared stays declared: loss that was not tolerated once is not tolerated later.
Safe from any thread. A sender asks once per subject and remembers the answer, so `send()` costs the same with patterns and without.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from atmost.core.names import check_pattern, check_subject, overlap
from atmost.errors import LossNotTolerated, OptionError, SubjectError

VARIABLE: Final = "ATMOST_MUST_DELIVER"
_MAX_PATTERNS: Final = 1000


class _Declared(NamedTuple):
    """All patterns and the test for them: replaced as a whole, so that readers need no lock."""

    patterns: tuple[str, ...]
    matches: Callable[[str], object] | None
    """One regular expression for all of them: a sender with more subjects than it remembers asks often."""


_declared = _Declared((), None)
_of_environment = ""
_declaring = threading.Lock()
_rememberers: list[Callable[[], None]] = []
"""Called after a declaration, so that answers given before it are forgotten."""


def must_deliver(*patterns: str) -> None:
    """Declares subjects on which a loss is not acceptable: from now on `send()` on them raises `LossNotTolerated`.

    This holds for all senders of this process and its forked children, existing ones included, and cannot be undone.
    Messages already given to `send()` are not recalled.

    Args:
        patterns: subjects, or patterns with `*` for one token and `>` for the rest, such as `"payments.>"`.

    Raises:
        SubjectError: a pattern is malformed, or there is none; then nothing is declared.
        OptionError: more than 1000 patterns are declared.
    """
    if not patterns:
        raise SubjectError("", "must_deliver needs at least one pattern, as in must_deliver('payments.>')")
    _declare([check_pattern(pattern) for pattern in patterns])


def check_lossy(subject: object) -> str:
    """Returns `subject` if a message may be sent on it at most once; for constructors of objects that send later.

    Raises:
        SubjectError: it is malformed.
        LossNotTolerated: it was declared must-deliver, here or in `ATMOST_MUST_DELIVER`.
    """
    text = check_subject(subject)
    declare_from_environment()
    refuse(text)
    return text


def check_lossy_below(prefix: str) -> str:
    """Returns `prefix` when no pattern can match a subject that begins with it and has more tokens.

    Raises:
        SubjectError: it is malformed.
        LossNotTolerated: subjects below it were declared must-deliver.
    """
    below = f"{check_subject(prefix)}.>"
    declare_from_environment()
    for pattern in _declared.patterns:
        if overlap(pattern, below):
            raise LossNotTolerated(below, pattern)
    return prefix


def refuse(subject: str) -> None:
    """Raises for a well-formed subject that was declared must-deliver.

    Raises:
        LossNotTolerated: it was.
    """
    declared = _declared
    if declared.matches is not None and declared.matches(subject):
        raise LossNotTolerated(subject, next(p for p in declared.patterns if _expression([p]).fullmatch(subject)))


def declare_from_environment() -> None:
    """Declares what `ATMOST_MUST_DELIVER` lists, patterns separated by commas; cheap when that did not change.

    Raises:
        OptionError: a pattern in it is malformed.
    """
    global _of_environment  # noqa: PLW0603  the process has one environment
    text = os.environ.get(VARIABLE, "")
    if text == _of_environment:
        return
    try:
        patterns = [check_pattern(part) for part in map(str.strip, text.split(",")) if part]
    except SubjectError as error:
        expected = f"patterns separated by commas, as payments.>,stock.*; {error}"
        raise OptionError(VARIABLE, text, expected) from None
    if patterns:
        _declare(patterns)
    _of_environment = text


def on_declaration(forget: Callable[[], None]) -> None:
    """Has `forget` called after each declaration, by the thread that declares."""
    _rememberers.append(forget)


def _declare(patterns: list[str]) -> None:
    global _declared  # noqa: PLW0603  what a process must deliver is one set
    with _declaring:
        known = tuple(dict.fromkeys((*_declared.patterns, *patterns)))
        if len(known) > _MAX_PATTERNS:
            raise OptionError("must_deliver", f"{len(known)} patterns", f"at most {_MAX_PATTERNS} in one process")
        _declared = _Declared(known, _expression(known).fullmatch)
    for forget in _rememberers:
        forget()


def _expression(patterns: Iterable[str]) -> re.Pattern[str]:
    """A regular expression for the subjects of any of the patterns; all of them are well formed."""
    wildcards = {"*": r"[^.]+", ">": ".+"}
    return re.compile(
        "|".join(r"\.".join(wildcards.get(token) or re.escape(token) for token in p.split(".")) for p in patterns)
    )
