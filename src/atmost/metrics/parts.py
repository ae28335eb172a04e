"""Cuts the readings of one snapshot into groups that each fit a part."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, Protocol

import msgspec

from atmost.metrics import wire
from atmost.metrics.instruments import Instrument, Shot

_TAGS: Final = {"counter": "c", "gauge": "g", "histogram": "h"}
_ARRAY: Final = struct.Struct(">BH")


class Declaration(Protocol):
    """What a part says of a metric besides its readings."""

    name: str
    kind: str
    names: tuple[str, ...]
    unit: str


class Piece(NamedTuple):
    """The readings of one metric in one snapshot."""

    declared: Declaration
    picked: list[tuple[Instrument, Shot]]
    help: str


def cut(pieces: list[Piece], room: int, now: float) -> tuple[list[list[msgspec.Raw]], int]:
    """Groups encoded families so that no group is larger than `room`.

    Args:
        pieces: the readings.
        room: bytes.
        now: monotonic, seconds; a gauge's reading has an age.

    Returns:
        The groups, at least one, and how many series fit none.
    """
    groups: list[list[msgspec.Raw]] = [[]]
    left, too_large = room, 0
    for piece in pieces:
        head = _head(piece, piece.help)
        if len(head) > room // 2:
            head = _head(piece, "")  # help is the first to go
        open_entries: list[bytes] = []
        spare = left - len(head) - _ARRAY.size
        for one, shot in piece.picked:
            whole = room - len(head) - _ARRAY.size
            entries = one.entries(shot, whole, now)
            if max(map(len, entries)) > whole:
                too_large += 1
                continue
            for entry in entries:
                if len(entry) > spare:
                    _close(groups, head, open_entries)
                    if groups[-1]:
                        groups.append([])
                    spare = whole
                open_entries.append(entry)
                spare -= len(entry)
        if open_entries:
            _close(groups, head, open_entries)
            left = spare
    return groups, too_large


def _head(piece: Piece, text: str) -> bytes:
    declared = piece.declared
    fields = (_TAGS[declared.kind], declared.name, declared.names, declared.unit, text)
    return b"\x96" + b"".join(map(wire.encode, fields))


def _close(groups: list[list[msgspec.Raw]], head: bytes, entries: list[bytes]) -> None:
    """Puts the open family into the last group."""
    if entries:
        groups[-1].append(msgspec.Raw(head + _ARRAY.pack(0xDC, len(entries)) + b"".join(entries)))
        entries.clear()
