"""What became of bytes that could not be read: a reason to count by, and a sample to show.

Pure, safe from any thread.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

MAX_SAMPLE: Final = 200
"""Characters of a sample, escapes included."""


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A line, a datagram or a message that was refused."""

    reason: StrEnum
    """A member of the protocol's own reasons."""
    sample: str
    """The beginning of what was refused, escaped: safe on a terminal and in a log, at most `MAX_SAMPLE` characters."""
    count: int = 1
    """Lines, or samples of a line, refused at once."""


def rejected(reason: StrEnum, what: bytes | str, count: int = 1) -> Rejected:
    """The refusal of `what`, with its beginning as the sample."""
    return Rejected(reason, escaped(what), count)


def escaped(what: bytes | str) -> str:
    """The beginning of `what` in printable characters; backslashes are doubled, so that an escape is one for certain.

    Printable is what Unicode calls so: no control character, no line break, no override of the writing direction.
    """
    head = what[: 4 * MAX_SAMPLE + 4]  # of no more than four bytes a character: one too many at least, when it is cut
    text = head.decode("utf-8", "surrogateescape") if isinstance(head, bytes) else head
    if len(text) <= MAX_SAMPLE and text.isprintable() and "\\" not in text:
        return text
    shown: list[str] = []
    room = MAX_SAMPLE
    for character in text:
        piece = _escape(character)
        if len(piece) > room:
            break
        shown.append(piece)
        room -= len(piece)
    else:
        return "".join(shown)
    while room < 1:  # for the sign that something follows
        room += len(shown.pop())
    return "".join(shown) + "…"


def _escape(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
