"""The wire format, version 1: how a header, messages and a beacon become bytes and come back (docs/wire.md).

Decoding any bytes whatsoever never raises and never allocates in proportion to a number read from the wire (R3).
Pure functions, safe from any thread.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from operator import index
from typing import Any, Final

import msgspec

from atmost.core.events import Message
from atmost.core.limits import (
    HEADER,
    MAGIC,
    MAX_COUNT,
    MAX_DATAGRAM,
    MAX_NAME,
    MAX_REASON,
    MAX_REASONS,
    TAG,
    VERSION,
)

HEADER_LAYOUT: Final = struct.Struct(">BBHQQQQQHH")
"""magic, version and type, key_id, start_us, random64, sequence, prior, sent_us, count, flags."""
SENT_AT: Final = slice(36, 44)
"""Where sent_us stands in a datagram, big endian."""
ARRAY_LAYOUT: Final = struct.Struct(">BH")
PADDING_LAYOUT: Final = struct.Struct(">H")
_ARRAY16: Final = 0xDC

FLAG_ENCRYPTED: Final = 1
FLAG_PADDED: Final = 2
_FLAGS_UNKNOWN: Final = 0xFFFF & ~(FLAG_ENCRYPTED | FLAG_PADDED)


MAX_ARRAY_KEYS: Final = 15
"""Arrays among the keys of one map (R3)."""
_ARRAY_HEADS: Final = bytes([*range(0x90, 0xA0), 0xDC, 0xDD])
_SIZED, _ARRAY, _MAP, _UNUSED = "sized", "array", "map", "unused"
_SHAPES: Final[list[Any]] = (
    [1] * 0x80
    + [_MAP] * 16
    + [_ARRAY] * 16
    + [1 + length for length in range(32)]
    + [1, _UNUSED, 1, 1]
    + [_SIZED] * 6
    + [5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18]
    + [_SIZED] * 3
    + [_ARRAY, _ARRAY, _MAP, _MAP]
    + [1] * 32
)
"""By a token's first byte: how many bytes it takes in all, or what has to be read to know."""
_HEADS: Final = (
    dict.fromkeys(range(0x80, 0xA0), (1, 0))
    | {0xC1: (1, 0), 0xC4: (2, 1), 0xC5: (3, 2), 0xC6: (5, 4), 0xC7: (3, 1), 0xC8: (4, 2), 0xC9: (6, 4)}
    | {0xD9: (2, 1), 0xDA: (3, 2), 0xDB: (5, 4), 0xDC: (3, 2), 0xDD: (5, 4), 0xDE: (3, 2), 0xDF: (5, 4)}
)
"""Bytes before the content, and how many of them are its length."""


DECODING_ERRORS: Final = (
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    MemoryError,
)
"""What a decoder raises for hostile bytes: its own errors, and Python's such as UnicodeDecodeError and RecursionError.

Not every Exception, because a signal handler may raise one here, which must not be mistaken for a malformed datagram.
"""


class Kind(IntEnum):
    """The type of a datagram, the low nibble of its second byte."""

    DATA = 1
    BEACON = 2
    GOODBYE = 3


_DATA: Final = VERSION << 4 | Kind.DATA
_BEACON: Final = VERSION << 4 | Kind.BEACON
_GOODBYE: Final = VERSION << 4 | Kind.GOODBYE

Header = tuple[int, int, int, int, int, int, int, int, int, int]
"""The fields in the order of `HEADER_LAYOUT`; a plain tuple, because one is built for every datagram."""


class BeaconBody(msgspec.Struct, frozen=True, gc=False):
    """What a sender says of itself in BEACON and GOODBYE; counts are messages, cumulative in this session."""

    name: str
    host: str
    pid: int
    offered: int
    dropped: dict[str, int]
    refused: dict[str, int]
    next: float
    """Another beacon follows within this time, seconds; 0 in a goodbye."""


_unpack_header: Final[Callable[[bytes], Header]] = HEADER_LAYOUT.unpack_from
_SMALLEST: Final = HEADER + TAG


def _as_base_type(value: Any) -> Any:
    """Converts an instance of a subclass to the built-in type that it extends, ignoring overridden methods.

    The encoder calls this only for types it does not know, so exact types cost nothing.
    It knows subclasses of list, tuple and dict, and enumerations.
    """
    for base, convert in _CONVERSIONS:
        if isinstance(value, base):
            return convert(value)
    if hasattr(type(value), "__index__"):  # a library's integer, such as numpy.int64
        return index(value)
    raise TypeError(type(value).__qualname__)


_CONVERSIONS: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda value: bytes(memoryview(value))),
    (bytearray, lambda value: bytes(memoryview(value))),
)
_encode_any: Final = msgspec.msgpack.Encoder(enc_hook=_as_base_type).encode
encode_message: Final[Callable[[tuple[str, Any]], bytes]] = _encode_any
"""The pair `(subject, payload)` as it travels; raises what msgspec raises for a payload it cannot carry.

The encoder itself, not a function around it: a call in Python would add a tenth to the cost of `send()`.
"""
decode_messages: Final = msgspec.msgpack.Decoder(list[Message]).decode
"""The messages in a body; raises one of `DECODING_ERRORS`, and must not be given what `has_many_array_keys`."""
_decode_beacon: Final = msgspec.msgpack.Decoder(BeaconBody).decode


def read_header(datagram: bytes) -> Header | None:
    """Reads the first 48 bytes; None when they are not a header of this protocol (R11.1)."""
    if not _SMALLEST <= len(datagram) <= MAX_DATAGRAM:
        return None
    header = _unpack_header(datagram)
    if header[0] != MAGIC or header[9] & _FLAGS_UNKNOWN:
        return None
    kind = header[1]
    if kind == _DATA:
        return header if 0 < header[8] <= MAX_COUNT else None
    if kind in (_BEACON, _GOODBYE):
        return None if header[8] else header
    return None


def pack_messages(items: list[bytes]) -> bytes:
    """The body of a DATA datagram: one array of already encoded pairs."""
    return ARRAY_LAYOUT.pack(_ARRAY16, len(items)) + b"".join(items)


def unpack_messages(body: bytes, count: int) -> list[Message] | None:
    """The messages of a DATA body, or None when it is not exactly an array of `count` pairs."""
    if len(body) < ARRAY_LAYOUT.size or body[0] != _ARRAY16 or body[1] << 8 | body[2] != count:
        return None
    if (0xDE in body or 0xDF in body) and has_many_array_keys(body, count):
        return None
    try:
        return decode_messages(body)
    except DECODING_ERRORS:
        return None


def has_many_array_keys(body: bytes, count: int) -> bool:
    """Whether a map in the body of `count` messages has more than `MAX_ARRAY_KEYS` arrays as keys: it must not be decoded (R3).

    A decoder turns the array into a tuple and hashes it. Unlike a string's, the hash of a tuple is not randomised: keys made to collide
    would take time quadratic in their number. A map of that many pairs begins with 0xde or 0xdf (the caller checks), and each such key
    begins with the head of an array; only a body that has enough of both is read token by token.
    """
    heads = len(body) - len(body.translate(None, _ARRAY_HEADS))
    return heads - count > MAX_ARRAY_KEYS and _walk_to_array_keys(body)


def pack_beacon(beacon: BeaconBody) -> bytes:
    """The body of a BEACON or GOODBYE datagram."""
    return _encode_any(beacon)


def unpack_beacon(body: bytes) -> BeaconBody | None:
    """A sender's report, or None when it is malformed, or has longer or more names than a sender may have.

    A report is kept with its session, so the memory that a forged one can take is bounded.
    """
    try:
        beacon = _decode_beacon(body)
    except DECODING_ERRORS:
        return None
    counts = (beacon.pid, beacon.offered, *beacon.dropped.values(), *beacon.refused.values())
    if min(counts) < 0 or not 0 <= beacon.next < 1e6:  # NaN fails the comparison too
        return None
    if len(beacon.name) > MAX_NAME or len(beacon.host) > MAX_NAME:
        return None
    for counted in (beacon.dropped, beacon.refused):
        if len(counted) > MAX_REASONS or any(len(name) * 4 > MAX_REASON < len(name.encode()) for name in counted):
            return None
    return beacon


def _walk_to_array_keys(body: bytes) -> bool:
    """The exact answer: reads token by token, as far as a decoder would get, with the open containers on a stack."""
    position, remaining, in_map, arrays = 0, 1, False, 0
    stack: list[tuple[int, bool, int]] = []
    try:
        while True:
            while not remaining:
                if not stack:
                    return False
                remaining, in_map, arrays = stack.pop()
            byte = body[position]
            shape = _SHAPES[byte]
            if shape is _ARRAY and in_map and not remaining & 1:
                arrays += 1
                if arrays > MAX_ARRAY_KEYS:
                    return True
            remaining -= 1
            if shape.__class__ is int:
                position += shape
                continue
            # Strings, bytes and extensions are as long as they say; arrays and maps open a container.
            head, width = _HEADS[byte]
            length = int.from_bytes(body[position + 1 : position + 1 + width]) if width else byte & 15
            position += head
            if shape is _SIZED:
                position += length
            elif shape is _UNUSED:
                return False
            elif length:
                if remaining:
                    stack.append((remaining, in_map, arrays))
                in_map = shape is _MAP
                remaining, arrays = 2 * length if in_map else length, 0
    except IndexError:
        return False  # cut short: a decoder gets no further


def strip_padding(body: bytes) -> bytes | None:
    """The body without its padding, whose length (these two bytes included) is the body's last u16."""
    if len(body) < PADDING_LAYOUT.size:
        return None
    (length,) = PADDING_LAYOUT.unpack_from(body, len(body) - PADDING_LAYOUT.size)
    if not PADDING_LAYOUT.size <= length <= len(body):
        return None
    return body[: len(body) - length]
