"""The live table of senders: rich when it is installed and there is a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import click

from atmost.cli.output import harmless
from atmost.collector.watch import SenderRow
from atmost.core.ledger import Ledger

_FRAME = 8
"""Lines of the screen that are no rows: title, heading, rules, caption, and one for the cursor."""


class Display(Protocol):
    """Shows the state once a second."""

    def show(self, ledger: Ledger, rows: list[SenderRow]) -> None:
        """Replaces or continues what was shown."""
        ...


@contextmanager
def open_display(url: str) -> Iterator[Display]:
    """A live table where one can be drawn, else a line a second."""
    if not sys.stdout.isatty():
        yield _Lines()
        return
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        click.echo("a live table needs: pip install 'atmost[tui]'", err=True)
        yield _Lines()
        return
    with Live(console=Console(), refresh_per_second=4, transient=True) as live:
        yield _Table(live, url)


class _Lines:
    def show(self, ledger: Ledger, rows: list[SenderRow]) -> None:
        rate = sum(row.rate for row in rows)
        click.echo(
            f"{len(rows)} senders  {rate:,.0f}/s  delivered {ledger.delivered:,}  lost {ledger.lost:,}  late {ledger.late:,}  "
            f"pending {ledger.pending:,}  refused {sum(ledger.refused.values()):,}"
        )


class _Table:
    def __init__(self, live: Any, url: str) -> None:
        self._live = live
        self._url = url

    def show(self, ledger: Ledger, rows: list[SenderRow]) -> None:
        from rich.table import Table
        from rich.text import Text

        title = f"{self._url}   delivered {ledger.delivered:,}   lost {ledger.lost:,}   refused {sum(ledger.refused.values()):,}"
        caption = "Ctrl-C ends with the account" if rows else "waiting for a sender: try 'atmost agent'"
        room = max(1, self._live.console.height - _FRAME)
        if len(rows) > room:
            caption = f"... and {len(rows) - room:,} more senders; {caption}"
        table = Table(title=Text(harmless(title)), caption=Text(caption))
        for heading in ("sender", "rate/s", "delivered", "lost", "late", "duplicates refused", "last seen", "state"):
            table.add_column(heading, justify="left" if heading in {"sender", "state"} else "right")
        for row in rows[:room]:
            table.add_row(
                Text(harmless(row.sender) or row.session),
                f"{row.rate:,.0f}",
                f"{row.delivered:,}",
                Text(f"{row.lost:,}", style="red" if row.lost else ""),
                f"{row.late:,}",
                f"{row.duplicates_refused:,}",
                f"{row.last_seen:.1f} s",
                row.tail,
            )
        self._live.update(table)
