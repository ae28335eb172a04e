"""What a datagram of syslog says, as values."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

import msgspec

MAX_DATAGRAM: Final = 65_536
"""Bytes; no UDP datagram is longer."""
DEFAULT_PRIORITY: Final = 13
"""Of a message that tells none: facility user, severity notice (RFC 3164, 4.3.3)."""
MAX_MESSAGES: Final = 1024
"""Of one datagram."""
MAX_SEQUENCE: Final = 2_147_483_647
"""The last number of `[meta sequenceId]`; 1 follows (RFC 5424, 7.3.1)."""

Element = tuple[str, tuple[tuple[str, str], ...]]
"""An element of structured data: its id, and its parameters in order."""


class SyslogReason(StrEnum):
    """Why a datagram was refused; they become metric labels."""

    EMPTY = "empty"
    """Nothing but NUL bytes and line ends."""
    TOO_LONG = "too_long"
    MALFORMED_HEADER = "malformed_header"
    """It begins as RFC 5424 does, and its fields are too few, too long, or hold characters that cannot be printed."""
    MALFORMED_TIMESTAMP = "malformed_timestamp"
    """Of RFC 5424: no such day, more than six digits of a second, or no zone."""
    MALFORMED_STRUCTURED_DATA = "malformed_structured_data"
    TOO_MUCH_STRUCTURED_DATA = "too_much_structured_data"
    TOO_MANY_MESSAGES = "too_many_messages"
    """In one datagram."""
    PICKLE_REFUSED = "pickle_refused"
    """The datagram of a `logging.handlers.DatagramHandler`."""


class SyslogHost(StrEnum):
    """The meaning of an ambiguous word after an RFC 3164 timestamp, if neither it nor the next word is a tag."""

    FIELD = "field"
    """The host, which stands in that place (RFC 3164, 4.1.2)."""
    PEER = "peer"
    """The first word of the text; the peer's address is used as the host."""


class SyslogForm(StrEnum):
    """How a message was written."""

    RFC5424 = "rfc5424"
    RFC3164 = "rfc3164"
    """A timestamp was there, of RFC 3164 or as later programs write it."""
    BARE = "bare"
    """A text, with or without a priority."""


class SyslogNote(StrEnum):
    """What a message left out, and what is used instead."""

    NO_PRIORITY = "no_priority"
    """Missing or out of range: 13 is used instead, and an impossible one stays in the text."""
    NO_TIME = "no_time"
    """The time of arrival is used instead."""
    NO_YEAR = "no_year"
    """The last such day, tomorrow included."""
    NO_ZONE = "no_zone"
    """The zone given to `parse`."""
    NO_HOST = "no_host"
    """The peer's address is used instead."""
    UNQUOTED_DATA = "unquoted_data"
    """Values of structured data have no quotes, as VMware writes them."""
    NOT_UTF8 = "not_utf8"
    """Bytes that are not UTF-8 stand in the text as `\\xNN`."""


class SyslogSeverity(IntEnum):
    """RFC 5424, 6.2.1."""

    EMERGENCY = 0
    ALERT = 1
    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


class SyslogRecord(msgspec.Struct, frozen=True, gc=False):
    """One message. Texts are what was sent, control characters included; escaping is for the display."""

    facility: int
    """0 to 23."""
    severity: SyslogSeverity
    t: float
    """When it was written, by the sender's clock, else when it arrived; Unix seconds."""
    received: float
    """When it arrived, Unix seconds."""
    peer: str
    """Who sent it: the writer or a relay."""
    host: str
    """As the message says, else the peer."""
    message: str
    form: SyslogForm
    application: str | None = None
    process: str | None = None
    message_id: str | None = None
    structured: tuple[Element, ...] = ()
    sequence: int | None = None
    """The number in `[meta sequenceId]`, 1 to `MAX_SEQUENCE`."""
    notes: tuple[SyslogNote, ...] = ()

    @property
    def level(self) -> str:
        """The severity's name in lower case."""
        return self.severity.name.lower()


class SyslogRefusal(Exception):
    """Ends the reading of a datagram."""

    def __init__(self, reason: SyslogReason) -> None:
        super().__init__(reason)
        self.reason = reason
