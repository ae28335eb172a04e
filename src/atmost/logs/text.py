"""Decides how what was logged becomes text and fields that can be sent, what is left of it when it is too large, and how
it is cut into parts when it does not fit a datagram.

Nothing here raises, whatever the objects do: a record whose arguments do not format is kept, with the error beside it.
Beyond the limit texts keep head and tail, the longest first, so that a long traceback does not cost the message.
Parts repeat what is small, and share the texts: a lost part leaves a hole in a text, and no more.
"""  # noqa: D205

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, Protocol

import msgspec

from atmost.errors import PayloadTooLarge
from atmost.logs.wire import MAX_FIELDS, MAX_PARTS, Body, encode

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


LEAST: Final = 64
"""Below this much room a part would be mostly head, bytes."""
_PIECE: Final = 16
"""What a piece costs in a part besides its text and name, bytes, at most."""
_OMITTED: Final = "\n[... {:,} bytes left out ...]\n"
_OMITTED_ROOM: Final = len(_OMITTED) + 24

MESSAGE: Final = 0
EXCEPTION: Final = 1
FIELD: Final = 2

Piece = tuple[int, str, Any, int]
"""What it belongs to, the name of a field, the value (bytes where it is text that may be cut), and its size in bytes."""


def bounded(body: Body, fields: dict[str, Any] | None, limit: int) -> list[Piece]:
    """The contents of a record, at most `limit` bytes of texts and fields; notes on the body what was cut.

    Args:
        body: the record; `truncated` and `original_bytes` are set here.
        fields: what the caller added.
        limit: bytes.
    """
    pieces = _pieces(body, fields)
    total = sum(size for *_, size in pieces)
    if fields is not None and len(plain := plain_fields(fields)) < len(fields):
        body.truncated = True
        pieces = _pieces(body, plain)
    if total > limit:
        body.truncated = True
        share = _share([size for *_, size in pieces], limit)
        pieces = [_shortened(piece, share) for piece in pieces]
    if body.truncated:
        body.original_bytes = total
    return pieces


def cut(body: Body, pieces: list[Piece], room: int) -> list[Body]:
    """Parts of a record that each have at most `room` bytes of contents, in order; empty when there would be too many.

    Args:
        body: what each part repeats; its own texts and fields are not looked at.
        pieces: the contents.
        room: bytes, at least `LEAST`.
    """
    groups: list[list[tuple[int, str, Any]]] = [[]]
    left = room
    for kind, name, value, size in pieces:
        overhead = _PIECE + len(name.encode())
        if not isinstance(value, bytes):
            if size + overhead <= room:
                if size + overhead > left:
                    groups.append([])
                    left = room
                groups[-1].append((kind, name, value))
                left -= size + overhead
                continue
            value = _as_text(value)  # noqa: PLW2901  too large to stay what it is
        begun = kind != FIELD  # an empty field is a field too
        while value or not begun:
            begun = True
            if left < overhead + LEAST // 2 and groups[-1]:
                groups.append([])
                left = room
            piece = _whole_characters(value, max(4, left - overhead))
            groups[-1].append((kind, name, piece.decode()))
            left -= len(piece) + overhead
            value = value[len(piece) :]  # noqa: PLW2901  the rest of it
    if len(groups) > MAX_PARTS:
        return []
    return [_part(body, group, number, len(groups)) for number, group in enumerate(groups)]


def whole(body: Body, pieces: list[Piece]) -> Body:
    """The record in one."""
    return _part(body, [(k, n, v.decode() if isinstance(v, bytes) else v) for k, n, v, _ in pieces], 0, 1)


def _pieces(body: Body, fields: dict[str, Any] | None) -> list[Piece]:
    return [piece for piece in _all_pieces(body, fields) if piece[3]]


def _all_pieces(body: Body, fields: dict[str, Any] | None) -> Iterator[Piece]:
    for kind, text in ((MESSAGE, body.message), (EXCEPTION, body.exception)):
        data = legible(text).encode()
        yield kind, "", data, len(data)
    for name, value in (fields or {}).items():
        if isinstance(value, str):
            data = legible(value).encode()
            yield FIELD, name, data, max(1, len(data))
        elif isinstance(value, bytes | bytearray | memoryview):
            yield FIELD, name, bytearray(value), len(encode(value))  # bytes here are text
        else:
            yield FIELD, name, value, len(encode(value))


def _share(sizes: list[int], limit: int) -> int:
    """The most that each may have so that all together have at most `limit`: the small ones keep all they need."""
    left, others = limit, len(sizes)
    for size in sorted(sizes):
        if size * others > left:
            break
        left -= size
        others -= 1
    return left // max(1, others)


def _shortened(piece: Piece, share: int) -> Piece:
    kind, name, value, size = piece
    if size <= share:
        return piece
    text = value if isinstance(value, bytes) else _as_text(value)
    kept = max(0, share - _OMITTED_ROOM)
    head = _whole_characters(text, kept - kept // 2)
    tail = text[len(text) - kept // 2 :] if kept // 2 else b""
    while tail and tail[0] & 0xC0 == 0x80:  # the rest of a character
        tail = tail[1:]
    short = head + _OMITTED.format(len(text) - len(head) - len(tail)).encode() + tail
    return kind, name, short, len(short)


def _whole_characters(text: bytes, size: int) -> bytes:
    """The beginning of a text, at most so many bytes, without half a character."""
    if size >= len(text):
        return text
    while size and text[size] & 0xC0 == 0x80:
        size -= 1
    return text[:size]


def _as_text(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except Exception:  # noqa: BLE001  what MessagePack carries and JSON does not
        return legible(repr(value)).encode()


def _part(body: Body, group: list[tuple[int, str, Any]], number: int, count: int) -> Body:
    texts = ["", ""]
    fields = {}
    for kind, name, value in group:
        if kind == FIELD:
            fields[name] = value
        else:
            texts[kind] += value
    part = msgspec.structs.replace(body, message=texts[0], exception=texts[1], fields=fields or None)
    part.part, part.parts = number, count
    return part


_PART_HEAD = 32
"""What says which part of how many it is, bytes, at most."""


class Taker(Protocol):
    """What of a sender is used here."""

    def send(self, subject: str, payload: Any = None) -> bool:
        """Sends a message, or drops and counts it."""
        ...


class Parcel:
    """A record on its way that is too large for one message, or has to wait. Not thread-safe.

    It keeps its own copies, so that what the caller changes later changes nothing.
    """

    __slots__ = ("_begun", "_body", "_messages", "_pieces", "_subject", "failed", "parts")

    def __init__(self, subject: str, body: Body, fields: Mapping[Any, Any] | None, limit: int) -> None:
        """Takes the record as it is now.

        Args:
            subject: to send on.
            body: the record; its texts are made such that they can be carried.
            fields: what the caller added.
            limit: bytes of texts and fields that are kept.
        """
        body.thread, body.logger, body.error = (legible(text)[:255] for text in (body.thread, body.logger, body.error))
        body.fields = None
        self._subject = subject
        self._body = body
        self._pieces = bounded(body, None if fields is None else _carried(fields), limit)
        self._messages: list[msgspec.Raw] = [msgspec.Raw(encode(whole(body, self._pieces)))]
        self._begun = False
        self.parts = 1
        self.failed = False
        """Whether some of it can never be sent."""

    @property
    def truncated(self) -> bool:
        """Whether only head and tail are left."""
        return self._body.truncated

    def send(self, sender: Taker) -> bool:
        """Sends what the sender takes; True when nothing is left to send."""
        while self._messages:
            try:
                if not sender.send(self._subject, self._messages[0]):
                    return False
            except PayloadTooLarge as error:
                if self.parts > 1:  # the way has become narrower since it was cut
                    self.failed = True
                    return True
                self._cut(error.limit)
            else:
                del self._messages[0]
        return True

    def _cut(self, limit: int) -> None:
        self._body.message = self._body.exception = ""
        room = limit - len(encode((self._subject, self._body))) - _PART_HEAD
        parts = cut(self._body, self._pieces, room) if room >= LEAST else []
        self.parts = len(parts)
        self.failed = not parts
        self._messages = [msgspec.Raw(encode(part)) for part in parts]


def _carried(fields: Mapping[Any, Any]) -> dict[str, Any]:
    """The fields such that they can be carried, and are nobody else's."""
    try:
        again: dict[str, Any] = msgspec.msgpack.decode(encode(fields))
    except Exception:  # noqa: BLE001  something in it cannot be carried
        return plain_fields(fields)
    usual = all(isinstance(name, str) and len(name.encode()) <= MAX_KEY for name in again)
    return again if usual else plain_fields(fields)
