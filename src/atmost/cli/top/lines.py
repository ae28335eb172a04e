"""Turns a snapshot into words and rows of cells, the same for the live view and for plain text.

Pure. Control characters in text from outside are escaped; an unknown value is a dash, never 0.
"""

from __future__ import annotations

import math
from typing import Any, Final

from atmost.cli.output import clock_time, harmless, places
from atmost.cli.source import Object, Snapshot

UNKNOWN: Final = "–"
SENDER_COLUMNS: Final = (
    "sender",
    "host",
    "state",
    "rate/s",
    "lost now",
    "lost",
    "loss",
    "where",
    "delivered",
    "late",
    "pending",
    "last seen",
)
"""The columns up to `lost` fit into 80 characters."""
NUMBERS: Final = {"rate/s", "lost now", "delivered", "lost", "loss", "late", "pending", "last seen", "for"}
"""Columns that are aligned to the right."""
HEARTBEAT_COLUMNS: Final = ("heartbeat", "state", "for", "verdict")
SORTS: Final = ("lost now", "lost", "rate", "delivered", "name")
_GRAVITY: Final = ("down", "failed", "suspect", "unknown", "late", "up", "stopped")


def title(snapshot: Snapshot, url: str) -> str:
    """The title line: the collector's host, address, version and age."""
    overview = snapshot.overview
    age = duration(overview["now"] - overview["started"])
    return f"{harmless(overview['host'])}  {harmless(url)}  atmost {harmless(overview['version'])}, up for {age}"


def totals(snapshot: Snapshot) -> list[tuple[str, str]]:
    """The figures of all senders together, by name."""
    sums = snapshot.overview["totals"]
    known = sums["delivered"] + sums["lost"]
    where = f" ({share(sums['lost'] / known)}: {harmless(places(sums['lost_by_place']))})" if sums["lost"] else ""
    return [
        ("senders", count(sums["senders"])),
        ("messages/s", number(sums["rate"])),
        ("delivered", count(sums["delivered"])),
        ("lost now", count(sums["minute"]["lost"])),
        ("lost", count(sums["lost"]) + where),
        ("late", count(sums["late"])),
        ("pending", count(sums["pending"])),
        ("duplicates refused", count(sums["duplicates_refused"])),
        ("refused", count(sum(sums["refused"].values()) - sums["duplicates_refused"])),
        ("tail unknown", count(sums["tail_unknown"])),
    ]


def alive(snapshot: Snapshot) -> str:
    """How many heartbeats are in which state."""
    counted = {state: number for state, number in snapshot.overview["alive"].items() if number}
    return "  ".join(f"{number:,} {harmless(state)}" for state, number in counted.items()) or "nobody beats"


def warnings(snapshot: Snapshot) -> list[str]:
    """Which senders are refused and why, and the collector's other warnings."""
    refused = [
        f"refused: {', '.join(map(harmless, row['names'])) or 'a sender'} at {harmless(row['address']) or 'an unknown address'}: "
        f"{harmless(row['advice'])}"
        for row in snapshot.senders["refused"]
    ]
    return [*refused, *(harmless(text) for text in snapshot.overview["warnings"])]


def sender_rows(snapshot: Snapshot, sort: str = "lost now") -> list[list[str]]:
    """A row of `SENDER_COLUMNS` for each sender; equal ones are sorted by their loss, then by name, so that rows keep their places.

    Args:
        snapshot: the collector's answer.
        sort: one of `SORTS`.
    """
    lost = 0 if sort == "name" else 1
    ordered = sorted(
        snapshot.senders["senders"],
        key=lambda row: (-_figure(row, sort), -lost * row["lost"], row["name"], row["id"]),
    )
    return [_sender_row(row) for row in ordered]


def heartbeat_rows(snapshot: Snapshot) -> list[list[str]]:
    """A row of `HEARTBEAT_COLUMNS` for each heartbeat; those that need attention first."""
    now = snapshot.heartbeats["now"]
    ordered = sorted(snapshot.heartbeats["heartbeats"], key=lambda row: (_gravity(row["state"]), row["name"]))
    return [
        [harmless(row["name"]), harmless(row["state"]), duration(now - row["since"]), harmless(row["verdict"])]
        for row in ordered
    ]


def log_line(record: Object) -> str:
    """One line for a record or a hole; further lines of a record follow, each indented."""
    at = clock_time(record["t"])
    who = harmless(record["sender"])
    if record["type"] == "gap":
        doubt = "" if record["verified"] else ", unverified"
        return f"{at} -- {record['lost']:,} lost here{_levels(record)} of {who} ({harmless(record['reason'].replace('_', ' '))}{doubt})"
    level = harmless(record["level"] or "")
    marks = "".join(f" [{mark}]" for mark in ("late", "truncated") if record[mark])
    fields = "".join(f" {harmless(str(key))}={harmless(str(value))}" for key, value in (record["fields"] or {}).items())
    first, *others = [
        harmless(line) for line in f"{record['message']}\n{record['exception'] or ''}".rstrip().split("\n")
    ]
    head = f"{at} {level:8} {who} {harmless(record['logger'])}".rstrip()
    return "\n".join([f"{head} {first}{fields}{marks}", *(f"    {line}" for line in others)])


def count(value: int | None) -> str:
    """A whole number."""
    return UNKNOWN if value is None else f"{value:,}"


def number(value: float | None) -> str:
    """A rate, three digits at least."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def share(value: float | None) -> str:
    """A share as a percentage; a small one never reads as 0."""
    if value is None:
        return UNKNOWN
    if 0 < value < 0.0001:
        return "< 0.01 %"
    return f"{value * 100:.{0 if value in {0, 1} else 2 if value < 0.1 else 1}f} %"


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return UNKNOWN
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min {int(seconds % 60):02} s"
    return (
        f"{minutes // 60} h {minutes % 60:02} min" if minutes < 1440 else f"{minutes // 1440} d {minutes // 60 % 24} h"
    )


def _figure(row: Object, sort: str) -> float:
    """The figure a row is sorted by; rates in powers of two, because they change every second."""
    if sort == "name":
        return 0.0
    if sort == "rate":
        return math.floor(math.log2(row["rate"] + 1))
    return _lost_now(row) or 0 if sort == "lost now" else row[sort]


def _lost_now(row: Object) -> int | None:
    return row["minute"]["lost"] if row["minute"] else None


def _sender_row(row: Object) -> list[str]:
    warning = " (clock)" if row["clock_warning"] else ""
    host = f"{harmless(row['host'])} {row['pid']}"
    if row["sessions"] > 1:
        host = (
            f"{harmless(row['host'])} ×{row['sessions']:,}"
            if row["hosts"] == 1
            else f"{row['hosts']:,} hosts ×{row['sessions']:,}"
        )
    return [
        (harmless(row["name"]) or harmless(row["id"])) + warning,
        host,
        harmless(row["tail"]),
        number(row["rate"]),
        count(_lost_now(row)),
        count(row["lost"]),
        share(row["loss_ratio"]),
        harmless(places(row["lost_by_place"])),
        count(row["delivered"]),
        count(row["late"]),
        count(row["pending"]),
        duration(row["last_seen"]),
    ]


def _levels(record: Object) -> str:
    known: dict[str, Any] = {level: lost for level, lost in (record["by_level"] or {}).items() if lost}
    parts = [f"{lost:,} {harmless(level)}" for level, lost in known.items()]
    unknown = record["lost"] - sum(known.values())
    if unknown > 0:
        parts.append(f"{unknown:,} of unknown level" if parts else "levels unknown")
    return f" ({', '.join(parts)})" if parts else ""


def _gravity(state: str) -> int:
    return _GRAVITY.index(state) if state in _GRAVITY else len(_GRAVITY)
