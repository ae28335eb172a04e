"""What GELF says, as values, and the bounds of one message and of what a reader holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from atmost.errors import OptionError

MAX_CHUNKS: Final = 128
"""Of one message, as the format has it."""
MAX_FIELDS: Final = 256
"""Additional fields of one message that are kept."""
MAX_MEMBERS: Final = 16
"""Members of one gzip file; each costs time, however small it is."""
ENDING: Final = b"\0\r\n \t"
"""Bytes behind a message that are no part of it, in any order: ends of lines, and the NUL of GELF over TCP."""
MARK: Final = b"\xef\xbb\xbf"
"""UTF-8's byte order mark, which some clients write before a message."""
CHUNK_COST: Final = 128
"""Bytes counted for a chunk besides its data."""
SET_COST: Final = 1024
"""Bytes counted for a set of chunks besides its chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GelfLimits:
    """The bounds of a `GelfReader`. Where one is reached, the oldest set that counts towards it is given up, and reported.

    The oldest goes first, because most messages are complete within moments: the one that waits longest is least likely to become complete.
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


Scalar = str | int | float | bool | None


class GelfReason(StrEnum):
    """Why a datagram or a message was refused; they become metric labels."""

    EMPTY = "empty"
    UNKNOWN_FORMAT = "unknown_format"
    """Neither JSON, nor zlib, gzip or a chunk."""
    MALFORMED_CHUNK = "malformed_chunk"
    """Shorter than its header, of no or more than 128 chunks, or numbered beyond their count."""
    CONFLICTING_COUNT = "conflicting_count"
    """Another count of chunks than the ones before had."""
    MALFORMED_COMPRESSION = "malformed_compression"
    """Damaged, cut short, or followed by something else."""
    TOO_LARGE = "too_large"
    """Larger than a message may be, as it came or inflated."""
    MALFORMED_JSON = "malformed_json"
    """Not a JSON object in UTF-8."""
    MISSING_MESSAGE = "missing_message"
    """No `short_message` that is text."""
    PICKLE_REFUSED = "pickle_refused"
    """The datagram of a `logging.handlers.DatagramHandler`."""


class GelfEnding(StrEnum):
    """Why an incomplete message was given up."""

    TIMEOUT = "timeout"
    PEER_LIMIT = "peer_limit"
    """Its peer has more chunks waiting than are held."""
    SET_LIMIT = "set_limit"
    """More messages are incomplete than are held."""
    BYTE_LIMIT = "byte_limit"
    """They are larger together than is held."""
    CLOSED = "closed"
    """The reader was closed."""


class GelfNote(StrEnum):
    """What a message did not say as the format has it, and what became of that."""

    NO_HOST = "no_host"
    """The peer's address is used instead."""
    NO_TIME = "no_time"
    """The time of arrival is used instead."""
    NO_LEVEL = "no_level"
    """The severity is None; the format's default would be an alert."""
    NOT_UNICODE = "not_unicode"
    """Halves of characters in it; the sign U+FFFD stands for each."""
    FIELDS_LEFT_OUT = "fields_left_out"
    """`_id`, which is reserved, names that are empty or twice there, values that nothing can carry, or more fields than are kept."""


class GelfRecord(msgspec.Struct, frozen=True):
    """One message. Texts are what was sent, control characters included; escaping is for the display."""

    t: float
    """When it was written, by the sender's clock, else when it arrived; Unix seconds."""
    received: float
    """When its last datagram arrived, Unix seconds."""
    peer: str
    host: str
    """As the message says, else the peer."""
    severity: int | None
    """A syslog severity, 0 (emergency) to 7 (debug)."""
    message: str
    """The `short_message`."""
    full_message: str | None
    fields: dict[str, Scalar]
    """Additional fields without their underscore; lists and maps as JSON."""
    chunks: int = 1
    """Datagrams it came in."""
    notes: tuple[GelfNote, ...] = ()

    @property
    def level(self) -> str | None:
        """The severity's name in lower case."""
        return None if self.severity is None else LEVELS[self.severity]


class GelfIncomplete(msgspec.Struct, frozen=True, gc=False):
    """A message that is certainly lost: some of its chunks came and others did not."""

    peer: str
    id: str
    """The message's own, in hexadecimal digits."""
    received: int
    """Chunks that came."""
    missing: int
    """Chunks that did not."""
    size: int
    """Bytes of those that came."""
    first_at: float
    """When the first came, Unix seconds."""
    reason: GelfEnding


@dataclass(frozen=True, slots=True)
class GelfStats:
    """What became of the chunks of a reader, and what it holds."""

    chunks: int
    """Taken."""
    repeated_chunks: int
    late_chunks: int
    """Of messages that had been given up."""
    given_up: Mapping[GelfEnding, int]
    """Messages, by reason."""
    waiting: int
    """Messages that are not complete."""
    held: int
    """Bytes held for them, with what they cost besides their data."""


LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
"""By severity, as syslog has them."""


class GelfRefusal(Exception):
    """Ends the reading of a datagram or a message."""

    def __init__(self, reason: GelfReason) -> None:
        super().__init__(reason)
        self.reason = reason
