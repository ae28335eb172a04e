"""`atmost listen --collector`: prints the messages of a running collector, which goes on receiving them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from atmost.cli.bounded_output import tell
from atmost.cli.output import clock_time, harmless, to_json
from atmost.cli.source import Source, SourceError
from atmost.cli.stopping import stopping


def tap(
    url: str, token: str, patterns: Sequence[str], *, count: int | None, seconds: float | None, as_json: bool
) -> int:
    """Prints what matches, until it is stopped, or the collector ends.

    Args:
        url: of the collector's page.
        token: its token, or nothing.
        patterns: of subjects.
        count: how many messages to print; None prints on.
        seconds: how long; None without end.
        as_json: one object a line.
    """
    try:
        source = Source(url, token)
    except ValueError as error:
        raise click.BadParameter(harmless(str(error)), param_hint="'--collector'") from None
    began, matched = time.monotonic(), 0
    try:
        with stopping() as stop:
            shown = harmless(", ".join(patterns))
            tell(click.style(f"tapping {harmless(url)} for {shown} (Ctrl-C ends)", dim=True))
            for line in source.lines("tap", subject=patterns):
                late = seconds is not None and time.monotonic() - began >= seconds
                if stop.asked or late or matched == count:
                    break
                if line:
                    matched += _show(line, as_json=as_json)
                if matched == count:
                    break
    except SourceError as error:
        raise click.ClickException(str(error)) from error
    finally:
        source.close()
    return 0


def _show(line: bytes, *, as_json: bool) -> bool:
    """Prints one line; returns whether it was a message."""
    try:
        found: Any = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    if not isinstance(found, dict):
        return False
    if "dropped" in found:
        click.echo(click.style(f"-- {found['dropped']:,} messages not shown: this reader is too slow", fg="yellow"))
        return False
    if as_json:
        click.echo(to_json({"type": "message", **found}))
        return True
    moment = click.style(clock_time(found["sent_at"]), dim=True)
    sender = harmless(found["sender"]) or harmless(found["session"])
    subject = click.style(harmless(found["subject"]), fg="cyan")
    click.echo(f"{moment} {sender} {subject} {to_json(found['payload'])}")
    return True
