"""`atmost forget`: takes a heartbeat that was decommissioned off a collector's board."""

from __future__ import annotations

import click

from atmost.cli.options import collector_option, token_option, utf8
from atmost.cli.output import harmless
from atmost.cli.source import Source, SourceError


@click.command(short_help="Tell a collector that a heartbeat was decommissioned.")
@click.argument("name", callback=utf8)
@collector_option
@token_option
def forget(name: str, url: str, token: str) -> int:
    """Stop missing the heartbeat NAME, until it beats again.

    NAME is a heartbeat's name, or a pattern as the collector's 'expect' lists it. What 'expect' lists is missed again after
    the collector's next start: take it out there too.

    \b
    Examples:
      atmost forget worker-7
      atmost forget 'worker-*' --collector http://collector.example:7141
    """
    try:
        source = Source(url, token)
    except ValueError as error:
        raise click.BadParameter(harmless(str(error)), param_hint="'--collector'") from None
    try:
        source.delete("heartbeats", name=name)
    except SourceError as error:
        raise click.ClickException(str(error)) from error
    finally:
        source.close()
    click.echo(f"forgotten: {harmless(name)}")
    return 0
