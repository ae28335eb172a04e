"""Decides what is left of a record that is too large, and how one that fits no datagram is cut into parts.

Beyond the limit texts keep head and tail, the longest first, so that a long traceback does not cost the message.
Parts repeat what is small, and share the texts: what is missing with a lost part is a hole in a text, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from atmost.logs.rendering import legible, plain_fields
from atmost.logs.wire import MAX_PARTS, Body, encode

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
