"""`atmost send`: one message, or one a line."""

from __future__ import annotations

import json
import sys
from typing import Any, BinaryIO

import click

from atmost.cli.options import audience_option, key_file_option
from atmost.cli.output import to_json
from atmost.cli.stopping import Stop, stopping
from atmost.core.names import check_subject
from atmost.core.sending import SenderStats
from atmost.endpoint.sender import Sender
from atmost.errors import PayloadTooLarge

_MAX_LINE = 60_000
"""Bytes kept of a line, so that it fits a datagram of a local sender."""


@click.command()
@click.argument("subject")
@click.argument("payload", required=False, metavar="[JSON]")
@click.option("--url", metavar="URL", help="Where to send to.  [default: ATMOST_URL, then udp://127.0.0.1:7140]")
@click.option("--name", metavar="TEXT", help="What receivers show.  [default: ATMOST_NAME, then 'atmost']")
@audience_option
@key_file_option
@click.option("--lines", is_flag=True, help="Send each line of standard input as text, even where it is JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print what became of the messages as one JSON object.")
def send(subject: str, payload: str | None, url: str | None, name: str | None, audience: str, key_file: str | None, lines: bool, as_json: bool) -> int:  # noqa: FBT001
    """Send one message on SUBJECT, or one per line of standard input.

    A line that is JSON is sent as that value, any other line as text.
    Exits with 1 when a message was dropped or refused on this side; what the network loses nobody is told here.

    \b
    Examples:
      atmost send orders.new '{"id": 1}'
      atmost send greetings '"hello"'
      tail -F app.log | atmost send --lines logs.app
    """
    check_subject(subject)
    if payload is not None and lines:
        raise click.UsageError("--lines reads standard input: leave the JSON away, or --lines")
    value = None if payload is None else _parse(payload)
    with stopping() as stop:
        sender = Sender(url, name=name, audience=audience, key_file=key_file)
        try:
            if payload is not None:
                sender.send(subject, value)
                skipped = 0
            else:
                skipped = _send_lines(sender, subject, sys.stdin.buffer, stop, text=lines)
        finally:
            sender.close()
    return _report(sender.stats(), sender.url, skipped, as_json=as_json)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r} is not JSON ({error}): text needs quotes of its own, as in '\"hello\"'") from None


def _send_lines(sender: Sender, subject: str, source: BinaryIO, stop: Stop, *, text: bool) -> int:
    """Sends until the input ends or somebody asks to stop; returns the lines that fitted no datagram."""
    skipped = 0
    while not stop.asked and (line := source.readline(_MAX_LINE)):
        content = line.rstrip(b"\r\n").decode(errors="replace")
        value: Any = content
        if not text:
            try:
                value = json.loads(content)
            except (ValueError, RecursionError):
                value = content
        try:
            sender.send(subject, value)
        except PayloadTooLarge:
            skipped += 1
    return skipped


def _report(stats: SenderStats, url: str, skipped: int, *, as_json: bool) -> int:
    if as_json:
        click.echo(to_json({**{name: getattr(stats, name) for name in stats.__dataclass_fields__}, "too_large": skipped}))
    if skipped:
        click.echo(f"atmost: {skipped} lines were too large for a datagram and not sent", err=True)
    if stats.dropped:
        click.echo(f"atmost: dropped before sending: {_counts(stats.dropped)}", err=True)
    if stats.refused:
        hint = ""
        if {"ECONNREFUSED", "ENOENT"} & set(stats.refused):
            hint = f": nobody receives on {url}; start a receiver with 'atmost listen --bind {url}'"
        click.echo(f"atmost: refused by this host's socket: {_counts(stats.refused)}{hint}", err=True)
    return 1 if stats.dropped or stats.refused or stats.open or skipped else 0


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} ({reason})" for reason, count in counts.items())
