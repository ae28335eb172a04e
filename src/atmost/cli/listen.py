"""`atmost listen`: prints messages, and losses where they happened."""

from __future__ import annotations

import time

import click

from atmost.cli.bounded_output import tell
from atmost.cli.logview import LogView
from atmost.cli.options import (
    audience_option,
    bind_option,
    check_no_address,
    key_file_option,
    seconds_option,
    shards_option,
    token_option,
    utf8,
)
from atmost.cli.output import account_lines, as_dict, clock_time, describe, harmless, to_json, who
from atmost.cli.stopping import stopping
from atmost.cli.tap import tap
from atmost.core.events import Event, Message
from atmost.core.names import matcher
from atmost.endpoint.receiver import Receiver
from atmost.logs.records import LogRecord

_LOOK = 0.1
"""Seconds between two checks for a request to stop."""


@click.command(short_help="Print messages, and losses in their place.")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@bind_option
@audience_option
@key_file_option
@shards_option
@click.option(
    "--collector",
    "collector",
    callback=utf8,
    metavar="URL",
    help="Tap the collector whose page is at this address, instead of receiving.",
)
@token_option
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N matching messages.")
@seconds_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per message, loss or other event.")
def listen(
    patterns: tuple[str, ...],
    bind: str | None,
    audience: str,
    key_file: str | None,
    shards: str | None,
    collector: str | None,
    token: str,
    count: int | None,
    seconds: float | None,
    as_json: bool,
) -> int:
    """Print the messages whose subject matches a PATTERN, and every loss in its place.

    '*' stands for one token and '>' for the rest; without a pattern everything is printed.
    A log record after a missing one is held back for up to a second, so that the gap is printed in its place.
    Ctrl-C ends it and prints the account.

    \b
    Examples:
      atmost listen 'orders.>'
      atmost listen --json 'metrics.*.utilization' | jq .payload
      atmost listen 'logs.>'
      atmost listen --bind unix:///tmp/atmost.sock --count 1
      atmost listen --collector http://127.0.0.1:7141 'orders.>'
      atmost listen --bind nats://127.0.0.1:4222/telemetry --shards 0-7/16
    """
    check_no_address(patterns, "--bind or --collector")
    matches = matcher(patterns or (">",))
    if collector is not None:
        return tap(collector, token, patterns or (">",), count=count, seconds=seconds, as_json=as_json)
    with stopping() as stop, Receiver(bind, audience=audience, key_file=key_file, shards=shards) as receiver:
        began = time.monotonic()
        shown = ", ".join(patterns) or "everything"
        tell(click.style(f"listening on {receiver.url} for {harmless(shown)} (Ctrl-C ends)", dim=True))
        matched, logs = 0, LogView(patterns or (">",), as_json=as_json)
        while not stop.asked and matched != count and not receiver.closed:
            if seconds is not None and time.monotonic() - began >= seconds:
                break
            event = receiver.next_event(_LOOK)
            for found in logs.feed(event):
                if matched != count:
                    matched += isinstance(found, LogRecord)
                    logs.show(found)
            if event is None or logs.owns(event) or (isinstance(event, Message) and not matches(event.subject)):
                continue
            if matched != count:
                matched += isinstance(event, Message)
                _show(event, as_json=as_json)
        for found in logs.end() if matched != count else ():
            logs.show(found)
        for line in account_lines(receiver.ledger(), receiver.url, time.monotonic() - began):
            tell(line)
        return int(receiver.closed)  # its shards were taken over


def _show(event: Event, *, as_json: bool) -> None:
    if as_json:
        click.echo(to_json(as_dict(event)))
    elif isinstance(event, Message):
        moment = click.style(clock_time(event.sent_at), dim=True)
        subject = click.style(harmless(event.subject), fg="cyan")
        click.echo(f"{moment} {who(event.session)} {subject} {to_json(event.payload)}")
    else:
        click.echo(click.style(describe(event), fg="yellow"))
