"""`atmost beat`: a script's sign of life, one at a time or kept up."""

from __future__ import annotations

import signal
import socket
import time
from typing import Final

import click
import msgspec

from atmost.cli.bounded_output import tell
from atmost.cli.options import Number, audience_option, key_file_option, url_option, utf8
from atmost.cli.output import refused_line
from atmost.core.accounts import SenderStats
from atmost.core.limits import BEACON_AFTER_DATA
from atmost.endpoint.must_deliver import check_lossy
from atmost.endpoint.sender import Sender
from atmost.heartbeats.beat import (
    MAX_INTERVAL,
    MAX_REASON,
    MAX_TIMEOUT,
    MIN_INTERVAL,
    SUBJECT,
    Beat,
    HeartbeatEnding,
    check_rhythm,
    subject_of,
)
from atmost.heartbeats.heartbeat import Heartbeat
from atmost.lifecycle import close_all

_COPIES: Final = 3
"""Of a single beat: one may be lost, and the next is a minute away."""
_MISSED: Final = 3.5
"""Intervals of silence that mean `down`, unless told otherwise: two beats may be lost, or late."""
_STOPS: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@click.command(short_help="Report that a script or job is alive.")
@click.argument("name", callback=utf8)
@click.option(
    "--interval",
    type=Number(min=MIN_INTERVAL, max=MAX_INTERVAL),
    default=60.0,
    metavar="S",
    show_default=True,
    help="Seconds until the next beat.",
)
@click.option(
    "--timeout",
    type=Number(max=MAX_TIMEOUT),
    metavar="S",
    help="Seconds of silence that mean 'down'.  [default: 3.5 intervals]",
)
@click.option("--keep", is_flag=True, help="Keep beating until ended by Ctrl-C or SIGTERM, then say goodbye.")
@click.option("--stop", "stopped", is_flag=True, help="Say goodbye: the silence that follows is no alarm.")
@click.option("--fail", "failed", callback=utf8, metavar="REASON", help="Say goodbye as failed, for this reason.")
@url_option
@audience_option
@key_file_option
def beat(
    name: str,
    interval: float,
    timeout: float | None,
    keep: bool,
    stopped: bool,
    failed: str | None,
    url: str | None,
    audience: str,
    key_file: str | None,
) -> int:
    """Report that NAME is alive: once, for a script that calls this again, or until this command is ended.

    Receivers report NAME as down when no further beat comes in time; see 'atmost run' for a whole command.
    Exits with 1 when a beat could not leave this host.

    \b
    Examples:
      * * * * * backup-step && atmost beat backup --interval 60
      atmost beat backup --fail 'disk full'
      atmost beat worker-7 --keep --interval 5 & beating=$!; work; kill $beating
    """
    if keep + stopped + (failed is not None) > 1:
        raise click.UsageError("--keep, --stop and --fail exclude each other")
    interval, timeout = check_rhythm(interval, _MISSED * interval if timeout is None else timeout)
    subject = check_lossy(subject_of(SUBJECT, name))
    if keep:
        return _keep(name, interval, timeout, url, audience, key_file)
    ending = HeartbeatEnding.STOPPED if stopped else None if failed is None else HeartbeatEnding.FAILED
    now = time.time()
    one = Beat(
        number=int(now * 1000),
        interval=interval,
        life=f"beat on {socket.gethostname()}"[:100],
        timeout=timeout,
        alone=True,
        ending=ending,
        reason=(failed or "")[:MAX_REASON],
    )
    with Sender(url, name=name, audience=audience, key_file=key_file) as sender:
        for copy in range(_COPIES):
            if copy:
                time.sleep(BEACON_AFTER_DATA / 2)
            sender.send(subject, msgspec.to_builtins(one))
            sender.flush()
    return _report(sender.stats(), sender.url)


def _keep(
    name: str, interval: float, timeout: float | None, url: str | None, audience: str, key_file: str | None
) -> int:
    """Beats until a signal comes."""
    sender = Sender(url, name=name, audience=audience, key_file=key_file)
    ignored = {number for number in _STOPS if signal.getsignal(number) is signal.SIG_IGN}
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        Heartbeat(sender, name, interval, timeout=timeout).start()
        while signal.sigwait(_STOPS) in ignored:
            pass
        close_all(0.1)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    return _report(sender.stats(), sender.url)


def _report(stats: SenderStats, url: str) -> int:
    if stats.refused:
        tell(f"atmost: {refused_line(stats.refused, url)}")
    if stats.dropped:
        tell(f"atmost: {sum(stats.dropped.values()):,} beats were dropped before sending")
    return 1 if stats.refused or stats.dropped else 0
