"""Keys: their text, the session keys they yield (R1), and the two seals made of them.

A key is 32 secret bytes with a number and a mode: `signed` (keyed BLAKE2b over header and body) or `encrypted` (ChaCha20-Poly1305, RFC 8439).
Each session has a key of its own, so the sequence number is a nonce that never repeats under one key.
The mode, the key's number, the session and the audience are part of the derivation: if any of them differs, a datagram does not open.

Pure: the random bytes of a new key are handed in.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from atmost.core.datagram import FLAG_ENCRYPTED
from atmost.core.limits import HEADER, TAG
from atmost.core.seal import NO_KEY, Keyring, Seal, SealFactory, no_keys
from atmost.errors import InvalidKey, MissingExtra

SECRET: Final = 32
"""Bytes of a key's secret, and of a session key."""
MAX_KEY_ID: Final = 0xFFFF

_PREFIX: Final = "atmost"
_CHECK: Final = 4
"""Hexadecimal digits at the end of a key's text: a mistyped key is refused at once instead of matching nothing."""
_FORM: Final = "atmost:MODE:NUMBER:SECRET:CHECK in one line, as 'atmost keygen' prints it"


class KeyMode(StrEnum):
    """What a key does for a datagram."""

    SIGNED = "signed"
    ENCRYPTED = "encrypted"


@dataclass(frozen=True, slots=True)
class Key:
    """A key shared by senders and receivers."""

    key_id: int
    """Its number on the wire, 1 to 65535."""
    mode: KeyMode
    secret: bytes = field(repr=False)

    def text(self) -> str:
        """The key as one line; anyone who has it can sign messages, and with `encrypted` also read them."""
        body = f"{_PREFIX}:{self.mode}:{self.key_id}:{base64.urlsafe_b64encode(self.secret).decode().rstrip('=')}"
        return f"{body}:{_check(body)}"

    def seals(self, audience: str) -> SealFactory:
        """The seals of this key for one audience."""
        return lambda session: self._seal(session, audience)

    def _seal(self, session: bytes, audience: str) -> Seal:
        # R1; the session's 18 bytes begin with the key_id. `person` holds 16 bytes.
        person = f"atmost1{self.mode:.9}".encode()
        key = blake2b(session + audience.encode(), key=self.secret, digest_size=SECRET, person=person).digest()
        return SignedSeal(key) if self.mode is KeyMode.SIGNED else EncryptedSeal(key)


def new_key(secret: bytes, key_id: int, mode: KeyMode) -> Key:
    """Makes a key.

    Args:
        secret: 32 bytes from the operating system's generator.
        key_id: its number, 1 to 65535.
        mode: what it does.

    Raises:
        InvalidKey: the secret has another length, or the number is out of range.
    """
    if len(secret) != SECRET:
        raise InvalidKey(f"a secret has {SECRET} bytes, not {len(secret)}")
    if not 1 <= key_id <= MAX_KEY_ID:
        raise InvalidKey(f"a key's number is from 1 to {MAX_KEY_ID}")
    return Key(key_id, mode, secret)


def parse_key(text: str) -> Key:
    """Reads the text of a key.

    Raises:
        InvalidKey: the text is not a key; the error's message never contains the text.
    """
    if not isinstance(text, str):
        raise InvalidKey(f"a key must be a string, not {type(text).__name__}: {_FORM}")
    body, _, check = text.strip().rpartition(":")
    fields = body.split(":")
    if len(fields) != 4 or fields[0] != _PREFIX or fields[1] not in set(KeyMode) or not fields[2].isdecimal():
        raise InvalidKey(f"a key is {_FORM}")
    if not text.isascii():
        raise InvalidKey("the key is mistyped: it contains characters that never occur in a key")
    if not hmac.compare_digest(_check(body), check):
        raise InvalidKey("the key is mistyped or cut: its check digits do not match")
    try:
        secret = base64.b64decode(fields[3] + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidKey(f"a key is {_FORM}") from None
    return new_key(secret, int(fields[2]), KeyMode(fields[1]))


def keyring(keys: Iterable[Key], audience: str) -> Keyring:
    """The keys a receiver accepts, by number.

    Raises:
        InvalidKey: there is no key, or two have the same number.
    """
    ring: dict[int, SealFactory] = {}
    for key in keys:
        if key.key_id in ring:
            raise InvalidKey(f"two keys have the number {key.key_id}: give each key a number of its own")
        ring[key.key_id] = key.seals(audience)
    if not ring:
        raise InvalidKey("no key was given")
    return ring


def sealing(keys: Sequence[Key], audience: str) -> tuple[int, SealFactory]:
    """What a sender seals with: the first key's number and seals, or number 0 and checksums without a key."""
    if keys:
        return keys[0].key_id, keys[0].seals(audience)
    return NO_KEY, no_keys(audience)[NO_KEY]


class SignedSeal:
    """Readable by everybody, made by holders of the key only."""

    __slots__ = ("_key",)

    flags = 0

    def __init__(self, key: bytes) -> None:
        """Args: key: the session's, 32 bytes."""
        self._key = key

    def seal(self, header: bytes, body: bytes) -> bytes:
        """Header, body and the keyed hash of both."""
        plain = header + body
        return plain + blake2b(plain, key=self._key, digest_size=TAG).digest()

    def open(self, datagram: bytes) -> bytes | None:
        """The body when the tag fits; compared in constant time."""
        tag = blake2b(memoryview(datagram)[:-TAG], key=self._key, digest_size=TAG).digest()
        return datagram[HEADER:-TAG] if hmac.compare_digest(tag, datagram[-TAG:]) else None


class EncryptedSeal:
    """Readable and made by holders of the key only; the header travels in the clear and is authenticated."""

    __slots__ = ("_cipher",)

    flags = FLAG_ENCRYPTED

    def __init__(self, key: bytes) -> None:
        """Args: key: the session's, 32 bytes.

        Raises:
            MissingExtra: the package `cryptography` is not installed.
        """
        require_encryption()
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._cipher = ChaCha20Poly1305(key)

    def seal(self, header: bytes, body: bytes) -> bytes:
        """Header, encrypted body and tag; the nonce is the sequence number, which never repeats in a session."""
        return header + self._cipher.encrypt(_nonce(header), body, header)

    def open(self, datagram: bytes) -> bytes | None:
        """The body in the clear when the tag fits."""
        from cryptography.exceptions import InvalidTag

        header = datagram[:HEADER]
        try:
            return self._cipher.decrypt(_nonce(header), datagram[HEADER:], header)
        except InvalidTag:
            return None


def require_encryption() -> None:
    """Checks that encryption is available.

    Raises:
        MissingExtra: the package `cryptography` is not installed.
    """
    try:
        import cryptography.hazmat.primitives.ciphers.aead
    except ImportError:
        raise MissingExtra("crypto", "an encrypted key") from None
    assert cryptography


def _nonce(header: bytes) -> bytes:
    """96 bits: zeros, then the sequence number at offset 20 of the header."""
    return bytes(4) + header[20:28]


def _check(body: str) -> str:
    return blake2b(body.encode(), digest_size=_CHECK // 2).hexdigest()
