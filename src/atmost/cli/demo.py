"""`atmost demo`: at-most-once on this host's real signals, over a link that loses, with an account that must balance."""

from __future__ import annotations

import time
from collections import Counter

import click

from atmost.cli.options import Number
from atmost.cli.output import clock_time, describe, harmless, places, to_json
from atmost.cli.stopping import stopping
from atmost.core.events import DatagramRefused, Event, Message
from atmost.demo.account import DemoAccount
from atmost.demo.processes import ChildError
from atmost.demo.run import PAGE, DemoOptions, Watcher, run_demo

_SHARE = Number(0, 1)


@click.command(short_help="Show everything at work on this machine, with an account.")
@click.option("--seconds", type=Number(min=0), metavar="S", help="End after S seconds.  [default: on Ctrl-C]")
@click.option(
    "--loss", type=_SHARE, default=0.05, show_default=True, metavar="P", help="Share of datagrams the link loses."
)
@click.option("--duplicate", type=_SHARE, default=0.03, show_default=True, metavar="P", help="Share it sends twice.")
@click.option(
    "--reorder", type=_SHARE, default=0.05, show_default=True, metavar="P", help="Share it lets others overtake."
)
@click.option("--seed", type=int, metavar="N", help="Same seed, same faults.  [default: any]")
@click.option(
    "--nats",
    is_flag=True,
    help="Over three NATS servers, one of which is killed halfway (or after 10 s), instead of the link.",
)
@click.option("--json", "as_json", is_flag=True, help="Print only the account, as one JSON object.")
def demo(
    seconds: float | None,
    loss: float,
    duplicate: float,
    reorder: float,
    seed: int | None,
    nats: bool,
    as_json: bool,
) -> int:
    """Send this host's readings, a heartbeat and a real log over a link that loses, and account for every message.

    The collector with its page runs here, agent and link in processes of their own; the log is the link's journal.
    Exits with 0 only when the account balances and nothing was processed twice.

    \b
    Examples:
      atmost demo
      atmost demo --seconds 20 --loss 0.3
      atmost demo --seconds 10 --json --seed 7
      atmost demo --nats --seconds 20
    """
    options = DemoOptions(seconds=seconds, loss=loss, duplicate=duplicate, reorder=reorder, seed=seed, nats=nats)
    view = _View(silent=as_json)
    with stopping() as stop:
        try:
            account = run_demo(options, lambda: stop.asked, view)
        except ChildError as error:
            raise click.ClickException(f"demo: {error}") from error
    if as_json:
        click.echo(to_json(account.as_dict()))
    else:
        click.echo("\n".join(_account_lines(account, view.page)))
    return 0 if account.balanced else 1


class _View(Watcher):
    """Prints what arrives: log lines and losses as they come, everything else summed up in one line a second."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self.page: str | None = None
        self._arrived: Counter[str] = Counter()
        self._latest: dict[str, object] = {}
        self._next = time.monotonic() + 1

    def began(self, collector: str, sending: str, page: str | None) -> None:
        """Prints the addresses of the link, the collector and the page."""
        self.page = page
        if self._silent:
            return
        how = (
            "this host's agent sends there too"
            if collector.startswith("nats:")
            else f"link on {sending}; this host's agent sends through the link"
        )
        click.echo(f"collector on {collector}, {how} (Ctrl-C ends)")
        click.echo(
            click.style(f"the page is on {page}", bold=True)
            if page is not None
            else "the page needs: pip install 'atmost[server]'"
        )

    def trouble(self, text: str) -> None:
        """Prints a fault that the demo caused on purpose."""
        if not self._silent:
            click.echo(click.style(f"{clock_time(time.time())} {text}", fg="red"))

    def show(self, event: Event) -> None:
        """Prints one message or event."""
        if self._silent or isinstance(event, DatagramRefused):
            return
        if not isinstance(event, Message):
            click.echo(click.style(f"             {describe(event)}", fg="yellow"))
            return
        use, _, name = event.subject.partition(".")
        self._arrived[use] += 1
        if use == "metrics":
            self._latest[name] = event.payload
        elif use == "logs":
            text = str(event.payload.get("message") if isinstance(event.payload, dict) else event.payload)
            click.echo(click.style(f"{clock_time(event.sent_at)} log  {harmless(text)}", dim=True))

    def tick(self) -> None:
        """Prints the last second's readings."""
        now = time.monotonic()
        if self._silent or now < self._next:
            return
        self._next = now + 1
        arrived = f"{self._arrived['metrics']} readings, {self._arrived['heartbeats']} heartbeats, {self._arrived['logs']} log lines"
        values = "  ".join(
            f"{label} {value * 100:.0f} %"
            for label, name in (("cpu", "cpu.utilization"), ("memory", "memory.utilization"))
            if isinstance(value := self._latest.get(name), float)
        )
        click.echo(f"{clock_time(time.time())} {arrived}   {values}")
        self._arrived.clear()


def _account_lines(account: DemoAccount, page: str | None) -> list[str]:
    lost_where = f"   ({places(account.lost_by_place)})" if account.lost else ""
    verdict = (
        click.style("balanced", fg="green", bold=True)
        if account.balanced
        else click.style("NOT balanced", fg="red", bold=True)
    )
    lines = [
        "",
        click.style("the account, in messages", bold=True),
        f"  offered              {account.offered:>8,}",
        f"  delivered            {account.delivered:>8,}",
        f"  lost                 {account.lost:>8,}{lost_where}",
        f"  unknown              {account.unknown:>8,}   (numbered after the last datagram that got through)",
    ]
    others = ("dropped", "pending", "overflow", "late")
    lines += [f"  {name:20} {count:>8,}" for name in others if (count := getattr(account, name))]
    copies = account.link.get("duplicated_datagrams")
    told = "" if copies is None else f" (the link sent {copies:,} twice)"
    lines += [
        f"  duplicates refused   {account.duplicates_refused:>8,}   datagrams{told}",
        f"  duplicates processed {account.duplicates_processed:>8,}",
        *_elsewhere(account),
        f"  the account is {verdict}",
    ]
    if page is not None:
        back = "; it comes back with every 'atmost collect' and 'atmost demo'" if f"//{PAGE}/" in page else ""
        lines.append(f"the page was on {page}{back}")
    return lines


def _elsewhere(account: DemoAccount) -> list[str]:
    """What others counted."""
    if "dropped_messages" not in account.link:
        refused = f"; {account.refused:,} of them the sender knows of: there was no server" if account.refused else ""
        return [f"  lost {account.lost:,} + unknown {account.unknown:,}{refused}"]
    dropped = int(account.link["dropped_messages"])
    expected = f" + refused by the socket {account.refused}" if account.refused else ""
    missing = f"  lost {account.lost:,} + unknown {account.unknown:,}"
    if account.agrees_with_link:
        return [f"{missing} = dropped by the link {dropped:,}{expected}"]
    return [f"{missing} does not agree with the link: dropped {dropped:,}{expected}"]
