"""The account of several receivers that share an address: the ledgers of those that run, and what is known of those that are gone (R17, R20).

A worker that is replaced is forgotten like an evicted session: its figures stay in the totals, its sessions leave the list, and
the incarnation after it takes them up again, so that their earlier messages are in its `sent` and `before_join` once more.
What a killed worker did after its last report is in no figure; what it had pending or queued then is `unknown`, neither delivered nor lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from atmost.core.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedLedger(Ledger):
    """The account of several workers as if they were one receiver; messages, unless the field says otherwise."""

    workers: int = 0
    """Workers that run now."""
    replaced: int = 0
    """Workers that ended without being asked; another incarnation takes each one's place."""
    killed: int = 0
    """Workers that ended without their last account: what they did after their last report is in no figure."""
    unknown: int = 0
    """Pending when a worker that is gone said its last word, or queued when it was killed: what became of them is not known."""

    def balanced(self) -> bool:
        """R20 for all workers together and each of their sessions."""
        known = self.delivered + self.queued + self.overflow + self.discarded + self.pending + self.lost
        return (
            self.datagrams_in == self.accepted + sum(self.refused.values())
            and self.sent - self.before_join == known + self.unknown
            and all(session.balanced() for session in self.sessions)
        )


def merge_ledgers(ledgers: Iterable[Ledger]) -> MergedLedger:
    """Adds accounts of receivers that have no session in common: counts are summed, by name where they have names.

    Args:
        ledgers: any number; a figure that one of them does not know is not known of all.
    """
    parts = list(ledgers)
    merged: dict[str, Any] = {}
    for field in fields(MergedLedger):
        values = [getattr(part, field.name) for part in parts if hasattr(part, field.name)]
        if values:
            merged[field.name] = _sum(values)
    return MergedLedger(**merged)


def retire(ledger: Ledger, *, killed: bool) -> MergedLedger:
    """What stays in the account of a worker that another has replaced.

    Args:
        ledger: its last word.
        killed: whether that was a report, after which it went on, and not the account with which it closed.
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


def _sum(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        total: Counter[str] = Counter()
        for value in values:
            total.update(value)
        return dict(total)
    if isinstance(first, list):
        return [row for value in values for row in value]
    return None if None in values else sum(values)
