"""Decides how what was logged becomes text and fields that can be sent; nothing here raises, whatever the objects do."""

from __future__ import annotations

from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

from atmost.logs.wire import MAX_FIELDS

MAX_KEY: Final = 128
"""Bytes of a field's name where a record is taken apart: each part that has some of the field repeats it."""
_DEPTH: Final = 8
"""Containers within containers that are carried as such; what lies deeper becomes text."""
_MOST_PARTS: Final = 4096
"""Parts of all containers of one field; beyond it a container becomes text, as one that contains itself soon would be."""


def plain_fields(fields: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns fields that can be carried: what cannot be is replaced by its text."""
    return {
        legible(said(name)).encode()[:MAX_KEY].decode(errors="ignore"): plain(value)
        for name, value in islice(fields.items(), MAX_FIELDS)
    }


_AS_THEY_ARE: Final = frozenset({bool, float, type(None), bytes, bytearray})
_USUAL_TYPES: Final = _AS_THEY_ARE | {str, int}
_NAME_TYPES: Final = frozenset({str})
_MAPPINGS: Final = frozenset({dict, OrderedDict, defaultdict, MappingProxyType, Counter, ChainMap})
_SEQUENCES: Final = frozenset({list, tuple, set, frozenset, deque})
_GREATEST: Final = 1 << 64
_LEAST: Final = -(1 << 63)


def is_plain(fields: Mapping[Any, Any]) -> bool:
    """Whether fields can be encoded as they are: names and values of the usual types, and nothing within values."""
    return _USUAL_TYPES.issuperset(map(type, fields.values())) and _NAME_TYPES.issuperset(map(type, fields))


def plain(value: Any) -> Any:
    """Returns a value as it can be carried: text, numbers, and the standard containers of these.

    Anything else becomes what `str()` shows of it. So an object shows of itself what it shows in any other log: a dataclass
    whose password has `repr=False` is not taken apart.
    """
    return _plain(value, _DEPTH, [_MOST_PARTS])


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    kind = type(value)
    if kind is str:
        return legible(value)
    if kind in _AS_THEY_ARE:
        return value
    if isinstance(value, int):
        return int(value) if _LEAST <= value < _GREATEST else said(value)
    if isinstance(value, float):
        return float(value)
    mapping = kind in _MAPPINGS
    if depth and left[0] > 0 and (mapping or kind in _SEQUENCES):
        try:
            parts: Iterable[Any] = islice(value.items() if mapping else value, MAX_FIELDS)
            left[0] -= len(value)
            if mapping:
                return {legible(said(key)): _plain(part, depth - 1, left) for key, part in parts}
            return [_plain(part, depth - 1, left) for part in parts]
        except Exception as error:  # noqa: BLE001  another thread changes it, or a part does anything when looked at
            return f"<unreadable {kind.__name__}: {describe_error(error)}>"
    return legible(said(value))


def legible(text: str) -> str:
    """Returns text that UTF-8 can carry: lone surrogates are shown as escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text if text.__class__ is str else str.__str__(text)


def said(value: Any, how: Any = str) -> str:
    """Returns the text of any object."""
    try:
        text = how(value)
        return text if isinstance(text, str) else ""
    except Exception:  # noqa: BLE001  its own affair
        return f"<unprintable {type(value).__name__}>"


def describe_error(error: BaseException) -> str:
    """Returns class and text of an exception, short."""
    return f"{type(error).__name__}: {said(error)}"[:200]
