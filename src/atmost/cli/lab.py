"""`atmost lab` and its command `simulate`, which tests the guarantee in one run or in thousands."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Final

import click

from atmost.cli.lab_compare import compare
from atmost.cli.lab_scale import scale
from atmost.lab.guarantee import (
    BEYOND_GUARD,
    KEPT,
    STEPS,
    Campaign,
    Run,
    ViolationKind,
    campaign,
    shorten,
    simulate,
)

_SHORTENED: Final = 3
"""Violations for which a campaign prints a shortened list of steps; shortening one takes seconds."""


@click.group()
def lab() -> None:
    """Test the guarantee, and compare it with others."""


lab.add_command(compare)
lab.add_command(scale)


@lab.command("simulate", short_help="Test the guarantee in one run, or in thousands.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Run this seed, and print everything that happens.")
@click.option("--campaign", "runs", type=click.IntRange(1), metavar="N", help="Run this many seeds, and sum up.")
@click.option(
    "--first-seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="First seed of the campaign.",
)
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True, metavar="N", help="Steps of a run.")
@click.option(
    "--beyond-guard",
    is_flag=True,
    help="Set the receiver's clock back by more than G before a restart: shows the duplicate, and the alarm.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.pass_context
def simulate_(
    context: click.Context,
    seed: int | None,
    runs: int | None,
    first_seed: int,
    steps: int,
    beyond_guard: bool,
    as_json: bool,
) -> None:
    """Run the real cores under virtual time: loss, copies, delay, crashes, forks, clock steps, and an adversary.

    The same seed gives the same run, byte for byte. Fails when a promise is broken, with the fewest steps that break it,
    and a campaign also when it did not reach every refusal, crash point and fault.

    \b
    Examples:
      atmost lab simulate --seed 7
      atmost lab simulate --campaign 1000
      atmost lab simulate --seed 7 --beyond-guard
    """
    if (seed is None) == (runs is None):
        raise click.UsageError("give either --seed or --campaign")
    if seed is not None:
        run = simulate(seed, steps=steps, hypotheses=BEYOND_GUARD if beyond_guard else KEPT, trace=True)
        click.echo(_run_as_json(run) if as_json else "\n".join(_run_lines(run, beyond_guard=beyond_guard)))
        context.exit(0 if _as_expected(run, beyond_guard=beyond_guard) else 1)
    assert runs is not None
    if beyond_guard:
        raise click.UsageError("--beyond-guard shows one run: give it a --seed")
    started = time.monotonic()
    result = _run_campaign(range(first_seed, first_seed + runs), steps)
    seconds = time.monotonic() - started
    lines = [json.dumps(result.as_dict() | {"seconds": seconds})] if as_json else _campaign_lines(result, seconds)
    for line in lines:
        click.echo(line)
    context.exit(0 if result.passed else 1)


def _run_campaign(seeds: range, steps: int) -> Campaign:
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=len(seeds), label="simulating", file=sys.stderr, hidden=hidden) as bar:
        return campaign(seeds, steps=steps, watch=lambda _run: bar.update(1))


def _as_expected(run: Run, *, beyond_guard: bool) -> bool:
    """With the hypotheses kept, nothing may break. With H1 broken, both the duplicate and the alarm must appear."""
    if beyond_guard:
        return run.violated(ViolationKind.DUPLICATE) and run.alarmed
    return not run.violations


def _run_as_json(run: Run) -> str:
    return json.dumps(
        {
            "seed": run.seed,
            "parameters": asdict(run.parameters),
            "violations": [asdict(violation) for violation in run.violations],
            "alarmed": run.alarmed,
            "figures": dict(run.figures),
            "trace": list(run.trace),
        }
    )


def _run_lines(run: Run, *, beyond_guard: bool) -> Iterator[str]:
    yield f"seed {run.seed}: {run.parameters}"
    yield from run.trace
    yield ""
    yield _figures(run.figures.items())
    if beyond_guard:
        yield "H1 was broken on purpose: the receiver's clock was set back by more than G before its last restart."
        yield f"The alarm {'was raised' if run.alarmed else 'WAS NOT RAISED'} before that."
    if run.violations:
        yield from _violation_lines(run, with_alarm=beyond_guard and run.alarmed)
    else:
        yield "no promise was broken"


def _violation_lines(run: Run, *, with_alarm: bool = False) -> Iterator[str]:
    """Prints the first violation (a duplicate if there is one) and the fewest steps that show it."""
    first = min(run.violations, key=lambda violation: (violation.kind is not ViolationKind.DUPLICATE, violation.step))
    others = len(run.violations) - 1
    yield click.style(f"seed {run.seed}: {first}{f' (and {others} more)' if others else ''}", fg="red", bold=True)
    yield "the fewest steps found that show it:"
    yield from shorten(run, first.kind, with_alarm=with_alarm)


def _campaign_lines(result: Campaign, seconds: float) -> Iterator[str]:
    table = result.as_dict()
    for group, counts in table["coverage"].items():
        yield click.style(group, bold=True)
        yield from (f"  {name:40} {count:>12,}" for name, count in counts.items())
    for name, reason in table["not_reachable"].items():
        yield f"not reachable here: {name} ({reason})"
    yield ""
    yield f"{result.seeds:,} seeds in {seconds:.1f} s, {result.seeds / max(seconds, 1e-9):.1f} a second"
    yield _figures(sorted(result.figures.items()))
    for run in result.broken[:_SHORTENED]:
        yield from _violation_lines(run)
    for run in result.broken[_SHORTENED:]:
        yield f"seed {run.seed}: {run.violations[0]}"
    for group, name in result.missing:
        yield click.style(f"not reached: {group}, {name}", fg="red", bold=True)
    broken = f"{result.violations:,} seeds broke a promise" if result.violations else "no promise was broken"
    reached = f"{len(result.missing)} goals were not reached" if result.missing else "every goal was reached"
    yield click.style(f"{broken}, {reached}", fg="green" if result.passed else "red", bold=True)


def _figures(figures: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in figures)
