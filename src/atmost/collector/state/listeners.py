"""Counts of what each listener received, accepted and rejected. One thread writes; any thread may read."""

from __future__ import annotations

from collections import Counter


class ListenerStats:
    """The account of one foreign listener: `received` datagrams; `accepted` and `rejected` lines or records."""

    __slots__ = (
        "accepted",
        "address",
        "kernel_drops",
        "kind",
        "notes",
        "queue_drops",
        "received",
        "rejected",
        "warning",
    )

    def __init__(self, kind: str, address: str, warning: str | None = None) -> None:
        """Args: kind: statsd, syslog or gelf. address: the URL as bound. warning: a warning for the operator."""
        self.kind = kind
        self.address = address
        self.warning = warning
        self.received = 0
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        """Accepted lines with parts left out or doubtful, counted by kind of note."""
        self.kernel_drops: int | None = None
        self.queue_drops = 0
