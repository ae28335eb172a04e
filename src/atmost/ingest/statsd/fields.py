"""The parts that metrics, events and service checks have in common: numbers, times, tags, and where a line came from."""

from __future__ import annotations

import math
import re
from typing import Final

from atmost.ingest.statsd.values import (
    MAX_NUMBER,
    MAX_TAGS,
    MAX_TIME,
    NOWHERE,
    StatsdDatagram,
    StatsdNote,
    StatsdOrigin,
    StatsdReason,
    StatsdRefusal,
    Tags,
)

_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
"""Decimal, as every client writes numbers; neither NaN nor infinity, which would spoil every total they enter."""
_TIME: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_FEW: Final = 8
_ORIGINS: Final = {"c:": "container", "e:": "external", "card:": "cardinality"}


def number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    if len(text) > MAX_NUMBER or _NUMBER.fullmatch(text) is None:
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def unix_time(text: str) -> float | None:
    """Seconds since 1970, above 0 and before the year 10000, or None."""
    if _TIME.fullmatch(text) is None:
        return None
    seconds = float(text)
    return seconds if 0 < seconds <= MAX_TIME else None


def note(into: StatsdDatagram, what: StatsdNote, count: int = 1) -> None:
    """Counts something about a line that is taken all the same."""
    into.notes[what] = into.notes.get(what, 0) + count


def read_tags(text: str, separator: str, into: StatsdDatagram, *, between: str = ",") -> Tags:
    """The tags of a list, each name once: of repeated ones the last value holds, because labels are unique.

    Args:
        text: the list.
        separator: between name and value: `:` in DogStatsD's own section, where a tag may also be a flag; `=` beside a name.
        into: counts empty and repeated tags.
        between: between two tags.

    Raises:
        StatsdRefusal: a tag has no name, or no value where it needs one, or they are too many.
    """
    pieces = text.split(between, MAX_TAGS + 1)
    if len(pieces) > MAX_TAGS:
        raise StatsdRefusal(StatsdReason.TOO_MANY_TAGS)
    empty = 0
    tags: list[tuple[str, str]] = []
    if separator == ":" and ",#" not in text:
        # Most lists are short and plain, no tag empty and none repeated: then nothing else has to be asked of each.
        names: list[str] = []
        for piece in pieces if len(pieces) <= _FEW else ():
            name, _, value = piece.partition(":")
            if not name or name in names:
                break
            names.append(name)
            tags.append((name, value))
        else:
            if tags:
                return tuple(tags)
        tags.clear()
    elif separator == ":":  # PHP's DogStatsD client writes the mark before every tag
        pieces = [piece.removeprefix("#") for piece in pieces]
    for piece in pieces:
        name, found, value = piece.partition(separator)
        if not name or not (found or separator == ":"):
            if piece:
                raise StatsdRefusal(StatsdReason.MALFORMED_COMPONENT)
            empty += 1
            continue
        tags.append((name, value))
    if empty:
        note(into, StatsdNote.EMPTY_TAG, empty)
    last = dict(tags)
    if len(last) < len(tags):
        note(into, StatsdNote.DUPLICATE_TAG, len(tags) - len(last))
    return tuple(last.items())


class Origin:
    """Gathers the fields that say where a line came from."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def accept(self, field: str) -> bool:
        """Keeps a field if it is one of these, and returns whether it was.

        Raises:
            StatsdRefusal: it was there before.
        """
        prefix, found, value = field.partition(":")
        name = _ORIGINS.get(prefix + found)
        if name is None:
            return False
        if name in self._found:
            raise StatsdRefusal(StatsdReason.MALFORMED_COMPONENT)
        self._found[name] = value
        return True

    def value(self) -> StatsdOrigin:
        """All of them."""
        return StatsdOrigin(**self._found) if self._found else NOWHERE
