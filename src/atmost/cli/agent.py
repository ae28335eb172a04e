"""`atmost agent`: this host's readings, a heartbeat, and log files."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import click

from atmost.agent.agent import Agent
from atmost.agent.follow import Follower, FollowOptions
from atmost.cli.bounded_output import tell
from atmost.cli.options import (
    Number,
    audience_option,
    key_file_option,
    max_datagram_option,
    seconds_option,
    url_option,
    utf8,
)
from atmost.cli.output import harmless, refused_line, to_json
from atmost.cli.stopping import stopping
from atmost.endpoint.sender import Sender


@click.command(short_help="Send this host's readings, a heartbeat, and log files.")
@url_option
@click.option(
    "--name",
    callback=utf8,
    metavar="TEXT",
    envvar="ATMOST_NAME",
    help="The sender's name that receivers show.  [default: ATMOST_NAME, or else the host's name]",
)
@audience_option
@key_file_option
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    metavar="S",
    type=Number(0.01, 3600),
    help="Seconds between readings.",
)
@click.option(
    "--log", "logs", multiple=True, metavar="FILE", help="Follow FILE through rotation; may be given several times."
)
@click.option(
    "--follow-links",
    is_flag=True,
    help="Allow FILE to be a symbolic link out of its directory, such as Kubernetes' container logs.",
)
@max_datagram_option
@seconds_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print what became of the messages as one JSON object at the end."
)
def agent(
    url: str | None,
    name: str | None,
    audience: str,
    key_file: str | None,
    interval: float,
    logs: tuple[str, ...],
    follow_links: bool,
    max_datagram: int | None,
    seconds: float | None,
    as_json: bool,
) -> int:
    """Send this host's CPU, memory, load, disk and network readings, a heartbeat, and the lines of log files.

    Subjects: metrics.NAME, heartbeats.NAME and logs.FILE. Ctrl-C ends it and prints what became of the messages.

    \b
    Examples:
      atmost agent
      atmost agent --log /var/log/syslog --log app.log --interval 5
      atmost agent --url udp://collector.example:7140
    """
    for log in logs:
        if Path(log).is_dir():
            raise click.UsageError(f"--log {log}: a directory; name the file in it")
    with stopping() as stop:
        sender = Sender(
            url, name=name or socket.gethostname(), audience=audience, key_file=key_file, max_datagram=max_datagram
        )
        began = time.monotonic()
        followers = [Follower(log, FollowOptions(follow_links=follow_links)) for log in logs]
        worker = Agent(sender, began, interval=interval, logs=followers, notice=_notice)
        tell(f"sending readings every {interval:g} s to {sender.url} as {harmless(sender.name)} (Ctrl-C ends)")
        while not stop.asked and (seconds is None or time.monotonic() - began < seconds):
            time.sleep(min(worker.turn(time.monotonic()), 0.2))
        worker.close()
        sender.close()
    stats = sender.stats()
    if as_json:
        click.echo(to_json(stats))
    else:
        dropped = "".join(f", dropped {count:,} ({reason})" for reason, count in stats.dropped.items())
        tell(f"offered {stats.offered:,} messages, handed over {stats.handed_over:,}{dropped}")
        if stats.refused:
            tell(refused_line(stats.refused, sender.url))
    return 0


def _notice(text: str) -> None:
    tell(f"atmost agent: {harmless(text)}")
