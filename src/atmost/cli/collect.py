"""`atmost collect`: receives everything and shows who sends how much, and what of it is lost."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import click

from atmost.cli.options import audience_option, bind_option, key_file_option, seconds_option, workers_option
from atmost.cli.output import account_lines, to_json
from atmost.cli.stopping import Stop, stopping
from atmost.cli.table import open_display
from atmost.collector.watch import SenderRow, Watch
from atmost.core.ledger import Ledger
from atmost.endpoint.receiver import Receiver
from atmost.endpoint.workers import Workers

_SHOW_EVERY = 1.0
_TURN = 0.1


@click.command(short_help="Show who sends how much, and what of it is lost.")
@bind_option
@audience_option
@key_file_option
@seconds_option
@workers_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a second, and the account as the last one."
)
def collect(
    bind: str | None, audience: str, key_file: str | None, seconds: float | None, workers: int, as_json: bool
) -> int:
    """Receive from every sender and show rates, losses and duplicates refused, live.

    Ctrl-C or SIGTERM takes in what has arrived, and prints the account.

    \b
    Examples:
      atmost collect
      atmost collect --bind udp://0.0.0.0:7140 --workers 4
      atmost collect --json | jq '.senders[] | {sender, lost}'
    """
    with stopping() as stop, _open(bind, workers, audience, key_file) as receiver:
        began = time.monotonic()
        click.echo(click.style(f"listening on {receiver.url} for everything (Ctrl-C ends)", dim=True), err=True)
        watch = Watch(began)
        next_show = began
        with nullcontext() if as_json else open_display(receiver.url) as display:
            while not stop.asked and (seconds is None or time.monotonic() - began < seconds):
                take_all(receiver, time.monotonic() + _TURN, stop)
                now = time.monotonic()
                if now >= next_show:
                    next_show = now + _SHOW_EVERY
                    ledger = receiver.ledger()
                    rows = watch.look(ledger, now)
                    if display is not None:
                        display.show(ledger, rows)
                    else:
                        click.echo(to_json(_second(ledger, rows)))
        ledger = _last_account(receiver, stop)
        if as_json:
            click.echo(to_json({"type": "account", **asdict(ledger)}))
        else:
            click.echo("\n".join(account_lines(ledger, receiver.url, time.monotonic() - began)))
    return 0


def take_all(receiver: Receiver | Workers, until: float, stop: Stop) -> None:
    """Receives until a moment, monotonic seconds; the account is kept by the receiver."""
    if isinstance(receiver, Workers):
        receiver.supervise(until - time.monotonic(), lambda: stop.asked)
        return
    while (left := until - time.monotonic()) > 0:
        receiver.receive(left)


def _open(bind: str | None, workers: int, audience: str, key_file: str | None) -> Receiver | Workers:
    if workers == 1:
        return Receiver(bind, audience=audience, key_file=key_file)
    return Workers(lambda _message: None, bind, workers=workers, audience=audience, key_file=key_file)


def _last_account(receiver: Receiver | Workers, stop: Stop) -> Ledger:
    """The account when what has arrived is taken in."""
    if isinstance(receiver, Workers):
        receiver.close()
    else:
        take_all(receiver, time.monotonic() + _TURN, stop)
    return receiver.ledger()


def _second(ledger: Ledger, rows: list[SenderRow]) -> dict[str, Any]:
    totals = asdict(ledger)
    del totals["sessions"]
    return {"type": "second", "time": time.time(), **totals, "senders": rows}
