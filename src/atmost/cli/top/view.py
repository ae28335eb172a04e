"""The live view: one screen that follows a collector, drawn by textual.

The collector is asked once a second, in a thread of its own; only the event loop's thread touches the screen.
"""

from __future__ import annotations

import select
import sys
import threading
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, RichLog, Static

from atmost.cli.source import Snapshot, Source, SourceError
from atmost.cli.top.lines import (
    HEARTBEAT_COLUMNS,
    NUMBERS,
    SENDER_COLUMNS,
    SORTS,
    alive,
    heartbeat_rows,
    log_line,
    sender_rows,
    title,
    totals,
    warnings,
)

MAX_ROWS: Final = 200
"""The most rows of a table; further ones are only counted."""
MAX_LOG_LINES: Final = 1000
MAX_WAITING: Final = 1000
"""The most records kept while the log is paused; older ones are left out when it goes on."""
_WIDTHS: Final = {"sender": 24, "host": 14, "heartbeat": 24}
"""Characters of a name on a narrow terminal, so that 80 columns include the loss."""
_NARROW: Final = 110
"""Width of a terminal below which names are cut (characters)."""
_STYLES: Final = {
    **dict.fromkeys(("down", "failed"), "bold red"),
    **dict.fromkeys(("suspect", "late", "silent"), "yellow"),
    **dict.fromkeys(("up", "alive"), "green"),
}


class TopView(App[None]):
    """Senders, heartbeats and the end of the log of one collector."""

    CSS = """
    #title, #totals, #alive, #trouble { height: auto; padding: 0 1; }
    #title { text-style: bold; }
    #trouble { color: $text-warning; display: none; }
    #trouble.shown { display: block; }
    .empty { display: none; height: auto; padding: 1 1; color: $text-muted; }
    DataTable { height: auto; scrollbar-size-vertical: 1; }
    #senders { max-height: 45%; }
    #beats { max-height: 30%; }
    #log { height: 1fr; min-height: 3; border-top: solid $surface-lighten-2; padding: 0 1; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", "quit", show=False, priority=True),
        Binding("p", "pause", "pause the log"),
        Binding("s", "sort", "sort senders"),
    ]
    ENABLE_COMMAND_PALETTE = False
    TITLE = "atmost top"

    def __init__(self, source: Source, snapshot: Snapshot, *, every: float = 1.0) -> None:
        """Shows a snapshot, and those after it.

        Args:
            source: asked from a thread of the view's own.
            snapshot: the first.
            every: seconds between two questions.
        """
        super().__init__()
        self._source = source
        self._snapshot = snapshot
        self._every = every
        self._sort = SORTS[0]
        self._paused = False
        self._waiting: list[dict[str, Any]] = []
        self._trouble = ""
        self._stop = threading.Event()

    def compose(self) -> ComposeResult:
        """Yield the parts of the screen, from the top."""
        yield Static(id="title", markup=False)
        yield Static(id="totals", markup=False)
        yield Static(id="alive", markup=False)
        yield Static(id="trouble", markup=False)
        yield DataTable(id="senders", cursor_type="row", zebra_stripes=False)
        yield Static("no sender was heard yet: try 'atmost agent'", id="nobody", classes="empty")
        yield DataTable(id="beats", cursor_type="row", zebra_stripes=False)
        yield RichLog(id="log", max_lines=MAX_LOG_LINES, wrap=True, markup=False, highlight=False, auto_scroll=True)
        yield Footer()

    def on_mount(self) -> None:
        """Draw the first snapshot, and begin to ask for others."""
        for name, columns in (("#senders", SENDER_COLUMNS), ("#beats", HEARTBEAT_COLUMNS)):
            for column in columns:
                self.query_one(name, DataTable).add_column(_cell(column, column), key=column)
        self._show(self._snapshot)
        self.query_one("#senders").focus()
        self.run_worker(self._ask, thread=True, exit_on_error=True)

    def on_unmount(self) -> None:
        """End the thread, also where it waits for an answer."""
        self._stop.set()
        self._source.close()

    def action_pause(self) -> None:
        """Pause the log, or resume it with the records that came meanwhile."""
        self._paused = not self._paused
        if not self._paused:
            waiting, self._waiting = self._waiting, []
            self._show_log(waiting)
        self._show_head()

    def action_sort(self) -> None:
        """Sort the senders by the next figure."""
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self._show_tables()
        self._show_head()

    def _ask(self) -> None:
        """Asks the collector again and again; runs in the thread."""
        while not self._stop.wait(self._every):
            if _terminal_is_gone():
                self.call_from_thread(self.exit)
                return
            try:
                snapshot = self._source.snapshot()
            except SourceError as error:
                if not self._stop.is_set():
                    self.call_from_thread(self._show_trouble, str(error))
            else:
                if not self._stop.is_set():
                    self.call_from_thread(self._show, snapshot)

    def _show(self, snapshot: Snapshot) -> None:
        if not self.query("#title"):  # the view is ending, and its parts are already gone
            return
        self._snapshot, self._trouble = snapshot, ""
        self._show_head()
        self._show_tables()
        records = snapshot.logs["records"]
        if self._paused:
            self._waiting = [*self._waiting, *records][-MAX_WAITING:]
        else:
            self._show_log(records)

    def _show_trouble(self, text: str) -> None:
        if not self.query("#title"):  # as above
            return
        self._trouble = f"{text}; this is its last answer"
        self._show_head()

    def _show_head(self) -> None:
        snapshot = self._snapshot
        state = "● live" if not self._trouble else "✕ no answer"
        held = f"  log paused, {len(self._waiting):,} waiting" if self._paused else ""
        self._set("#title", f"{title(snapshot, self._source.url)}  {state}  sorted by {self._sort}{held}")
        figures = Text("  ".join(f"{name} {figure}" for name, figure in totals(snapshot)))
        if snapshot.overview["totals"]["lost"]:
            figures.highlight_regex(r"(?<=  )lost [\d,]+", "bold red")
        self._set("#totals", figures)
        self._set("#alive", f"heartbeats: {alive(snapshot)}")
        troubles = [self._trouble, *warnings(snapshot)[:3]] if self._trouble else warnings(snapshot)[:3]
        self._set("#trouble", "\n".join(troubles))
        self.query_one("#trouble").set_class(bool(troubles), "shown")

    def _show_tables(self) -> None:
        senders, beats = sender_rows(self._snapshot, self._sort), heartbeat_rows(self._snapshot)
        self._fill("#senders", SENDER_COLUMNS, senders)
        self._fill("#beats", HEARTBEAT_COLUMNS, beats)
        self.query_one("#senders").display = bool(senders)
        self.query_one("#nobody").display = not senders
        self.query_one("#beats").display = bool(beats)

    def _fill(self, name: str, columns: tuple[str, ...], rows: list[list[str]]) -> None:
        """Replaces a table's rows, and keeps the cursor and the scroll position."""
        table = self.query_one(name, DataTable)
        cursor, scroll, narrow = table.cursor_row, table.scroll_y, self.size.width < _NARROW
        table.clear()
        for row in rows[:MAX_ROWS]:
            cells = (_cell(column, cell, narrow=narrow) for column, cell in zip(columns, row, strict=True))
            table.add_row(*cells)
        if len(rows) > MAX_ROWS:
            table.add_row(Text(f"... and {len(rows) - MAX_ROWS:,} more"), *[""] * (len(columns) - 1))
        table.move_cursor(row=min(cursor, max(0, table.row_count - 1)), animate=False, scroll=False)
        table.scroll_to(y=scroll, animate=False)

    def _show_log(self, records: list[dict[str, Any]]) -> None:
        log = self.query_one("#log", RichLog)
        for record in records:
            gap = record["type"] == "gap"
            grave = (record.get("level") or "").upper() in {"ERROR", "CRITICAL", "ALERT", "EMERGENCY"}
            log.write(Text(log_line(record), style="bold red" if gap else "red" if grave else ""))

    def _set(self, name: str, text: str | Text) -> None:
        self.query_one(name, Static).update(text)


def _terminal_is_gone() -> bool:
    """Whether the terminal was closed; no signal reports that unless it is the controlling terminal."""
    if sys.__stdin__ is None or not hasattr(select, "poll"):
        return False
    try:
        poll = select.poll()
        poll.register(sys.__stdin__.fileno(), select.POLLIN)
        return any(seen & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, seen in poll.poll(0))
    except (OSError, ValueError):  # standard input is closed, or has no descriptor
        return False


def _cell(column: str, text: str, *, narrow: bool = False) -> Text:
    style = (
        _STYLES.get(text, "")
        if column == "state"
        else "bold red"
        if column == "lost now" and text not in {"0", "–", "lost now"}
        else ""
    )
    most = _WIDTHS.get(column, len(text)) if narrow else len(text)
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    return Text(shown, style=style, justify="right" if column in NUMBERS else "left")
