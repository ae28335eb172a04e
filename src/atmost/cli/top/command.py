"""The command `atmost top`."""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

import click

from atmost.cli.options import collector_option, token_option
from atmost.cli.output import harmless, to_json
from atmost.cli.source import Snapshot, Source, SourceError
from atmost.cli.stopping import stopping
from atmost.errors import MissingExtra

_EVERY: Final = 1.0


@click.command(short_help="Watch a collector's senders, heartbeats and logs in the terminal.")
@collector_option
@token_option
@click.option(
    "--once",
    is_flag=True,
    help="Print the state once, as text; the default if the output is not a full terminal.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a second; one in all with --once.")
def top(url: str, token: str, once: bool, as_json: bool) -> int:
    """Show a collector's state, live: senders with their loss by place, heartbeats, and the end of the log.

    Keys: q ends, p pauses the log, s sorts the senders differently.

    \b
    Examples:
      atmost top
      atmost top --collector http://collector.example:7141 --once
      atmost top --json | jq '.overview.totals | {delivered, lost}'
    """
    try:
        source = Source(url, token)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--collector'") from None
    try:
        snapshot = source.snapshot()
        if as_json:
            _print_objects(source, snapshot, once=once)
        elif once or not _can_draw():
            from atmost.cli.top.plain import as_text

            click.echo(as_text(snapshot, source.url))
        else:
            _watch(source, snapshot)
    except SourceError as error:
        raise click.ClickException(str(error)) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise click.ClickException(
            f"the server at {harmless(url)} speaks another version than this command ({type(error).__name__}: {error}): "
            "use the atmost of the collector"
        ) from error
    finally:
        source.close()
    return 0


def _can_draw() -> bool:
    """Whether there is a terminal that can do more than print lines."""
    return sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("TERM") != "dumb"


def _print_objects(source: Source, snapshot: Snapshot, *, once: bool) -> None:
    """Prints an object a second until a signal asks to stop."""
    moment = threading.Event()
    with stopping() as stop:
        while True:
            click.echo(to_json({name: getattr(snapshot, name) for name in Snapshot.__slots__}))
            for _ in range(0 if once else round(_EVERY / 0.05)):
                if not stop.asked:
                    moment.wait(0.05)
            if once or stop.asked:
                return
            snapshot = source.snapshot()


def _watch(source: Source, snapshot: Snapshot) -> None:
    try:
        from atmost.cli.top.view import TopView
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"textual", "rich"}:
            raise
        raise MissingExtra("tui", "the live view (atmost top --once needs nothing)") from error
    TopView(source, snapshot, every=_EVERY).run()
