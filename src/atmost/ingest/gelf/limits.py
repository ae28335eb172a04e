"""How much a reader of GELF holds, and how much one message may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from atmost.errors import OptionError

MAX_CHUNKS: Final = 128
"""Of one message, as the format has it."""
MAX_FIELDS: Final = 256
"""Additional fields of one message that are kept."""
MAX_MEMBERS: Final = 16
"""Members of one gzip file; each costs time, however small it is."""
CHUNK_COST: Final = 128
"""Bytes that a chunk is reckoned at besides its data."""
SET_COST: Final = 1024
"""Bytes that a set of chunks is reckoned at besides its chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GelfLimits:
    """The bounds of a `GelfReader`. Where one is reached, the oldest set that counts towards it is given up, and reported.

    The oldest, for whole messages are complete within moments: what stands longest is least likely to become one.
    """

    timeout: float = 5.0
    """Seconds from the first chunk of a message to its last, as the format has it."""
    max_chunks_per_peer: int = 1024
    """Chunks of one peer that are held; eight of the largest messages."""
    max_sets: int = 1024
    """Incomplete messages that are held, of all peers."""
    max_bytes: int = 16 << 20
    """Bytes held for them, of all peers."""
    max_message: int = 1 << 20
    """Bytes of a message's JSON. Inflating stops there, so a bomb costs no more than this."""

    def __post_init__(self) -> None:
        """Raises OptionError for a bound that leaves no room for one message."""
        if not 0 < self.timeout <= 3600:
            raise OptionError("timeout", self.timeout, "above 0 and at most 3,600 seconds")
        for name, least in (
            ("max_chunks_per_peer", MAX_CHUNKS),
            ("max_sets", 1),
            ("max_bytes", 1 << 16),
            ("max_message", 64),
        ):
            if getattr(self, name) < least:
                raise OptionError(name, getattr(self, name), f"at least {least:,}")
