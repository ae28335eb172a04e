"""How `atmost listen` shows the records of handlers: in their order, with every gap in its place.

Messages that no handler numbered are shown elsewhere, as the messages that they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import click
import msgspec

from atmost.cli.output import clock_time, harmless, to_json
from atmost.core.events import Event, Message
from atmost.core.names import matcher
from atmost.logs.reader import LogReader, Read
from atmost.logs.records import LogGap, LogRecord, display_lines
from atmost.logs.wire import is_ours

_SUBJECT = "logs"


class LogView:
    """The records and gaps that are to be printed, once it is their turn."""

    def __init__(self, patterns: Iterable[str], *, as_json: bool) -> None:
        """Args: patterns: what is wanted. as_json: one object a line, else lines for people."""
        wanted = tuple(patterns)
        self._matches = matcher(wanted)
        self._gaps = any(pattern.split(".")[0] in {_SUBJECT, "*", ">"} for pattern in wanted)
        self._as_json = as_json
        self._reader = LogReader(subject=_SUBJECT, now=time.monotonic())

    def owns(self, event: Event | None) -> bool:
        """Whether an event is a handler's record, which is printed from here only."""
        return isinstance(event, Message) and event.subject.startswith(f"{_SUBJECT}.") and is_ours(event.payload)

    def feed(self, event: Event | None) -> list[Read]:
        """Returns what is to be printed now."""
        now = time.monotonic()
        return self._wanted(self._reader.tick(now) if event is None else self._reader.feed(event, now))

    def end(self) -> list[Read]:
        """Returns what was held back."""
        return self._wanted(self._reader.close(time.monotonic()))

    def show(self, found: Read) -> None:
        """Prints one; what cannot be shown costs its own row only."""
        try:
            self._show(found)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            click.echo(f"-- a record of {harmless(found.sender)} cannot be shown: {type(error).__name__}")

    def _show(self, found: Read) -> None:
        if self._as_json:
            click.echo(to_json(_as_dict(found)))
            return
        first, *rest = display_lines(found)
        if isinstance(found, LogGap):
            click.echo(click.style(first, fg="yellow"))
            return
        click.echo(f"{click.style(clock_time(found.t), dim=True)} {harmless(found.sender)} {first}")
        for line in rest:
            click.echo(line)

    def _wanted(self, found: list[Read]) -> list[Read]:
        return [one for one in found if self._is_wanted(one)]

    def _is_wanted(self, one: Read) -> bool:
        if isinstance(one, LogRecord):
            return bool(one.life) and self._matches(one.subject)
        return self._gaps and one.by_level is not None  # the others are printed as the losses of messages that they are


def _as_dict(found: Read) -> dict[str, Any]:
    session = found.session
    facts: dict[str, Any]
    if isinstance(found, LogRecord):
        kind, facts = "log_record", msgspec.structs.asdict(found)
    else:
        kind, facts = "log_gap", {name: getattr(found, name) for name in found.__dataclass_fields__}
    facts |= {"sender": session.name, "session": session.id, "pid": session.pid}
    return {"type": kind, **facts}
