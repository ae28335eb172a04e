"""Finds the value in a payload that cannot be carried; called only after encoding has failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from atmost.core.datagram import encode_message
from atmost.errors import PayloadNotEncodable, SubjectError

_DEPTH = 64


def explain(payload: Any, error: Exception, subject: str = "") -> PayloadNotEncodable | SubjectError:
    """Finds the innermost value that cannot be encoded.

    Args:
        payload: what was given to `send()`.
        error: what encoding it raised.
        subject: what it was to be sent on.
    """
    if not _encodable(subject):
        return SubjectError(subject, f"is a {type(subject).__qualname__}, which cannot be carried: send str(subject)")
    if isinstance(error, RecursionError):
        return PayloadNotEncodable("payload", "nested too deeply, or contains itself")
    where, value = _innermost("payload", payload, _DEPTH)
    if isinstance(value, int) and not isinstance(value, bool):
        return PayloadNotEncodable(where, "an integer beyond 64 bits: send it as text")
    detail = "" if isinstance(error, (TypeError, msgspec.MsgspecError)) else f" ({error})"
    return PayloadNotEncodable(
        where,
        f"{type(value).__module__}.{type(value).__qualname__} cannot be carried{detail}: "
        "send None, bool, int, float, str, bytes, list, tuple, dict, datetime, a msgspec Struct or a dataclass",
    )


def _innermost(where: str, value: Any, depth: int) -> tuple[str, Any]:
    """Descends into the first part that cannot be encoded by itself."""
    if depth:
        for step, part in _parts(value):
            if not _encodable(part):
                return _innermost(where + step, part, depth - 1)
    return where, value


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        keys = [(f" key {_short(key)}", key) for key in value]
        return keys + [(f"[{_short(key)}]", part) for key, part in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    names: Iterable[str] = getattr(value, "__struct_fields__", ()) or getattr(value, "__dataclass_fields__", ())
    return [(f".{name}", getattr(value, name, None)) for name in names]


def _encodable(value: Any) -> bool:
    try:
        encode_message(("", value))
    except Exception:  # noqa: BLE001  an encoder hook may raise anything
        return False
    return True


def _short(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 40 else text[:37] + "..."
