"""Datagrams made and read by hand: any header, any body, the tag right unless it is told otherwise."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from atmost.core.datagram import (
    FLAG_PADDED,
    HEADER_LAYOUT,
    BeaconBody,
    Kind,
    encode_message,
    pack_beacon,
    pack_messages,
    read_header,
    strip_padding,
    unpack_beacon,
    unpack_messages,
)
from atmost.core.limits import HEADER, MAGIC, TAG, VERSION
from atmost.core.seal import ChecksumSeal

EPOCH_US = 1_700_000_000_000_000
"""Where every wall clock begins, µs since 1970."""
PLAIN = ChecksumSeal()


def messages(*payloads: Any, subject: str = "s") -> list[bytes]:
    """Encoded messages on one subject."""
    return [encode_message((subject, payload)) for payload in payloads]


def beacon_body(**fields: Any) -> bytes:
    """A sender's report; what is not given is nothing."""
    nothing: dict[str, Any] = {
        "name": "n",
        "host": "h",
        "pid": 1,
        "offered": 0,
        "dropped": {},
        "refused": {},
        "next": 5.0,
    }
    return pack_beacon(BeaconBody(**{**nothing, **fields}))


def datagram(
    *,
    magic: int = MAGIC,
    version: int = VERSION,
    kind: int = Kind.DATA,
    key_id: int = 0,
    start_us: int = EPOCH_US,
    random64: int = 1,
    sequence: int = 0,
    prior: int = 0,
    sent_us: int = EPOCH_US,
    count: int | None = None,
    flags: int = 0,
    items: Sequence[bytes] | None = None,
    body: bytes | None = None,
    seal: ChecksumSeal = PLAIN,
) -> bytes:
    """Any datagram whatever, with the tag that belongs to it.

    Args:
        count: None takes the number of `items`.
        items: encoded messages of the body; None takes one for DATA.
        body: instead of what `items` or an empty report make.
        seal: makes the tag.
        magic, version, kind, key_id, start_us, random64, sequence, prior, sent_us, flags: as on the wire.
    """
    if items is None:
        items = messages("x") if kind == Kind.DATA else []
    if body is None:
        body = pack_messages(list(items)) if kind == Kind.DATA else beacon_body()
    count = len(items) if count is None else count
    numbers = (key_id, start_us, random64, sequence, prior, sent_us, count, flags)
    return seal.seal(HEADER_LAYOUT.pack(magic, version << 4 | kind, *numbers), body)


def with_tag(torn: bytes, seal: ChecksumSeal = PLAIN) -> bytes:
    """The same header and body with the tag that belongs to them."""
    return seal.seal(torn[:HEADER], torn[HEADER:-TAG])


class Seen(NamedTuple):
    """A datagram as an eavesdropper reads it."""

    kind: Kind
    start_us: int
    random64: int
    sequence: int
    prior: int
    sent_us: int
    count: int
    payloads: list[Any]
    report: BeaconBody | None


def read(sealed: bytes) -> Seen:
    """What a good datagram says."""
    body = PLAIN.open(sealed)
    header = read_header(sealed)
    assert body is not None
    assert header is not None
    if header[9] & FLAG_PADDED:
        body = strip_padding(body)
        assert body is not None
    kind, count = Kind(header[1] & 15), header[8]
    found = unpack_messages(body, count) if kind is Kind.DATA else []
    assert found is not None
    report = None if kind is Kind.DATA else unpack_beacon(body)
    return Seen(kind, *header[3:9], payloads=[message.payload for message in found], report=report)


class Hand:
    """A sender's numbering by hand: every call spends a number, whether or not its datagram is ever delivered."""

    def __init__(self, start_us: int, random64: int = 1, *, sequence: int = 0, prior: int = 0) -> None:
        """Args: start_us, random64: the identity. sequence, prior: the first numbers."""
        self.start_us = start_us
        self.random64 = random64
        self.sequence = sequence
        self.prior = prior
        self.sent_us = start_us

    @property
    def key(self) -> bytes:
        """The 18 bytes of identity on the wire."""
        return struct.pack(">HQQ", 0, self.start_us, self.random64)

    def data(self, count: int = 1, **changes: Any) -> bytes:
        """A datagram of `count` messages, which carry their own numbers; `changes` to its header make it lie."""
        items = messages(*range(self.prior, self.prior + count))
        return self._next(count, {"items": items, **changes})

    def beacon(self, kind: Kind = Kind.BEACON, *, header: Mapping[str, Any] | None = None, **report: Any) -> bytes:
        """A beacon, with what its report says."""
        return self._next(0, {"kind": kind, "body": beacon_body(**report), **(header or {})})

    def goodbye(self, **report: Any) -> bytes:
        """The datagram that ends the session."""
        return self.beacon(Kind.GOODBYE, next=0.0, **report)

    def skip(self, count: int = 1) -> None:
        """Spends a number on `count` messages whose datagram is lost."""
        self.sequence += 1
        self.prior += count

    def _next(self, count: int, fields: Mapping[str, Any]) -> bytes:
        made = {
            "start_us": self.start_us,
            "random64": self.random64,
            "sequence": self.sequence,
            "prior": self.prior,
            "sent_us": self.sent_us,
            **fields,
        }
        self.skip(count)
        return datagram(**made)
