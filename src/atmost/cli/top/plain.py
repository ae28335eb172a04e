"""A snapshot as plain text, for `--once` and wherever there is no terminal.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from atmost.cli.source import Snapshot
from atmost.cli.top.lines import (
    HEARTBEAT_COLUMNS,
    NUMBERS,
    SENDER_COLUMNS,
    alive,
    heartbeat_rows,
    log_line,
    sender_rows,
    title,
    totals,
    warnings,
)

LOG_LINES: Final = 10
_ROWS: Final = 50


def as_text(snapshot: Snapshot, url: str) -> str:
    """The whole state."""
    lines = [click.style(title(snapshot, url), bold=True)]
    figures = [f"{name} {figure}" for name, figure in totals(snapshot)]
    lines += ["  ".join(figures), f"heartbeats: {alive(snapshot)}"]
    lines += [click.style(f"warning: {text}", fg="yellow") for text in warnings(snapshot)]
    senders = sender_rows(snapshot)
    lines += ["", *table(SENDER_COLUMNS, senders)] if senders else ["", "no sender was heard yet: try 'atmost agent'"]
    beats = heartbeat_rows(snapshot)
    if beats:
        lines += ["", *table(HEARTBEAT_COLUMNS, beats)]
    records = snapshot.logs["records"][-LOG_LINES:]
    if records:
        lines += ["", *(log_line(record) for record in records)]
    return "\n".join(lines)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns under their names; at most 50 rows, then the number of further ones."""
    shown = rows[:_ROWS]
    widths = [max(len(row[at]) for row in [columns, *shown]) for at in range(len(columns))]
    made = [click.style(_line(columns, columns, widths), bold=True)]
    made += [_line(columns, row, widths) for row in shown]
    if len(rows) > len(shown):
        made.append(f"... and {len(rows) - len(shown):,} more")
    return made


def _line(columns: Sequence[str], cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if column in NUMBERS else cell.ljust(width)
        for column, cell, width in zip(columns, cells, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()
