"""Reads the structured data of RFC 5424, section 6.3."""

from __future__ import annotations

import re
from typing import Final

from atmost.ingest.syslog.values import MAX_SEQUENCE, Element, SyslogReason, SyslogRefusal

MAX_PARAMETERS: Final = 256
"""Elements and parameters of a message, together."""

_NAME: Final = r'[^\s=\]"\x00-\x1f\x7f-\x9f]{1,64}'
"""The RFC has 32 characters; longer ones are found."""
_ID: Final = re.compile(rf"\[({_NAME})")
_PARAMETER: Final = re.compile(rf' ({_NAME})="([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_UNQUOTED: Final = re.compile(rf' ({_NAME})=([^\s"\]]*)(?=[ \]])')
_ESCAPE: Final = re.compile(r'\\(["\\\]])')
_NUMBER: Final = re.compile(r"[0-9]{1,10}")


def read_structured(text: str, at: int) -> tuple[tuple[Element, ...], int, bool]:
    """The elements that begin at `at`, where they end, and whether all values have their quotes.

    A value without quotes, as VMware's hosts write it, ends at a blank or the bracket. A `]` inside a value should be escaped; since the value's quotes tell where it ends, one that is not is taken too. A
    backslash before any other character than `"`, `\\` and `]` stands for itself.

    Raises:
        SyslogRefusal: they are malformed, or too many.
    """
    if text[at] == "-":
        return (), at + 1, True
    elements: list[Element] = []
    count = 0
    quoted = True
    while found := _ID.match(text, at):
        at = found.end()
        parameters: list[tuple[str, str]] = []
        while parameter := _PARAMETER.match(text, at) or _UNQUOTED.match(text, at):
            at = parameter.end()
            bare = parameter.re is _UNQUOTED
            quoted = quoted and not bare
            parameters.append((parameter[1], parameter[2] if bare else _ESCAPE.sub(r"\1", parameter[2])))
            count += 1
            if count > MAX_PARAMETERS:
                raise SyslogRefusal(SyslogReason.TOO_MUCH_STRUCTURED_DATA)
        if text[at : at + 1] != "]":
            raise SyslogRefusal(SyslogReason.MALFORMED_STRUCTURED_DATA)
        at += 1
        elements.append((found[1], tuple(parameters)))
        count += 1
        if count > MAX_PARAMETERS:
            raise SyslogRefusal(SyslogReason.TOO_MUCH_STRUCTURED_DATA)
    if not elements:
        raise SyslogRefusal(SyslogReason.MALFORMED_STRUCTURED_DATA)
    return tuple(elements), at, quoted


def sequence_of(structured: tuple[Element, ...]) -> int | None:
    """The number in `[meta sequenceId="…"]`, 1 to 2147483647, or None (RFC 5424, 7.3.1)."""
    for name, parameters in structured:
        if name == "meta":
            for parameter, value in parameters:
                if parameter == "sequenceId" and _NUMBER.fullmatch(value) and 1 <= int(value) <= MAX_SEQUENCE:
                    return int(value)
    return None
