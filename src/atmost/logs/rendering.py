"""Decides how what was logged becomes text and fields that can be sent; nothing here raises, whatever the objects do.

A record whose arguments do not format is kept, with what went wrong beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from atmost.logs.wire import MAX_FIELDS, encode

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_USUAL: Final = len(logging.makeLogRecord({}).__dict__)
MAX_KEY: Final = 128
"""Bytes of a field's name where a record is taken apart: each part that has some of the field repeats it."""
_DEPTH: Final = 4
_formatter: Final = logging.Formatter()


def message_of(record: logging.LogRecord, formatter: logging.Formatter | None) -> tuple[str, str]:
    """The message of a record, and what went wrong in formatting it, else empty."""
    try:
        return (record.getMessage() if formatter is None else formatter.format(record)), ""
    except Exception as error:  # noqa: BLE001  the caller's format, arguments or formatter: the record is kept
        return f"{said(record.msg)} {said(record.args, repr)}", describe_error(error)


def exception_of(record: logging.LogRecord) -> str:
    """The traceback, and the stack where one was asked for."""
    texts = []
    try:
        if record.exc_text:
            texts.append(record.exc_text)
        elif record.exc_info and record.exc_info[0] is not None:
            texts.append(_formatter.formatException(record.exc_info))
        if record.stack_info:
            texts.append(str(record.stack_info))
    except Exception as error:  # noqa: BLE001  see above
        texts.append(f"<no traceback: {describe_error(error)}>")
    return "\n".join(texts)


def extra_of(record: logging.LogRecord) -> dict[str, Any] | None:
    """What the caller added to the record, by name."""
    facts = record.__dict__
    if len(facts) == _USUAL:  # the usual case, found at once; with `extra` there are more
        return None
    return {name: facts[name] for name in facts if name not in _STANDARD} or None


def plain_fields(fields: Mapping[Any, Any]) -> dict[str, Any]:
    """Fields that can be carried: what cannot is replaced by its text."""
    return {
        legible(said(name)).encode()[:MAX_KEY].decode(errors="ignore"): plain(value)
        for name, value in islice(fields.items(), MAX_FIELDS)
    }


def plain(value: Any, depth: int = _DEPTH) -> Any:
    """A value as it can be carried; what can be neither carried nor taken apart becomes its text."""
    if isinstance(value, str):
        return legible(value)
    if _carries(value):
        return value
    try:
        if depth and isinstance(value, Mapping):
            return {legible(said(key)): plain(part, depth - 1) for key, part in islice(value.items(), MAX_FIELDS)}
        if depth and isinstance(value, list | tuple | set | frozenset):
            parts: Iterable[Any] = islice(value, MAX_FIELDS)
            return [plain(part, depth - 1) for part in parts]
    except Exception as error:  # noqa: BLE001  a container may do anything when it is looked into
        return f"<unreadable {type(value).__name__}: {describe_error(error)}>"
    return legible(said(value))


def legible(text: str) -> str:
    """Text that UTF-8 can carry: lone surrogates are shown as escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text if text.__class__ is str else str.__str__(text)


def said(value: Any, how: Any = str) -> str:
    """The text of any object."""
    try:
        text = how(value)
        return text if isinstance(text, str) else ""
    except Exception:  # noqa: BLE001  its own affair
        return f"<unprintable {type(value).__name__}>"


def describe_error(error: BaseException) -> str:
    """Class and text of an exception, short."""
    return f"{type(error).__name__}: {said(error)}"[:200]


def _carries(value: Any) -> bool:
    try:
        encode(value)
    except Exception:  # noqa: BLE001  an encoder hook may raise anything
        return False
    return True
