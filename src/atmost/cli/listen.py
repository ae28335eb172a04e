"""`atmost listen`: prints messages, and losses where they happened."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import click

from atmost.cli.options import audience_option, bind_option, key_file_option, seconds_option, shards_option
from atmost.cli.output import account_lines, as_dict, clock_time, describe, harmless, to_json, who
from atmost.cli.stopping import stopping
from atmost.core.events import Event, Message
from atmost.core.names import matcher
from atmost.endpoint.receiver import Receiver
from atmost.uses.logs.display import lines
from atmost.uses.logs.reader import LogReader, Read
from atmost.uses.logs.records import LogGap

_LOOK = 0.1
"""Seconds between two looks at whether somebody asked to stop."""


@click.command(short_help="Print messages, and losses in their place.")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@bind_option
@audience_option
@key_file_option
@shards_option
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N matching messages.")
@seconds_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per message, loss or other event.")
def listen(
    patterns: tuple[str, ...],
    bind: str | None,
    audience: str,
    key_file: str | None,
    shards: str | None,
    count: int | None,
    seconds: float | None,
    as_json: bool,
) -> int:
    """Print the messages whose subject matches a PATTERN, and every loss in its place.

    '*' stands for one token and '>' for the rest; without a pattern everything is printed.
    Records of a LogHandler come in their order: what stands behind a missing one waits up to a second for it.
    Ctrl-C ends it and prints the account.

    \b
    Examples:
      atmost listen 'orders.>'
      atmost listen --json 'metrics.*.utilization' | jq .payload
      atmost listen 'logs.>'
      atmost listen --bind unix:///tmp/atmost.sock --count 1
      atmost listen --bind nats://127.0.0.1:4222/telemetry --shards 0-7/16
    """
    matches = matcher(patterns or (">",))
    with stopping() as stop, Receiver(bind, audience=audience, key_file=key_file, shards=shards) as receiver:
        began = time.monotonic()
        shown = ", ".join(patterns) or "everything"
        click.echo(click.style(f"listening on {receiver.url} for {harmless(shown)} (Ctrl-C ends)", dim=True), err=True)
        view = _View(matches, LogReader(now=began), as_json=as_json)
        while not stop.asked and view.matched != count and (seconds is None or time.monotonic() - began < seconds):
            event = receiver.next_event(_LOOK)
            view.take(event, time.monotonic())
        if view.matched != count:
            view.take(None, math.inf)
        for line in account_lines(receiver.ledger(), receiver.url, time.monotonic() - began):
            click.echo(line, err=True)
        return int(receiver.closed)  # its shards were taken over


class _View:
    """What is printed of the events, in which order."""

    def __init__(self, matches: Callable[[str], bool], reader: LogReader, *, as_json: bool) -> None:
        """Args: matches: whether a subject is wanted. reader: puts log records and their gaps in order."""
        self._matches = matches
        self._reader = reader
        self._as_json = as_json
        self.matched = 0
        """Messages printed."""

    def take(self, event: Event | None, now: float) -> None:
        """Prints what an event, or the time, brings; at the end of time all there is."""
        if event is None:
            found = self._reader.close(now) if now == math.inf else self._reader.tick(now)
        else:
            found = self._reader.feed(event, now)
            if not (isinstance(event, Message) and is_ours(event.payload) and event.subject.startswith("logs.")):
                self._event(event)
        for one in found:
            self._log(one)

    def _event(self, event: Event) -> None:
        if not isinstance(event, Message) or self._matches(event.subject):
            self.matched += isinstance(event, Message)
            _show(event, as_json=self._as_json)

    def _log(self, found: Read) -> None:
        gap = isinstance(found, LogGap)
        if not found.life or found.by_level is None if isinstance(found, LogGap) else not found.life:
            return
def _show(event: Event, *, as_json: bool) -> None:
    if as_json:
        click.echo(to_json(as_dict(event)))
    elif isinstance(event, Message):
        moment = click.style(clock_time(event.sent_at), dim=True)
        subject = click.style(harmless(event.subject), fg="cyan")
        click.echo(f"{moment} {who(event.session)} {subject} {to_json(event.payload)}")
    else:
        click.echo(click.style(describe(event), fg="yellow"))
