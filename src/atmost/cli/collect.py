"""`atmost collect`: receives metrics, logs and heartbeats of all senders, and shows them with their losses."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from atmost.cli.bounded_output import BoundedOutput, tell
from atmost.cli.options import audience_option, key_file_option, seconds_option, shards_option, utf8
from atmost.cli.output import to_json
from atmost.collector.options import CollectorOptions, load_options, print_config
from atmost.endpoint.serving import ended_by_signals
from atmost.errors import AtMostError

if TYPE_CHECKING:
    from atmost.collector.daemon import CollectorDaemon

_SHOW_EVERY = 1.0
_SWITCH = 0.000_5
"""Longest that one thread computes while another one wants to (seconds).

Each datagram that is read lets the other threads in, and Python's 5 ms would then be the receiving thread's wait for each while an
answer is rendered.
"""


@click.command(short_help="Receive everything, and show it with what is missing.")
@click.option(
    "--config", "file", metavar="FILE", help="A TOML file of options, in the form that --print-config prints."
)
@click.option(
    "--bind",
    multiple=True,
    callback=lambda ctx, param, value: tuple(utf8(ctx, param, each) for each in value),
    metavar="URL",
    help="Where our senders are received; may be repeated, or off.  [default: ATMOST_BIND, then udp://127.0.0.1:7140]",
)
@shards_option
@click.option(
    "--statsd",
    multiple=True,
    metavar="PLACE",
    help="Where StatsD is received: HOST:PORT, a path, or off.  [default: 127.0.0.1:8125]",
)
@click.option(
    "--syslog",
    multiple=True,
    metavar="PLACE",
    help="Where syslog is received, as for --statsd.  [default: 127.0.0.1:5514]",
)
@click.option(
    "--gelf",
    multiple=True,
    metavar="PLACE",
    help="Where GELF is received, as for --statsd.  [default: 127.0.0.1:12201]",
)
@click.option("--http", metavar="PLACE", help="Page, API and /metrics: HOST:PORT, or off.  [default: 127.0.0.1:7141]")
@click.option("--token-file", metavar="FILE", help="The token that readers must show, in a file only you can read.")
@audience_option
@key_file_option
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes that share the first address of --bind; more than one needs Linux and UDP.  [default: 1]",
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any option of --print-config.")
@click.option("--print-config", "show", is_flag=True, help="Print every option with its meaning, and end.")
@seconds_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a second, and the account as the last one."
)
def collect(
    file: str | None,
    settings: tuple[str, ...],
    show: bool,
    seconds: float | None,
    as_json: bool,
    **flags: Any,
) -> int:
    """Receive from our senders, StatsD, syslog and GELF; serve a page, an API and /metrics.

    On Ctrl-C or SIGTERM it processes what has arrived, prints the account and ends. SIGHUP reloads keys, token and limits.

    \b
    Examples:
      atmost collect
      atmost collect --bind udp://0.0.0.0:7140 --workers 4
      atmost collect --bind nats://127.0.0.1:4222/telemetry --shards 0-7/16
      atmost collect --config collector.toml --statsd 127.0.0.1:9125 --syslog off
      atmost collect --json | jq '.senders[] | {sender, lost}'
    """
    from atmost.cli.collect_view import Notable, account_of, banner, second
    from atmost.cli.own_log import set_up_logging, take_down_logging
    from atmost.collector.daemon import CollectorDaemon  # loads an event loop, which --help does not need
    from atmost.collector.state.senders import SenderTable

    flags["audience"] = flags["audience"] or None

    def load() -> CollectorOptions:
        return load_options(file, os.environ, settings, flags)

    options = load()
    if show:
        click.echo(print_config(options))
        return 0
    asked, out = threading.Event(), BoundedOutput(sys.stdout)
    handler = set_up_logging(options.log_format)
    switch = sys.getswitchinterval()
    try:
        sys.setswitchinterval(_SWITCH)
        with ended_by_signals(asked.set), _reloads() as hung_up, CollectorDaemon(options) as daemon:
            began = time.monotonic()
            tell(click.style(f"listening on {daemon.url} for everything (Ctrl-C ends)", dim=True))
            if not as_json:
                out.line("\n".join(banner(daemon)))
            table, notable = SenderTable(began), Notable(daemon)
            while not asked.is_set() and (seconds is None or time.monotonic() - began < seconds):
                if as_json:
                    out.line(to_json(second(daemon, table)))
                else:
                    for line in notable.lines():
                        out.line(line)
                left = _SHOW_EVERY if seconds is None else began + seconds - time.monotonic()
                daemon.supervise(max(0.0, min(_SHOW_EVERY, left)), asked)
                if hung_up.is_set():
                    hung_up.clear()
                    _reload(daemon, load)
            if not as_json:
                for line in notable.lines():
                    out.line(line)
            daemon.stop()
            ledger, listeners = daemon.ledger(), daemon.state.listeners
        out.line(
            to_json(account_of(ledger, listeners))
            if as_json
            else "\n".join(notable.account(ledger, time.monotonic() - began))
        )
    finally:
        sys.setswitchinterval(switch)
        out.close()
        take_down_logging(handler)
    return 0


def _reload(daemon: CollectorDaemon, load: Callable[[], CollectorOptions]) -> None:
    """Reloads, or logs why not: a mistake in the file must not end a running collector."""
    try:
        daemon.reload(load())
    except AtMostError as error:
        logging.getLogger("atmost.collector").error("not reloaded: %s", error)  # noqa: TRY400  the message says all


@contextmanager
def _reloads() -> Iterator[threading.Event]:
    """Turns SIGHUP into an event, if the system has it and it is not ignored."""
    hung_up = threading.Event()
    number = getattr(signal, "SIGHUP", None)
    if number is None or signal.getsignal(number) == signal.SIG_IGN:
        yield hung_up
        return
    before = signal.signal(number, lambda _number, _frame: hung_up.set())
    try:
        yield hung_up
    finally:
        signal.signal(number, before)
