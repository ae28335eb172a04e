"""Entries of the log tail: records, and gaps that say how many records are missing in their place.

The fields are those of the HTTP interface; times are seconds since 1970. Text is kept unescaped: code that shows it escapes it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec

MAX_FIELDS: Final = 64
"""Fields of one record; further ones are dropped, and the record is marked truncated."""
MAX_FIELDS_TEXT: Final = 65_536
"""Total length of one record's values, about (characters); further fields are dropped."""
_MAX_KEY: Final = 128
_MAX_LEVEL: Final = 32
"""Longest level with a number (characters), because Python refuses to parse thousands of digits."""
_MAX_VALUE: Final = 4096
_OVERHEAD: Final = 700
"""Memory of a record without its texts (bytes)."""
_EMPTY: Final = sys.getsizeof("")

LEVELS: Final = {
    "TRACE": 5,
    "DEBUG": 10,
    "INFO": 20,
    "NOTICE": 25,
    "WARNING": 30,
    "ERROR": 40,
    "CRITICAL": 50,
    "ALERT": 60,
}
"""Level names that a filter understands, lowest first."""
UNKNOWN: Final = "unknown"
_ALSO: Final = {"WARN": 30, "FATAL": 50, "EMERGENCY": 70, "EMERG": 70, "CRIT": 50, "ERR": 40}


class Record(msgspec.Struct, tag_field="type", tag="record", kw_only=True):
    """One log record."""

    cursor: int = 0
    t: float
    sender: str
    host: str
    level: str | None
    logger: str
    message: str
    exception: str | None = None
    fields: dict[str, Any] = {}
    late: bool = False
    truncated: bool = False
    source: str

    def size(self) -> int:
        """Bytes it takes in memory, about."""
        fields = self.fields
        texts = [self.message, self.exception or "", self.sender, self.host, self.logger, *fields]
        texts += [value for value in fields.values() if isinstance(value, str)]
        others = 5 + 2 * len(fields) - len(texts)
        joined = "".join(texts)
        length = len(joined) if joined.isascii() else sum(map(_length, texts))
        return _OVERHEAD + length + 32 * others + 160 * len(fields)


class Gap(msgspec.Struct, tag_field="type", tag="gap", kw_only=True):
    """Records that were sent but did not arrive."""

    cursor: int = 0
    t: float
    sender: str
    lost: int
    by_level: dict[str, int] | None
    reason: str
    from_: float = msgspec.field(name="from")
    to: float
    verified: bool

    def size(self) -> int:
        """Bytes it takes in memory, about."""
        return _OVERHEAD + _length(self.sender) + 160 * len(self.by_level or ())


Entry = Record | Gap


def rank(level: str | None) -> int | None:
    """The severity of a level as a number; None for an unknown level, which every filter lets pass."""
    if level is None:
        return None
    name = level.upper()
    known = LEVELS.get(name, _ALSO.get(name))
    if known is None and name.startswith("LEVEL "):  # how the logging module names levels without a name
        return int(name[6:]) if name[6:].isdecimal() and len(name) <= _MAX_LEVEL else None
    return known


def plain_level(level: str | None) -> str:
    """The level as a name in `LEVELS`, the next lower one if it lies between two; `unknown` for an unknown level."""
    known = rank(level)
    if known is None:
        return UNKNOWN
    return next((name for name, least in reversed(LEVELS.items()) if known >= least), next(iter(LEVELS)))


def may_hold(gap: Gap, least: int) -> bool:
    """Whether records of this level or higher may be among those lost in a gap."""
    if gap.by_level is None or sum(gap.by_level.values()) < gap.lost:
        return True
    return any(count and (rank(level) is None or (rank(level) or 0) >= least) for level, count in gap.by_level.items())


def clean(text: str) -> str:
    """The text with lone surrogates replaced, which UTF-8 cannot encode."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def plain_fields(given: Mapping[Any, Any]) -> tuple[dict[str, Any], bool]:
    """Fields in a form fit for JSON, bounded, and whether anything was left out.

    A value that is not a string, number or boolean becomes its JSON text.
    """
    fields: dict[str, Any] = {}
    left_out = len(given) > MAX_FIELDS
    room = MAX_FIELDS_TEXT
    for key, value in given.items():
        if len(fields) == MAX_FIELDS or room <= 0:
            left_out = True
            break
        kind = value.__class__
        shown = value if kind is float or kind is bool else _shown(value)
        if shown.__class__ is str:
            left_out = left_out or len(shown) > _MAX_VALUE
            shown = shown[:_MAX_VALUE]
            room -= len(shown)
        else:
            room -= 8
        fields[clean(str(key))[:_MAX_KEY]] = shown
    return fields, left_out


def value_text(value: Any) -> str:
    """A field's value as filters compare it: strings as they are, other values as JSON."""
    return value if isinstance(value, str) else _encode(value).decode()


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**53) <= value <= 2**53 else str(value)  # JavaScript's numbers are exact up to here
    try:
        return clean(_encode(value).decode())
    except Exception:  # noqa: BLE001  a value of a stranger that cannot be encoded is shown by its type
        return f"<{type(value).__name__}>"


def _length(value: str) -> int:
    """Bytes in memory: Python stores every character of a string in the width of its widest one, up to four bytes."""
    return len(value) if value.isascii() else sys.getsizeof(value) - _EMPTY


_encode: Final = msgspec.json.Encoder(enc_hook=repr).encode
