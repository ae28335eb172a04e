"""`atmost lab scale`: what a fleet needs, and what it costs when shards lose their owner."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import click

from atmost.cli.options import Number
from atmost.lab.fleet import Costs, Fleet, Load, Outcome, Stage, measure_costs, plan, run_fleet
from atmost.lab.fleet.plan import HEADROOM

_STAGES = (1_000, 10_000, 100_000, 1_000_000)
_SHARE = Number(0, 1)


def _option(flag: str, kind: click.ParamType[Any], default: float, metavar: str, text: str) -> Callable[[Any], Any]:
    """A numeric option whose help shows its default."""
    return click.option(flag, type=kind, default=default, show_default=True, metavar=metavar, help=text)


@click.command(short_help="What a fleet needs, and what losing a shard's owner costs.")
@click.option("--senders", type=click.IntRange(1), metavar="N", help="Senders to plan for.  [default: 10³ to 10⁶]")
@_option("--rate", Number(0.001), 1.0, "N", "Datagrams a second of each sender, evenly spread.")
@_option("--messages", Number(0.001), 4.0, "N", "Messages per datagram.")
@_option("--bytes", Number(64), 800.0, "BYTES", "Size of a datagram.")
@_option("--carrier", Number(0), 0.0, "MICROSECONDS", "CPU time per datagram before the core.")
@_option("--handler", Number(0), 0.0, "MICROSECONDS", "CPU time of the handler per message.")
@_option("--fleet", click.IntRange(1, 200_000), 5_000, "N", "Senders in the simulated fleet.")
@_option("--collectors", click.IntRange(2), 4, "N", "Collectors in the simulated fleet.")
@_option("--shards", click.IntRange(1), 16, "N", "Shards in the simulated fleet.")
@_option("--takeover", Number(0.1, 10), 3.0, "S", "Seconds a shard has no owner after a collector dies.")
@_option("--loss", _SHARE, 0.01, "P", "Share of datagrams lost.")
@_option("--duplicate", _SHARE, 0.01, "P", "Share of datagrams that arrive twice.")
@_option("--seed", click.IntRange(0), 1, "N", "Same seed, same run.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def scale(
    senders: int | None,
    rate: float,
    messages: float,
    bytes: float,  # noqa: A002  the option's name
    carrier: float,
    handler: float,
    fleet: int,
    collectors: int,
    shards: int,
    takeover: float,
    loss: float,
    duplicate: float,
    seed: int,
    as_json: bool,
) -> int:
    """Measure the receiving core here, plan a fleet from it, and simulate one whose collector dies and returns.

    The simulation runs the real cores in virtual time; it fails when a message is processed twice, also if by two
    owners, or when an owner's account is not exact.

    \b
    Examples:
      atmost lab scale
      atmost lab scale --senders 50000 --rate 10 --carrier 3
      atmost lab scale --fleet 20000 --shards 32 --collectors 8 --takeover 5
    """
    run = Fleet(
        senders=fleet,
        shards=shards,
        collectors=collectors,
        takeover=takeover,
        loss=loss,
        duplicate=duplicate,
        seed=seed,
    )
    costs = measure_costs()
    counts = _STAGES if senders is None else (senders,)
    stages = plan(
        [Load(count, rate, messages, bytes) for count in counts], costs, carrier_us=carrier, handler_us=handler
    )
    hidden = as_json or not sys.stderr.isatty()
    with click.progressbar(length=int(run.seconds), label="simulating", file=sys.stderr, hidden=hidden) as bar:
        outcome = run_fleet(run, lambda second: bar.update(1) if second else None)
    if as_json:
        click.echo(
            json.dumps(
                {"costs": asdict(costs), "stages": [asdict(stage) for stage in stages], "simulation": outcome.as_json()}
            )
        )
    else:
        click.echo("\n".join([*_costs(costs, carrier, handler), *_stages(stages), *_outcome(outcome)]))
    return 0 if outcome.kept() else 1


def _costs(costs: Costs, carrier: float, handler: float) -> Iterator[str]:
    yield click.style("measured here, one core", bold=True)
    yield f"  {costs.datagram_us:.2f} µs to accept a datagram, {costs.message_us:.2f} µs for each message in it"
    yield f"  {costs.session_bytes:,.0f} bytes to remember a session (measured with {costs.sessions:,})"
    yield f"  added as told: {carrier:g} µs a datagram for its carrier, {handler:g} µs a message for the handler"
    yield ""


def _stages(stages: list[Stage]) -> Iterator[str]:
    yield click.style(f"what it takes, with a core used to {HEADROOM:.0%}", bold=True)
    yield f"  {'senders':>10} {'datagrams/s':>12} {'messages/s':>12} {'cores':>8} {'shards':>7} {'sessions':>10} {'a shard':>10} {'network':>12}"
    for one in stages:
        yield (
            f"  {one.load.senders:>10,} {one.datagrams:>12,.0f} {one.messages:>12,.0f} {one.cores:>8.2f} {one.shards:>7,}"
            f" {_bytes(one.session_bytes):>10} {_bytes(one.shard_bytes):>10} {_bytes(one.network_bytes):>10}/s"
        )
    yield ""


def _outcome(outcome: Outcome) -> Iterator[str]:
    fleet, most = outcome.fleet, outcome.most_sessions
    yield click.style(
        f"{fleet.senders:,} senders, {fleet.shards} shards on {fleet.collectors} collectors, one of which dies",
        bold=True,
    )
    yield f"  at {fleet.kill_at:g} s it dies, {fleet.takeover:g} s later the others own its shards, at {fleet.return_at:g} s it has them back"
    for text, count in (
        ("messages sent", outcome.sent),
        ("processed once", outcome.processed),
        ("known to be missing", outcome.missing_known),
        ("between two owners", outcome.between_owners),
        ("processed twice", outcome.processed_twice),
        ("miscounted", outcome.miscounted),
    ):
        yield f"  {text:<22} {count:>12,}"
    yield f"  datagrams that met no owner {outcome.unowned:,}; refused: " + (
        ", ".join(f"{reason} {count:,}" for reason, count in sorted(outcome.refused.items())) or "none"
    )
    yield f"  sessions of the fullest collector: {most['before']:,} before, {most['during']:,} during, {most['after']:,} after"
    kept = outcome.kept()
    text = "nothing was processed twice, and every account is exact" if kept else "A PROMISE WAS BROKEN"
    yield click.style(text, fg="green" if kept else "red", bold=True)


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:,.1f} {unit}" if unit != "B" else f"{count:,.0f} B"
        count /= 1000
    raise AssertionError
