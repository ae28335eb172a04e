"""Decides which shard of a divided receiver a session belongs to (R17).

Several receivers may share an address when every session goes to one of them alone, and each refuses the sessions of the others.
Sessions are divided, never source addresses: a copy replayed from another port must meet the window that has seen the original.
The shard is the lower half of the session's random64, big endian, modulo the number of shards; the kernel can compute it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from atmost.errors import OptionError

SHARD_OFFSET: Final = 16
"""Where the lower half of random64 stands in a datagram; 4 bytes."""
MAX_SHARDS: Final = 1024
_SESSION_OFFSET: Final = 2
_AT: Final = SHARD_OFFSET - _SESSION_OFFSET
_WANTED: Final = f"shards and how many there are, from 1 to {MAX_SHARDS}, as in 0-7/16 or 0,2,4-5/16"


def shard_of(session: bytes, count: int) -> int:
    """The shard of a session.

    Args:
        session: its 18 bytes of identity, as they stand in a datagram from offset 2.
        count: how many shards there are.
    """
    return int.from_bytes(session[_AT : _AT + 4]) % count


@dataclass(frozen=True, slots=True)
class Shards:
    """The shards of one receiver, and how many there are altogether."""

    owned: frozenset[int]
    count: int

    @classmethod
    def parse(cls, text: str) -> Shards:
        """Reads shards as people write them: 0-7/16, 0,2,4-5/16.

        Raises:
            OptionError: the text is malformed, or names a shard twice or one that does not exist.
        """
        if not isinstance(text, str):
            raise OptionError("shards", text, _WANTED)
        listed, _, number = text.partition("/")
        if not _is_number(number) or not 1 <= int(number) <= MAX_SHARDS:
            raise OptionError("shards", text, _WANTED)
        count = int(number)
        owned: set[int] = set()
        for part in listed.split(","):
            first, dash, last = part.partition("-")
            if not _is_number(first) or (dash and not _is_number(last)):
                raise OptionError("shards", text, _WANTED)
            low, high = int(first), int(last or first)
            if not low <= high < count:
                raise OptionError("shards", text, f"shards from 0 to {count - 1}, the lower one first")
            named = set(range(low, high + 1))
            if twice := owned & named:
                raise OptionError("shards", text, f"each shard once: {min(twice)} is named twice")
            owned |= named
        return cls(frozenset(owned), count)

    @property
    def all(self) -> bool:
        """Whether these are all the shards."""
        return len(self.owned) == self.count

    def __str__(self) -> str:
        """As `parse` reads it: 0-7/16."""
        return ",".join(_ranges(sorted(self.owned))) + f"/{self.count}"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 6


def _ranges(numbers: list[int]) -> Iterator[str]:
    """Yields runs of consecutive numbers: 0-3, 7."""
    first = 0
    for place, number in enumerate(numbers):
        if place + 1 == len(numbers) or numbers[place + 1] != number + 1:
            yield f"{numbers[first]}-{number}" if place > first else str(number)
            first = place + 1
