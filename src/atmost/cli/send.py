"""`atmost send`: sends one message, or one per line of input."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from atmost.agent.lines import Line, LineSplitter
from atmost.cli.bounded_output import tell
from atmost.cli.options import (
    audience_option,
    check_no_address,
    key_file_option,
    max_datagram_option,
    too_large,
    url_option,
    utf8,
)
from atmost.cli.output import refused_line, to_json
from atmost.cli.stopping import Stop, stopping
from atmost.core.accounts import SenderStats
from atmost.core.limits import MAX_DATAGRAM
from atmost.endpoint.must_deliver import check_lossy
from atmost.endpoint.sender import Sender
from atmost.errors import PayloadNotEncodable, PayloadTooLarge

_CHUNK = 65_536
_LOOK = 0.1
"""Seconds between two checks for a request to stop."""
_SHOWN = 60
"""Most characters shown of an invalid argument."""


@click.command(short_help="Send one message, or one per line of input.")
@click.argument("subject")
@click.argument("payload", required=False, metavar="[JSON]")
@url_option
@click.option(
    "--name",
    callback=utf8,
    metavar="TEXT",
    envvar="ATMOST_NAME",
    default="atmost",
    help="The sender's name that receivers show.  [default: ATMOST_NAME, then 'atmost']",
)
@audience_option
@key_file_option
@max_datagram_option
@click.option("--lines", is_flag=True, help="Send each line of standard input as text, even where it is JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print what became of the messages as one JSON object.")
def send(
    subject: str,
    payload: str | None,
    url: str | None,
    name: str,
    audience: str,
    key_file: str | None,
    max_datagram: int | None,
    lines: bool,
    as_json: bool,
) -> int:
    """Send one message on SUBJECT, or one per line of standard input.

    A line of valid JSON is sent as that value, any other line as text.
    Exits with 1 when a message was not sent, or dropped or refused on this side; losses in the network are not reported here.

    \b
    Examples:
      atmost send orders.new '{"id": 1}'
      atmost send greetings '"hello"'
      atmost send temperature -- -5
      tail -F app.log | atmost send --lines logs.app
    """
    check_no_address((subject,), "--url")
    check_lossy(subject)
    if payload is not None and lines:
        raise click.UsageError("--lines reads standard input: give either the JSON or --lines")
    value = None if payload is None else _parse(payload)
    unsent = _Unsent()
    with stopping() as stop:
        sender = Sender(url, name=name, audience=audience, key_file=key_file, max_datagram=max_datagram)
        try:
            if payload is None:
                for line in _lines(stop):
                    _send_line(sender, subject, line, unsent, text=lines)
            else:
                sender.send(subject, value)
        except PayloadTooLarge as error:
            raise click.UsageError(too_large(error)) from None
        finally:
            sender.close()
    return _report(sender.stats(), sender.url, unsent, as_json=as_json)


class _Unsent:
    """Counts lines that could not be sent, and keeps the first problem."""

    def __init__(self) -> None:
        self.lines = 0
        self.too_large = 0
        self.not_encodable = 0
        self.first = ""

    def count(self, problem: str) -> None:
        self.first = self.first or f"line {self.lines}: {problem}"


def _refuse(name: str) -> None:
    """Refuses NaN and Infinity, which Python accepts but JSON does not have (RFC 8259, 6)."""
    raise ValueError(f"{name} is not a JSON number")


def _parse(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise click.UsageError("the JSON is nested too deeply") from None
    except ValueError as error:
        shown = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
        raise click.UsageError(
            f"{shown!r} is not JSON ({error}): a string needs quotes of its own, as in '\"hello\"'"
        ) from None


def _lines(stop: Stop) -> Iterator[Line]:
    """Yields lines of standard input until its end or a request to stop, which a blocking read would not notice."""
    if sys.stdin is None:
        raise click.UsageError("standard input is closed: give the JSON, or lines to read")
    source = sys.stdin.fileno()
    splitter = LineSplitter(MAX_DATAGRAM)  # a line longer than any datagram is cut, and refused later
    offset = 0
    while not stop.asked:
        try:
            chunk = os.read(source, _CHUNK) if select.select([source], [], [], _LOOK)[0] else None
        except OSError as error:
            raise click.ClickException(f"cannot read standard input: {error.strerror}") from None
        if chunk is None:
            continue
        splitter.feed(chunk, offset)
        offset += len(chunk)
        while (line := splitter.next_line()) is not None:
            yield line
        if not chunk:
            if (rest := splitter.flush()) is not None:
                yield rest
            return


def _send_line(sender: Sender, subject: str, line: Line, unsent: _Unsent, *, text: bool) -> None:
    unsent.lines += 1
    value: Any = line.text
    if not text and not line.truncated:
        try:
            value = json.loads(line.text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            value = line.text
    try:
        sender.send(subject, value)
    except PayloadTooLarge as error:
        unsent.too_large += 1
        whole = PayloadTooLarge(line.original_bytes, error.limit) if line.truncated else error
        unsent.count(too_large(whole))
    except PayloadNotEncodable as error:
        unsent.not_encodable += 1
        unsent.count(str(error))


def _report(stats: SenderStats, url: str, unsent: _Unsent, *, as_json: bool) -> int:
    if as_json:
        click.echo(to_json({**asdict(stats), "too_large": unsent.too_large, "not_encodable": unsent.not_encodable}))
    if count := unsent.too_large + unsent.not_encodable:
        tell(f"atmost: {count:,} of {unsent.lines:,} lines were not sent; {unsent.first}")
    if stats.dropped:
        tell(f"atmost: dropped before sending: {_counts(stats.dropped)}")
    if stats.refused:
        tell(f"atmost: {refused_line(stats.refused, url)}")
    return 1 if stats.dropped or stats.refused or stats.open or count else 0


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} ({reason})" for reason, count in counts.items())
