"""The facts a receiver reports: messages, and what happened to the rest.

Every reason is a closed enumeration (R24), because reasons become metric labels.
Events are immutable; `Message` is a msgspec Struct, because a datagram's messages are decoded straight into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec


class RefusalReason(StrEnum):
    """Why a datagram was refused (R11, R16, R17), in the order in which the rules are applied."""

    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    WRONG_SHARD = "wrong_shard"
    FUTURE = "future"
    BOOT_QUARANTINE = "boot_quarantine"
    BELOW_FLOOR = "below_floor"
    TOO_OLD = "too_old"
    DUPLICATE = "duplicate"
    EXPIRED = "expired"
    AUTH_FAILED = "auth_failed"
    INCONSISTENT = "inconsistent"
    IMPLAUSIBLE = "implausible"


class DropReason(StrEnum):
    """Why a sender dropped a message before it was numbered (R5)."""

    BUFFER_FULL = "buffer_full"
    PACING = "pacing"
    CLOSED = "closed"
    FORKED = "forked"


class Place(StrEnum):
    """Where a message was lost, as far as it can be known (R20)."""

    SENDER_SOCKET = "sender_socket"
    IN_FLIGHT = "in_flight"
    UNKNOWN = "unknown"
    """Before the session's first beacon: the sender's socket may have refused them, or they were lost in flight."""


class Tail(StrEnum):
    """What is known of a session's end (R21)."""

    ALIVE = "alive"
    SILENT = "silent"
    CLOSED = "closed"


class ClockTrouble(StrEnum):
    """What is wrong with a clock (R18): visible, never fatal."""

    STEPPED_BACK = "stepped_back"
    """This host's clock was set back while the receiver ran."""
    UNSYNCHRONISED = "unsynchronised"
    """The operating system reports that this host's clock is not synchronised."""
    NEGATIVE_DELAY = "negative_delay"
    """A datagram was sent after it arrived, within F."""
    SENDER_AHEAD = "sender_ahead"
    """A sender is refused because its clock is more than F ahead."""
    SENDER_BEHIND = "sender_behind"
    """A sender is refused because its clock, or its datagram, is behind the floor."""


class Session:
    """One life of one sender, as its messages show it.

    The name, host and process id come with the first beacon that arrives; until then they are empty and 0.
    """

    __slots__ = ("host", "key", "name", "pid", "start_us")

    def __init__(self, key: bytes, start_us: int) -> None:
        """Args: key: the 18 bytes of identity on the wire. start_us: when it began by the sender's clock, µs since 1970."""
        self.key = key
        self.start_us = start_us
        self.name = ""
        self.host = ""
        self.pid = 0

    @property
    def key_id(self) -> int:
        """The number of the key that proved this session, 0 without keys; unlike the name, it cannot be claimed without the key."""
        return int.from_bytes(self.key[:2])

    @property
    def id(self) -> str:
        """The identity as text: the random part, 16 hexadecimal digits."""
        return self.key[10:].hex()

    def __repr__(self) -> str:
        """Name, place and identity."""
        return f"<Session {self.name or '?'} {self.host}:{self.pid} {self.id}>"


class Arrival(msgspec.Struct, frozen=True, gc=False, eq=False):
    """What the messages of one datagram have in common."""

    session: Session
    """The sender's."""
    sequence: int
    """The datagram's number."""
    sent_us: int
    """The sender's wall clock at the hand-over, µs since 1970."""
    received_us: int
    """The receiver's wall clock at the acceptance, µs since 1970."""


if TYPE_CHECKING:
    _ArrivalHere = Arrival
else:

    class _ArrivalHere:
        """What a decoder takes for the type of `Message.arrival`: nothing on the wire becomes one."""


_NOWHERE = Arrival(Session(bytes(18), 0), 0, 0, 0)


class Message(msgspec.Struct, array_like=True, gc=False, eq=False):
    """A message as it was given to `send()`, with its sender and times.

    On the wire it is the pair `[subject, payload]`.
    The third field cannot come from the wire (its type is one that no MessagePack value has), so a longer array is malformed.
    """

    subject: str
    payload: Any
    arrival: _ArrivalHere = _NOWHERE

    @property
    def session(self) -> Session:
        """The sender's session."""
        return self.arrival.session

    @property
    def sent_at(self) -> float:
        """When it was handed over, by the sender's clock, seconds since 1970."""
        return self.arrival.sent_us / 1e6

    @property
    def received_at(self) -> float:
        """When it was accepted, by the receiver's clock, seconds since 1970."""
        return self.arrival.received_us / 1e6

    def __repr__(self) -> str:
        """Subject, payload and sender."""
        return f"Message({self.subject!r}, {self.payload!r}, session={self.session!r})"


@dataclass(frozen=True, slots=True)
class Loss:
    """Messages that were numbered and did not arrive within the grace."""

    session: Session
    count: int
    """Messages."""
    place: Place
    first_sequence: int
    """The first datagram number of the gap."""
    last_sequence: int
    """The last datagram number of the gap."""


@dataclass(frozen=True, slots=True)
class LateArrival:
    """Messages booked as lost that came after all: they are delivered, and lower the loss."""

    session: Session
    count: int


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The first datagram of a session was accepted."""

    session: Session
    before_join: int
    """Messages sent before this receiver could remember: neither lost nor delivered."""


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The sender said goodbye: from now on its account is exact."""

    session: Session


@dataclass(frozen=True, slots=True)
class SessionEvicted:
    """The table was full and this session was forgotten; `live` when it had been heard from within the last minute."""

    session: Session
    live: bool


@dataclass(frozen=True, slots=True)
class DatagramRefused:
    """Datagrams refused for one reason since the last event of this kind."""

    reason: RefusalReason
    count: int
    """Datagrams."""
    session: Session | None
    """The sender, when the session was known; the latest one when there were several."""


@dataclass(frozen=True, slots=True)
class ClockAlarm:
    """A clock that causes trouble: the receiver's own when `session` is None, else that sender's."""

    trouble: ClockTrouble
    count: int
    session: Session | None
    seconds: float
    """By how much, at the latest occurrence."""


@dataclass(frozen=True, slots=True)
class QueueOverflow:
    """Messages dropped after marking because the handler is too slow (R14), since the last event of this kind."""

    session: Session
    count: int


Event = (
    Message
    | Loss
    | LateArrival
    | SessionOpened
    | SessionClosed
    | SessionEvicted
    | DatagramRefused
    | ClockAlarm
    | QueueOverflow
)
