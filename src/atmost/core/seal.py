"""Decides whether a datagram's bytes are those a sender produced (H0): the tag behind every datagram.

Without a key the tag is xxh3-128 over header and body: it covers accidents, not attackers.
A key yields one seal per session (R1); this module holds the interface, so that the rules know nothing of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from xxhash import xxh3_64_intdigest, xxh3_128_digest

from atmost.core.limits import HEADER, TAG

NO_KEY: Final = 0
"""The key_id of datagrams without a key."""
_PLAIN: Final = slice(None, -TAG)
_BODY: Final = slice(HEADER, None)
_TAG: Final = slice(-TAG, None)
"""Parts of a datagram, made once: making a slice costs as much as taking one."""


class Seal(Protocol):
    """Closes and opens the datagrams of one session."""

    flags: int
    """Header flags every sealed datagram carries."""

    def seal(self, header: bytes, body: bytes) -> bytes:
        """Makes the whole datagram: header, body as it travels, tag."""
        ...

    def open(self, datagram: bytes) -> bytes | None:
        """Gives the body in the clear, or None when the tag does not fit."""
        ...


SealFactory = Callable[[bytes], Seal]
"""From a session's 18 bytes of identity to its seal."""

Keyring = Mapping[int, SealFactory]
"""From key_id to the seals of that key; a receiver refuses every other key_id (R11.2)."""


class ChecksumSeal:
    """The tag without a key: xxh3-128, its seed derived from the audience, in canonical (big endian) form."""

    __slots__ = ("_seed",)

    flags = 0

    def __init__(self, audience: str = "") -> None:
        """Args: audience: the name both ends agreed on; seed 0 when empty, else xxh3-64 of its UTF-8."""
        self._seed = xxh3_64_intdigest(audience.encode()) if audience else 0

    def seal(self, header: bytes, body: bytes) -> bytes:
        """Header, body and the checksum of both."""
        plain = header + body
        return plain + xxh3_128_digest(plain, self._seed)

    def open(self, datagram: bytes) -> bytes | None:
        """The body when the checksum fits."""
        plain = datagram[_PLAIN]  # a view of it would cost more than the copy
        return plain[_BODY] if xxh3_128_digest(plain, self._seed) == datagram[_TAG] else None


def no_keys(audience: str = "") -> Keyring:
    """The keyring of a receiver without keys: it refuses every key_id but 0 (R12a)."""
    checksum = ChecksumSeal(audience)
    return {NO_KEY: lambda _session: checksum}
