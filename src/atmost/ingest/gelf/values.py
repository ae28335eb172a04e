"""What GELF says, as values."""

from __future__ import annotations

from enum import StrEnum

import msgspec

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
    """No JSON object in UTF-8."""
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
    """The peer's address stands for it."""
    NO_TIME = "no_time"
    """The moment of arrival stands for it."""
    NO_LEVEL = "no_level"
    """None stands for it; the format would have it an alert."""
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
    """A message that is lost for certain, for some of its chunks came and others did not."""

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


LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
"""By severity, as syslog has them."""


class Refusal(Exception):
    """Ends the reading of a datagram or a message."""

    def __init__(self, reason: GelfReason) -> None:
        super().__init__(reason)
        self.reason = reason
