"""Reads the JSON of one message; pure."""

from __future__ import annotations

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

_STANDARD: Final = frozenset({"version", "host", "short_message", "full_message", "timestamp", "level"})
_MAX_TIME: Final = 253_402_300_799


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
    try:
        said = msgspec.json.decode(data.rstrip(ENDING).removeprefix(MARK))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError):
        raise GelfRefusal(GelfReason.MALFORMED_JSON) from None
    if not isinstance(said, dict):
        raise GelfRefusal(GelfReason.MALFORMED_JSON)
    message = said.get("short_message")
    if not isinstance(message, str):
        raise GelfRefusal(GelfReason.MISSING_MESSAGE)
    notes: list[GelfNote] = []
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
    fields, whole = _fields(said)
    if not whole:
        notes.append(GelfNote.FIELDS_LEFT_OUT)
    full_message = full if isinstance(full, str) else None
    return GelfRecord(t, now, peer, host, severity, message, full_message, fields, chunks, tuple(notes))


def _fields(said: dict[str, Any]) -> tuple[dict[str, Scalar], bool]:
    """The additional fields, and whether they are all there. Those without an underscore are kept too, as `facility` was."""
    fields: dict[str, Scalar] = {}
    whole = True
    for marked in (True, False):  # first those that are named as the format has it
        for name, value in said.items():
            if (name[:1] == "_") is not marked or name in _STANDARD:
                continue
            if len(fields) >= MAX_FIELDS:
                return fields, False
            short = name.removeprefix("_")
            if not short or name == "_id" or short in fields:
                whole = False
                continue
            try:
                fields[short] = _scalar(value)
            except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
                whole = False
    return fields, whole


def _scalar(value: Any) -> Scalar:
    """A field's value; lists and maps as JSON, and integers that fit no 64 bits as their digits.

    Raises:
        ValueError, OverflowError, RecursionError: numbers in it are too long, or it is nested too deeply.
    """
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    scalar: Scalar = value
    return scalar


def _number(value: Any) -> float | None:
    """A number, or the text of one, as older clients send it."""
    if isinstance(value, str) and len(value) <= 32 and value.isascii() and value.replace(".", "", 1).isdigit():
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_TIME:
        return None
    return float(value)
