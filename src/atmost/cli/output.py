"""Output of commands: harmless text, values as JSON, and the account.

Messages may contain terminal escape sequences, so no part of a message reaches the terminal unescaped.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any, Final

import click
import msgspec

from atmost.core.accounts import Ledger, MergedLedger, SessionLedger
from atmost.core.events import (
    ClockAlarm,
    DatagramRefused,
    Event,
    LateArrival,
    Loss,
    Message,
    QueueOverflow,
    Session,
    SessionClosed,
    SessionEvicted,
    SessionOpened,
)
from atmost.core.names import HARMFUL
from atmost.core.names import harmless as harmless  # noqa: PLC0414  commands import all output functions from here

_ROWS: Final = 20
"""Senders listed in an account, busiest first."""
_NOBODY: Final = "nobody receives on {url}: start a receiver with 'atmost listen --bind {url}'"
_ADVICE: Final = {
    "ECONNREFUSED": _NOBODY,
    "ENOENT": _NOBODY,
    "EACCES": "no permission to send to {url}: ask the receiver's owner, or send as that user",
    "EPERM": "no permission to send to {url}: does a firewall forbid it?",
    "ENETUNREACH": "this host has no way to {url}: is the network up?",
    "EHOSTUNREACH": "no host answers at {url}: is it up?",
    "ENOTCONN": "no server of {url} accepted the connection: is one running?",
    "EAGAIN": "the receiver on {url} does not keep up: is it stopped?",
}
"""What to do, by the errno's name."""


def to_json(value: Any) -> str:
    """One line of JSON: bytes as base64, times as ISO 8601, and values that JSON does not have as text.

    Characters that could control a terminal are escaped; they occur only in strings, where JSON allows any escape.
    """
    try:
        text = _encode_json(value).decode()
    except RecursionError:
        text = '"nested too deeply to show"'
    return HARMFUL.sub(lambda found: json.dumps(found.group())[1:-1], text)


def who(session: Session | SessionLedger) -> str:
    """A sender for people: its name, or its identity until a beacon brings the name."""
    return harmless(session.name) or session.id


def clock_time(seconds: float) -> str:
    """Local time of day with milliseconds; a dash if it is not a valid time."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(seconds % 1 * 1000):03d}"
    except (OverflowError, ValueError, OSError):  # not a time that this system can format
        return "–"


def places(counts: Mapping[str, int | None]) -> str:
    """Where messages were lost, for people."""
    return ", ".join(f"{place.replace('_', ' ')} {count:,}" for place, count in counts.items() if count)


def describe(event: Event) -> str:
    """One line for people about anything but a message."""
    match event:
        case Loss(session, count, place):
            return f"-- {_messages(count)} of {who(session)} lost here ({place.value.replace('_', ' ')})"
        case LateArrival(session, count):
            return f"-- {_messages(count)} of {who(session)} came late: not lost after all"
        case SessionOpened(session, before):
            joined = f", joined after {_messages(before)}" if before else ""
            return f"-- {who(session)} began{joined}"
        case SessionClosed(session):
            return f"-- {who(session)} said goodbye"
        case SessionEvicted(session, live):
            return f"-- {who(session)} was forgotten: the table is full" + (
                " (it was live: raise max_sessions)" if live else ""
            )
        case DatagramRefused(reason, count, session):
            sender = f" of {who(session)}" if session is not None else ""
            return f"-- refused {count:,} datagram{'s' if count != 1 else ''}{sender}: {reason.value}"
        case ClockAlarm(trouble, count, session, seconds):
            clock = f"the clock of {who(session)}" if session is not None else "this host's clock"
            return f"-- {clock}: {trouble.value.replace('_', ' ')} by {seconds:.6f} s ({count:,} times)"
        case QueueOverflow(session, count):
            return f"-- {_messages(count)} of {who(session)} dropped: the handler is too slow"
    return repr(event)


def as_dict(event: Event) -> dict[str, Any]:
    """An event as an object for JSON; `type` says which."""
    if isinstance(event, Message):
        return {
            "type": "message",
            "subject": event.subject,
            "payload": event.payload,
            **_sender(event.session),
            "sent_at": event.sent_at,
            "received_at": event.received_at,
        }
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    facts = {field: getattr(event, field) for field in event.__dataclass_fields__ if field != "session"}
    session = event.session
    return {"type": name, **(_sender(session) if session is not None else {}), **facts}


def account_lines(ledger: Ledger, url: str, seconds: float) -> list[str]:
    """The account of a receiver for people."""
    title = click.style(f"account of {url} after {seconds:.1f} s", bold=True)
    lines = [title, f"  delivered  {ledger.delivered:>12,} messages in {ledger.accepted:,} datagrams"]
    place = f"  ({places(ledger.lost_by_place)})" if ledger.lost else ""
    lines.append(f"  lost       {ledger.lost:>12,}{place}")
    others = ("late", "pending", "queued", "overflow", "discarded", "before_join")
    lines += [f"  {name.replace('_', ' '):10} {count:>12,}" for name in others if (count := getattr(ledger, name))]
    if ledger.handler_errors:
        lines.append(f"  handler errors {ledger.handler_errors:>8,}")
    if ledger.tail_unknown:
        lines.append(f"  tail unknown {ledger.tail_unknown:>10,} senders fell silent without a goodbye")
    if ledger.refused:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(ledger.refused.items()))
        lines.append(f"  refused    {sum(ledger.refused.values()):>12,} datagrams: {reasons}")
    if isinstance(ledger, MergedLedger):
        lines += _replaced_lines(ledger)
    if ledger.kernel_drops:
        lines.append(f"  kernel     {ledger.kernel_drops:>12,} datagrams dropped at this socket (counted in lost too)")
    lines += [
        f"  {who(row)[:24]:24} {row.delivered:>10,} delivered {row.lost:>8,} lost  {row.tail.value}"
        for row in sorted(ledger.sessions, key=lambda row: -row.delivered)[:_ROWS]
    ]
    if len(ledger.sessions) > _ROWS:
        lines.append(f"  ... and {len(ledger.sessions) - _ROWS:,} more senders")
    return lines


def refused_line(refused: Mapping[str, int], url: str) -> str:
    """One line about messages refused by this host's socket, and what to do.

    Args:
        refused: messages by errno's name.
        url: where they were sent.
    """
    counts = ", ".join(f"{count:,} ({reason})" for reason, count in refused.items())
    advice = next((f"; {text.format(url=url)}" for name, text in _ADVICE.items() if name in refused), "")
    return f"refused by this host's socket: {counts}{advice}"


def _plain(value: Any) -> Any:
    """A JSON form for types that JSON does not have."""
    if isinstance(value, msgspec.msgpack.Ext):
        return {"extension": value.code, "data": value.data}
    return repr(value)


_encode_json: Final = msgspec.json.Encoder(enc_hook=_plain).encode


def _replaced_lines(ledger: MergedLedger) -> list[str]:
    lines = []
    if ledger.replaced:
        lines.append(f"  replaced   {ledger.replaced:>12,} workers that ended by themselves")
    if ledger.killed:
        lines.append(f"  killed     {ledger.killed:>12,} workers: what they did after their last report is not known")
    if ledger.unknown:
        lines.append(f"  unknown    {ledger.unknown:>12,} messages that workers which are gone had pending or queued")
    return lines


def _sender(session: Session) -> dict[str, Any]:
    return {"sender": session.name, "host": session.host, "pid": session.pid, "session": session.id}


def _messages(count: int) -> str:
    return f"{count:,} message" + ("" if count == 1 else "s")
