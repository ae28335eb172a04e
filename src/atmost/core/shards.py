"""Decides which shard of a divided receiver a session belongs to (R17).

Several receivers may share an address when every session goes to one of them alone, and each refuses the sessions of the others.
A session, never a source address: a copy replayed from another port must meet the window that has seen the original.
The number is the lower half of the session's random64, big endian, modulo the number of shards, which the kernel can compute too.
"""

from __future__ import annotations

from typing import Final

SHARD_OFFSET: Final = 16
"""Where the lower half of random64 stands in a datagram; 4 bytes."""
_SESSION_OFFSET: Final = 2
_AT: Final = SHARD_OFFSET - _SESSION_OFFSET


def shard_of(session: bytes, count: int) -> int:
    """The shard of a session.

    Args:
        session: its 18 bytes of identity, as they stand in a datagram from offset 2.
        count: how many shards there are.
    """
    return int.from_bytes(session[_AT : _AT + 4]) % count
