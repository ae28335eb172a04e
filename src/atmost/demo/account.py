"""Decides whether the demo's account balances, from independent counts: sender, receiver, and the link if there is one.

The receiver knows every message numbered up to the last datagram that got through; later ones are `unknown` to it.
The demo sees both ends, so it can say how many those are. The link's own count must then equal what is missing.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from atmost.core.accounts import Ledger
from atmost.core.events import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoAccount:
    """The demo's account, in messages unless the field says otherwise."""

    offered: int
    dropped: int
    """Dropped by the sender before they were numbered."""
    refused: int
    """Refused by the sender's socket after they were numbered: part of `lost + unknown`."""
    delivered: int
    lost: int
    lost_by_place: dict[str, int | None]
    unknown: int
    """Numbered after the last datagram that got through."""
    late: int
    pending: int
    overflow: int
    duplicates_refused: int
    """Datagrams."""
    duplicates_processed: int
    link: dict[str, Any] = field(default_factory=dict)
    """What the link reports it did. A cluster reports only its servers' state, because it does not count our messages."""
    kernel_drops: int | None = None
    """Datagrams the collector's kernel buffer dropped."""
    receiver_balanced: bool = True
    """Whether the receiver's own identities hold (R20)."""

    @property
    def explained(self) -> bool:
        """Whether every message offered is in exactly one place."""
        places = self.dropped + self.delivered + self.lost + self.pending + self.overflow + self.unknown
        return self.offered == places

    @property
    def agrees_with_link(self) -> bool:
        """Whether the missing messages are those the link dropped or the sender's socket refused; True without a link."""
        return (
            "dropped_messages" not in self.link
            or self.lost + self.unknown == int(self.link["dropped_messages"]) + self.refused
        )

    @property
    def balanced(self) -> bool:
        """Whether every account agrees and nothing was processed twice."""
        return self.explained and self.agrees_with_link and self.receiver_balanced and not self.duplicates_processed

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the verdict."""
        return {**asdict(self), "balanced": self.balanced}


def balance(stats: Mapping[str, Any], ledger: Ledger, tally: Tally, link: Mapping[str, Any]) -> DemoAccount:
    """Combines the three counts.

    Args:
        stats: the sender's `SenderStats` as a mapping.
        ledger: the receiver's account, settled.
        tally: the messages really processed.
        link: the link's account as a mapping.
    """
    refused = sum(stats["refused"].values())
    return DemoAccount(
        offered=stats["offered"],
        dropped=sum(stats["dropped"].values()) + stats["open"],
        refused=refused,
        delivered=tally.processed,
        lost=ledger.lost,
        lost_by_place=ledger.lost_by_place,
        unknown=stats["handed_over"] + refused - ledger.sent,
        late=ledger.late,
        pending=ledger.pending,
        overflow=ledger.overflow,
        duplicates_refused=ledger.refused.get("duplicate", 0),
        duplicates_processed=tally.duplicates,
        link=dict(link),
        kernel_drops=ledger.kernel_drops,
        receiver_balanced=ledger.balanced() and ledger.delivered == tally.processed,
    )


class Tally:
    """What was processed, counted independently of the receiver's own account."""

    def __init__(self) -> None:
        """Begins with nothing processed."""
        self.processed = 0
        self.duplicates = 0
        self._arrivals: dict[tuple[bytes, int], Any] = {}

    def process(self, message: Message) -> None:
        """Counts one message, as a duplicate if its datagram arrived before."""
        self.processed += 1
        arrival = message.arrival
        if self._arrivals.setdefault((arrival.session.key, arrival.sequence), arrival) is not arrival:
            self.duplicates += 1
