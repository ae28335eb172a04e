"""Reads the JSON of one message; pure.

A field's value is decoded alone, and lists and maps never are: they stay JSON. So what is nested costs its length and not an
object for each bracket, which for an inflated message was a third of a second; and a field that cannot be read costs only itself.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from atmost.ingest.gelf.values import (
    ENDING,
    LEVELS,
    MARK,
    MAX_FIELDS,
    GelfNote,
    GelfReason,
    GelfRecord,
    GelfRefusal,
    Scalar,
)

_READ: Final = ("host", "short_message", "full_message", "timestamp", "level")
_STANDARD: Final = frozenset({"version", *_READ})
_MAX_TIME: Final = 253_402_300_799
_MAX_REPAIRED: Final = 1 << 16
"""Bytes of a message in which halves of characters are looked for; each escape in it costs a step of Python."""
_DIGITS: Final = 18
"""An integer of so many digits fits 64 bits."""
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""An escape of JSON; the group is half of a character without its other half."""
_read: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_value: Final = msgspec.json.Decoder().decode
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError)


def read_message(data: bytes, peer: str, now: float, chunks: int) -> GelfRecord:
    """The message.

    Args:
        data: JSON, possibly with NUL bytes and line ends behind it, as over TCP.
        peer: who sent it, which stands for a host that is not told.
        now: when it arrived, Unix seconds.
        chunks: datagrams it came in.

    Raises:
        GelfRefusal: it is not a message.
    """
    notes: list[GelfNote] = []
    text = data.rstrip(ENDING).removeprefix(MARK)
    try:
        try:
            values = _read(text)
        except _UNREADABLE:
            # Half of a character, as JavaScript leaves behind when it cuts a text, and Python of a name in no encoding.
            if len(text) > _MAX_REPAIRED or text == (text := _ESCAPE.sub(_repaired, text)):
                raise
            values = _read(text)
            notes.append(GelfNote.NOT_UNICODE)
        said = {name: _value(values[name]) for name in _READ if name in values}
    except _UNREADABLE:
        raise GelfRefusal(GelfReason.MALFORMED_JSON) from None
    message = said.get("short_message")
    if not isinstance(message, str):
        raise GelfRefusal(GelfReason.MISSING_MESSAGE)
    host, full = said.get("host"), said.get("full_message")
    if not isinstance(host, str) or not host:
        host = peer
        notes.append(GelfNote.NO_HOST)
    t = _number(said.get("timestamp"))
    if t is None or t <= 0:
        t = now
        notes.append(GelfNote.NO_TIME)
    level = _number(said.get("level"))
    severity = int(level) if level is not None and level in range(len(LEVELS)) else None
    if severity is None:
        notes.append(GelfNote.NO_LEVEL)
    fields, whole = _fields(values)
    if not whole:
        notes.append(GelfNote.FIELDS_LEFT_OUT)
    full_message = full if isinstance(full, str) else None
    return GelfRecord(t, now, peer, host, severity, message, full_message, fields, chunks, tuple(notes))


def _repaired(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[1] else escape[0]


def _fields(said: dict[str, msgspec.Raw]) -> tuple[dict[str, Scalar], bool]:
    """The additional fields, and whether they are all there. Those without an underscore are kept too, as `facility` was."""
    fields: dict[str, Scalar] = {}
    whole = True
    theirs = [name for name in said if name not in _STANDARD]
    theirs.sort(key=_is_bare)  # first those that are named as the format has it
    for name in theirs:
        if len(fields) >= MAX_FIELDS:
            return fields, False
        short = name.removeprefix("_")
        if not short or name == "_id" or short in fields:
            whole = False
            continue
        try:
            fields[short] = _scalar(bytes(said[name]))
        except _UNREADABLE:
            whole = False
    return fields, whole


def _is_bare(name: str) -> bool:
    return name[:1] != "_"


def _scalar(value: bytes) -> Scalar:
    """A field's value; lists and maps as JSON, and integers that may not fit 64 bits as their digits.

    Raises:
        DecodeError, UnicodeDecodeError, RecursionError: it is no UTF-8 or no number that there is, or nested too deeply.
    """
    if value[:1] in b"[{":
        return msgspec.json.format(value, indent=-1).decode()
    if len(value) > _DIGITS and value.removeprefix(b"-").isdigit():
        number = int(value) if len(value) <= _DIGITS + 2 else 1 << 63
        return number if -(1 << 63) <= number < 1 << 63 else value.decode()
    scalar: Scalar = _value(value)
    return scalar


def _number(value: Any) -> float | None:
    """A number, or the text of one, as older clients send it."""
    if isinstance(value, str) and len(value) <= 32 and value.isascii() and value.replace(".", "", 1).isdigit():
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_TIME:
        return None
    return float(value)
