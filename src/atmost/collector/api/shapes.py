"""The answers of the HTTP interface as types, which `/openapi.json` describes and the page reads.

Times are seconds since 1970, durations seconds, counts whole numbers; `null` means unknown, which is never written as 0.
"""

from __future__ import annotations

from typing import Any

import msgspec

from atmost.collector.state.flow import Minute
from atmost.collector.state.heartbeats import BoardRow
from atmost.collector.state.records import Gap, Record
from atmost.collector.state.refused import RefusedSender
from atmost.collector.state.rejected import Sample
from atmost.collector.state.state import LimitUse
from atmost.collector.state.subjects import Subject


class ErrorDetail(msgspec.Struct):
    """Why a request cannot be answered."""

    code: str
    message: str


class ErrorAnswer(msgspec.Struct):
    """The body of every answer with a status of 400 or above."""

    error: ErrorDetail


class Listener(msgspec.Struct, kw_only=True):
    """One address at which the collector receives."""

    kind: str
    address: str
    received: int
    accepted: int
    rejected: dict[str, int]
    notes: dict[str, int]
    kernel_drops: int | None
    queue_drops: int
    warning: str | None


class Totals(msgspec.Struct, kw_only=True):
    """Sums over all senders of ours since the start, and of the last minute; messages, and datagrams where refused."""

    senders: int
    """Sessions that have not said goodbye."""
    delivered: int
    lost: int
    lost_by_place: dict[str, int | None]
    late: int
    pending: int
    duplicates_refused: int
    refused: dict[str, int]
    tail_unknown: int
    rate: float
    minute: Minute
    refused_senders: int
    """Rows of senders that were never accepted."""


class Memory(msgspec.Struct, kw_only=True):
    """Memory of the process."""

    bytes: int | None
    """Resident memory; None where the system does not report it."""
    limits: list[LimitUse]


class Overview(msgspec.Struct, kw_only=True):
    """The collector at a glance."""

    now: float
    started: float
    version: str
    host: str
    listeners: list[Listener]
    totals: Totals
    alive: dict[str, int]
    memory: Memory
    warnings: list[str]


class Session(msgspec.Struct, kw_only=True):
    """One session of a sender: one life of one process."""

    id: str
    name: str
    host: str
    pid: int
    key_id: int
    tail: str
    rate: float
    sent: int
    delivered: int
    lost: int
    lost_by_place: dict[str, int | None]
    loss_ratio: float | None
    late: int
    pending: int
    before_join: int
    refused: dict[str, int]
    sender_offered: int | None
    sender_dropped: dict[str, int] | None
    sender_refused: dict[str, int] | None
    last_seen: float
    clock_warning: str | None


class Sender(msgspec.Struct, kw_only=True):
    """One sender: all sessions of one name under one key. Sums are over the sessions that are remembered."""

    id: str
    name: str
    """Empty until a beacon brings it; such a session stands alone."""
    key_id: int
    host: str
    """Of the session that represents the sender: one that is alive, else the one heard last."""
    pid: int
    hosts: int
    sessions: int
    alive: int
    silent: int
    closed: int
    tail: str
    """`alive` while one session is, else that of the session heard last."""
    rate: float
    sent: int
    delivered: int
    lost: int
    lost_by_place: dict[str, int | None]
    loss_ratio: float | None
    late: int
    pending: int
    before_join: int
    refused: dict[str, int]
    sender_offered: int | None
    sender_dropped: dict[str, int] | None
    sender_refused: dict[str, int] | None
    last_seen: float
    clock_warning: str | None
    minute: Minute | None
    """The last minute; null for senders that have no series of their own."""


class Senders(msgspec.Struct, kw_only=True):
    """The senders, those that are losing messages first, then the busiest; and senders never accepted."""

    now: float
    senders: list[Sender]
    truncated: int
    refused: list[RefusedSender]


class Sessions(msgspec.Struct, kw_only=True):
    """The sessions of one sender, those that are alive first."""

    sessions: list[Session]
    truncated: int


class ReceiverLedger(msgspec.Struct, kw_only=True):
    """The account of one receiver; `unknown` counts messages still undecided when a worker ended, 0 if none did."""

    address: str
    sent: int
    delivered: int
    lost: int
    lost_by_place: dict[str, int | None]
    late: int
    pending: int
    queued: int
    overflow: int
    discarded: int
    before_join: int
    unknown: int
    tail_unknown: int
    refused: dict[str, int]
    datagrams_in: int
    accepted: int
    evicted: int
    handler_errors: int
    kernel_drops: int | None
    clock_troubles: dict[str, int]
    balanced: bool


class Ledgers(msgspec.Struct, kw_only=True):
    """The accounts of all receivers."""

    receivers: list[ReceiverLedger]


class LogPage(msgspec.Struct, kw_only=True):
    """Entries of the log tail, oldest first."""

    cursor: int
    records: list[Record | Gap]
    truncated: bool


class LogEvent(msgspec.Struct, kw_only=True):
    """New log entries on the event stream."""

    cursor: int
    records: list[Record | Gap]
    skipped: int


class Subjects(msgspec.Struct, kw_only=True):
    """Every subject seen, by name."""

    now: float
    subjects: list[Subject]


class Heartbeats(msgspec.Struct, kw_only=True):
    """The board of heartbeats, the gravest first."""

    now: float
    heartbeats: list[BoardRow]
    truncated: int


class Forgotten(msgspec.Struct, kw_only=True):
    """The heartbeat no longer expected until it beats again."""

    forgotten: str


class RejectedList(msgspec.Struct, kw_only=True):
    """Samples of rejected input, oldest first."""

    rejected: list[Sample]


class Health(msgspec.Struct, kw_only=True):
    """Whether the process works."""

    status: str
    uptime: float
    checks: dict[str, Any] = {}
