"""Inflates what came compressed, and never more of it than a message may be."""

from __future__ import annotations

import zlib
from typing import Final

from atmost.ingest.gelf.values import ENDING, MAX_MEMBERS, GelfReason, GelfRefusal

GZIP: Final = b"\x1f\x8b"
_GZIP_BITS: Final = 31
_ZLIB_BITS: Final = 15


def inflated(data: bytes, max_size: int) -> bytes:
    """The message in `data`, which is returned as it is when it is not compressed.

    Args:
        data: whole.
        max_size: bytes of the message; a bomb is put aside when it has come to one more.

    Raises:
        GelfRefusal: it is damaged, cut short or followed by something else, or the message is too large.
    """
    if data[:2] == GZIP:
        return _inflate(data, max_size, _GZIP_BITS, MAX_MEMBERS)
    if is_zlib(data):
        return _inflate(data, max_size, _ZLIB_BITS, 1)
    if len(data) > max_size:
        raise GelfRefusal(GelfReason.TOO_LARGE)
    return data


def is_zlib(data: bytes) -> bool:
    """Whether `data` begins with zlib's header (RFC 1950, 2.2): deflate, and a checksum over the two bytes."""
    return len(data) >= 2 and data[0] & 15 == 8 and data[0] >> 4 < 8 and (data[0] << 8 | data[1]) % 31 == 0


def _inflate(data: bytes, max_size: int, bits: int, members: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for _ in range(members):
        inflater = zlib.decompressobj(bits)
        try:
            piece = inflater.decompress(data, max_size + 1 - size)
        except zlib.error:
            raise GelfRefusal(GelfReason.MALFORMED_COMPRESSION) from None
        size += len(piece)
        if size > max_size:
            raise GelfRefusal(GelfReason.TOO_LARGE)
        if not inflater.eof:
            # An output that ends exactly at the bound may leave the trailer to be read: there is room for one byte more.
            raise GelfRefusal(GelfReason.MALFORMED_COMPRESSION)
        pieces.append(piece)
        data = inflater.unused_data
        if not data.strip(ENDING):
            return b"".join(pieces)
    raise GelfRefusal(GelfReason.MALFORMED_COMPRESSION)
