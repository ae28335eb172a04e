"""What a hint and a mark carry, how they are read from a message that anybody may have sent, and which shard a key is in.

An invalidator's life has `2 × shards + 1` sequences of numbers, each of which begins with 1: one for the keys of each
shard, one for the tags of each shard, and one for all prefixes.
Pure functions, safe from any thread; reading never raises.
"""

from __future__ import annotations

from enum import StrEnum
from math import gcd, inf
from typing import Any, Final

import msgspec
from xxhash import xxh3_64_intdigest

from atmost.core.names import check_subject
from atmost.errors import HintError, OptionError

SUBJECT: Final = "hints"
"""The first tokens of the subjects; the last token is the kind."""
SHARDS: Final = 64
MAX_SHARDS: Final = 256
MIN_INTERVAL: Final = 0.05
MAX_INTERVAL: Final = 60.0
"""Seconds between two marks: the least and the most."""
MAX_TEXT: Final = 1024
"""Bytes of UTF-8 in a key, a prefix or a tag."""
_MAX_NUMBER: Final = 1 << 62
_MAX_NAME: Final = 256


class HintKind(StrEnum):
    """What a message is about: the last token of its subject."""

    KEY = "key"
    PREFIX = "prefix"
    TAG = "tag"
    MARK = "mark"


class Hint(msgspec.Struct, array_like=True, gc=False):
    """Something has changed."""

    life: bytes
    """The life of the invalidator: 8 random bytes."""
    shard: int
    """The shard of the key or tag, by the invalidator's number of shards; 0 for a prefix."""
    number: int
    """Its number in its sequence, from 1."""
    text: str
    """The key, prefix or tag."""
    digest: int | None = None
    """A digest of the new value; a reader that has this very value may keep it."""


class HintMark(msgspec.Struct, array_like=True, gc=False):
    """The highest number of every sequence, once an interval."""

    life: bytes
    name: str
    host: str
    interval: float
    """Seconds until the next."""
    uptime: float
    """Seconds of this life when the numbers were read, by a clock that never steps."""
    closed: bool
    """Goodbye: no hint follows."""
    keys: list[int]
    tags: list[int]
    prefixes: int
    recent: list[tuple[int, str]]
    """The last prefix hints with their numbers, once more: a lost one would cost the whole cache."""
    boot: int = 0
    """Identity of the boot whose clock dates this life; 0 when there is none."""
    born: float = 0.0
    """When the life began by that clock, in seconds: a reader of the same boot knows how long the mark was under way."""


def subjects(prefix: object) -> dict[str, HintKind]:
    """Returns the kinds by their full subjects.

    Raises:
        SubjectError: the first tokens cannot be used.
    """
    return {check_subject(f"{check_subject(prefix)}.{kind}"): kind for kind in HintKind}


def check_text(what: str, text: object) -> str:
    """Returns a key, prefix or tag as plain text.

    Args:
        what: "key", "prefix" or "tag".
        text: what was given.

    Raises:
        HintError: it is not text, too long, or not encodable.
    """
    if not isinstance(text, str):
        raise HintError(
            what,
            text,
            f"must be a string, not {type(text).__name__}: write the number or tuple out, as in f'user:{{id}}'",
        )
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise HintError(what, text, "has a lone surrogate, which cannot be sent") from None
    if size > MAX_TEXT:
        raise HintError(what, text, f"is {size} bytes long, at most {MAX_TEXT} are allowed: use a digest of it")
    return text if type(text) is str else str.__str__(text)


def check_shards(shards: object) -> int:
    """Returns the number of shards.

    Raises:
        OptionError: it is not a number of shards.
    """
    if not isinstance(shards, int) or isinstance(shards, bool) or not 1 <= shards <= MAX_SHARDS:
        raise OptionError("shards", shards, f"1 to {MAX_SHARDS}")
    return shards


def shard_of(text: str, shards: int) -> int:
    """Returns the shard of a key or tag: the same in every process and release (xxh3-64 of its UTF-8)."""
    return xxh3_64_intdigest(text.encode()) % shards


def affected(shard: int, of: int, shards: int) -> range:
    """Returns the shards out of `shards` that share keys with shard number `shard` out of `of`; mostly just that one."""
    step = gcd(of, shards)
    return range(shard % step, shards, step)


def read_hint(payload: Any) -> Hint | None:
    """Returns the hint in a message's payload, or None when it is not a hint."""
    try:
        hint = msgspec.convert(payload, Hint)
    except Exception:  # noqa: BLE001  whatever a stranger's payload makes of the decoder
        return None
    if not (0 < hint.number < _MAX_NUMBER and 0 <= hint.shard < MAX_SHARDS and len(hint.life) == 8):
        return None
    return hint if len(hint.text) <= MAX_TEXT else None


def read_mark(payload: Any) -> HintMark | None:
    """Returns the mark in a message's payload, or None when it is not a mark."""
    try:
        mark = msgspec.convert(payload, HintMark)
    except Exception:  # noqa: BLE001  as above
        return None
    if not (MIN_INTERVAL <= mark.interval <= MAX_INTERVAL and 0 <= mark.uptime < inf and len(mark.life) == 8):
        return None
    if not 1 <= len(mark.keys) == len(mark.tags) <= MAX_SHARDS or len(mark.recent) > MAX_SHARDS:
        return None
    if len(mark.name) > _MAX_NAME or len(mark.host) > _MAX_NAME or not -inf < mark.born < inf:
        return None
    numbers = (*mark.keys, *mark.tags, mark.prefixes)
    if min(numbers) < 0 or max(numbers) >= _MAX_NUMBER:
        return None
    if any(not 0 < number <= mark.prefixes or len(text) > MAX_TEXT for number, text in mark.recent):
        return None
    return mark
