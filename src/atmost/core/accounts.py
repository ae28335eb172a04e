"""The account: how many messages arrived, how many did not, and what can be said of the difference (R19–R21).

The identities, exact at every moment:
per session `E − O = delivered + queued + overflow + discarded + pending + lost` in messages,
and for the receiver `datagrams_in = accepted + Σ refused` in datagrams.
Unknown is reported as unknown (`tail_unknown`), never as 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from atmost.core.events import Place, Tail


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What every level of the account has; messages, unless the field says otherwise."""

    delivered: int = 0
    """Handed to the handler or the iteration."""
    lost: int = 0
    """Numbered, but not arrived within the grace; late arrivals are subtracted again."""
    lost_by_place: dict[str, int | None] = field(default_factory=dict)
    """`lost` divided: `sender_socket` as the sender's beacons report it, `in_flight` the rest (network and kernels).

    Before a session's first beacon both are None, and its loss is `unknown`.
    """
    late: int = 0
    """Arrived after they had been booked as lost; delivered."""
    pending: int = 0
    """Missing, and still within the grace."""
    queued: int = 0
    """Accepted, and waiting for the handler."""
    overflow: int = 0
    """Accepted, and dropped because the queue was full (R14)."""
    discarded: int = 0
    """Queued when the receiver was closed."""
    before_join: int = 0
    """Sent before this receiver could remember: neither lost nor delivered."""
    tail_unknown: int = 0
    """Sessions that fell silent without a goodbye: they may have sent more (R21)."""
    refused: dict[str, int] = field(default_factory=dict)
    """Datagrams refused, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLedger(Account):
    """The account of one session."""

    id: str
    name: str
    host: str
    pid: int
    key_id: int
    """The key that proved the session, 0 without keys."""
    tail: Tail
    sent: int
    """E: messages the sender is known to have numbered."""
    datagrams: int
    """Datagrams accepted."""
    last_seen: float
    """Seconds since the last accepted datagram."""
    sender_offered: int | None = None
    """Messages given to the sender, as its last beacon says; None before any beacon."""
    sender_dropped: dict[str, int] | None = None
    """Messages that the sender dropped before numbering them, by reason, as its last beacon says; None before any beacon."""
    sender_refused: dict[str, int] | None = None
    """Messages that the sender's socket refused, by errno, as its last beacon says; None before any beacon."""

    def balanced(self) -> bool:
        """R20 for one session."""
        known = self.delivered + self.queued + self.overflow + self.discarded + self.pending + self.lost
        return self.sent - self.before_join == known


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger(Account):
    """The account of one receiver incarnation: totals, forgotten sessions included, and the sessions remembered."""

    sent: int = 0
    """Σ E."""
    datagrams_in: int = 0
    accepted: int = 0
    """Datagrams accepted."""
    evicted: int = 0
    """Sessions forgotten because the table was full."""
    handler_errors: int = 0
    """Messages whose handler raised or was cancelled; they are in `delivered` and never redelivered."""
    kernel_drops: int | None = None
    """Datagrams the kernel dropped at this socket (R22): they are in `lost` too; None where the system does not report them."""
    clock_troubles: dict[str, int] = field(default_factory=dict)
    """Occurrences of clock trouble, by kind (R18)."""
    sessions: list[SessionLedger] = field(default_factory=list)

    def balanced(self) -> bool:
        """R20 for the receiver and each of its sessions."""
        known = self.delivered + self.queued + self.overflow + self.discarded + self.pending + self.lost
        return (
            self.datagrams_in == self.accepted + sum(self.refused.values())
            and self.sent - self.before_join == known
            and all(session.balanced() for session in self.sessions)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedLedger(Ledger):
    """The account of several workers as if they were one receiver (R17, R20); messages, unless the field says otherwise.

    A worker that is replaced is forgotten like an evicted session: its figures stay in the totals, and its sessions leave the list.
    The worker that replaces it joins these sessions again, so their earlier messages are once more in its `sent` and
    `before_join`.
    No figure includes messages of a killed worker after its last report.
    Messages that were pending or queued at that report are `unknown`, neither delivered nor lost.
    """

    workers: int = 0
    """Workers that run now."""
    replaced: int = 0
    """Workers that ended without being asked; another incarnation takes each one's place."""
    killed: int = 0
    """Workers that ended without a last account: no figure includes what they did after their last report."""
    unknown: int = 0
    """Pending in the last account of a worker that has ended, or queued when it was killed: their fate is not known."""

    def balanced(self) -> bool:
        """R20 for all workers together and each of their sessions."""
        known = self.delivered + self.queued + self.overflow + self.discarded + self.pending + self.lost
        return (
            self.datagrams_in == self.accepted + sum(self.refused.values())
            and self.sent - self.before_join == known + self.unknown
            and all(session.balanced() for session in self.sessions)
        )


@dataclass(frozen=True, slots=True)
class SenderStats:
    """What became of the messages given to `send()`: `offered = dropped + open + handed_over + refused` (R20)."""

    offered: int
    """Calls of `send()` that did not raise."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Dropped before they were numbered, by reason."""
    open: int = 0
    """Buffered, or numbered and held for a transport that cannot take them yet."""
    handed_over: int = 0
    """Given to the transport, once each."""
    refused: dict[str, int] = field(default_factory=dict)
    """Numbered and refused at the hand-over, by the errno's name; the receiver sees these as a gap."""


def merge_ledgers(ledgers: Iterable[Ledger]) -> MergedLedger:
    """Adds the accounts of receivers that share no session: counts are summed, those in dictionaries by name.

    Args:
        ledgers: any number; a plain figure that is None in one of them is None in the sum.
    """
    parts = list(ledgers)
    merged: dict[str, Any] = {}
    for figure in fields(MergedLedger):
        values = [getattr(part, figure.name) for part in parts if hasattr(part, figure.name)]
        if values:
            merged[figure.name] = _sum(values)
    return MergedLedger(**merged)


def retire(ledger: Ledger, *, killed: bool) -> MergedLedger:
    """What stays in the account of a worker that another has replaced.

    Args:
        ledger: its last account.
        killed: whether that account was a report, after which the worker went on, not its closing account.
    """
    return replace(
        merge_ledgers([ledger]),
        sessions=[],
        pending=0,
        queued=0,
        tail_unknown=0,
        killed=int(killed),
        unknown=ledger.pending + ledger.queued,
    )


def divide(lost: int, at_sender: int | None, unknown: int) -> dict[str, int | None]:
    """Lost messages by place.

    Args:
        lost: all of them.
        at_sender: those that the sender's socket refused; None when no beacon says so.
        unknown: those of sessions without a beacon.
    """
    in_flight = None if at_sender is None else lost - at_sender - unknown
    places: dict[str, int | None] = {Place.SENDER_SOCKET.value: at_sender, Place.IN_FLIGHT.value: in_flight}
    return places | {Place.UNKNOWN.value: unknown} if unknown else places


class SessionAccount:
    """The running account of one session (GUARANTEE §6): O, E, D and what was booked as lost.

    Mutable, because the receiver updates it at every datagram; `missing = end − origin − accepted` never falls below 0.
    """

    __slots__ = (
        "accepted",
        "discarded",
        "end",
        "late_total",
        "lost_total",
        "origin",
        "overflow",
        "refused",
        "sender_socket_base",
        "sender_socket_booked",
    )

    def __init__(self, origin: int) -> None:
        """Args: origin: O, the first message number this receiver answers for."""
        self.origin = origin
        self.end = origin
        self.accepted = 0
        self.lost_total = 0
        self.late_total = 0
        self.overflow = 0
        self.discarded = 0
        self.refused: dict[str, int] | None = None
        self.sender_socket_base = 0
        self.sender_socket_booked = 0

    def copy(self) -> SessionAccount:
        """Another account with the same figures; the refusals are shared, because counting them needs no draft."""
        other = SessionAccount.__new__(SessionAccount)
        other.accepted = self.accepted
        other.discarded = self.discarded
        other.end = self.end
        other.late_total = self.late_total
        other.lost_total = self.lost_total
        other.origin = self.origin
        other.overflow = self.overflow
        other.refused = self.refused
        other.sender_socket_base = self.sender_socket_base
        other.sender_socket_booked = self.sender_socket_booked
        return other

    @property
    def missing(self) -> int:
        """Messages numbered and not arrived, pending or lost."""
        return self.end - self.origin - self.accepted

    @property
    def lost(self) -> int:
        """Messages booked as lost that have not come since."""
        return self.lost_total - self.late_total

    def at_sender(self, reported: int | None) -> int | None:
        """The lost messages that the sender's socket refused, as far as its beacons explain them; None without a beacon."""
        return None if reported is None else min(self.lost, max(0, reported - self.sender_socket_base))

    def figures(self, queued: int, reported: int | None) -> dict[str, Any]:
        """The fields of `Account` in messages.

        Args:
            queued: this session's messages waiting for the handler.
            reported: messages that the sender's socket refused, cumulative, as its last beacon says; None before any beacon.
        """
        at_sender = self.at_sender(reported)
        queued = min(queued, self.accepted - self.overflow - self.discarded)  # the rest was accepted before a fold
        return {
            "delivered": self.accepted - queued - self.overflow - self.discarded,
            "lost": self.lost,
            "lost_by_place": divide(self.lost, at_sender, self.lost if at_sender is None else 0),
            "late": self.late_total,
            "pending": self.missing - self.lost,
            "queued": queued,
            "overflow": self.overflow,
            "discarded": self.discarded,
            "before_join": self.origin,
            "refused": dict(self.refused or {}),
        }


def _sum(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        total: dict[str, int | None] = {}
        for name in dict.fromkeys(name for value in values for name in value):
            known = [value[name] for value in values if value.get(name) is not None]
            total[name] = sum(known) if known else None
        return total
    if isinstance(first, list):
        return [row for value in values for row in value]
    return None if None in values else sum(values)
