"""`atmost forget`: takes a heartbeat that was decommissioned off a collector's board."""

from __future__ import annotations

import click

from atmost.cli.options import collector_option, token_option, utf8
from atmost.cli.output import harmless
from atmost.cli.source import Source, SourceError


@click.command(short_help="Take a decommissioned heartbeat off a collector's board.")
@click.argument("name", callback=utf8)
@collector_option
@token_option
def forget(name: str, url: str, token: str) -> int:
    """Take the heartbeat NAME off a collector's board; it is not missed until it beats again.

    NAME is a heartbeat's name, or a pattern as in the collector's 'expect'. A name in 'expect' is missed again after the
    collector's next start, so remove it there too.

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
