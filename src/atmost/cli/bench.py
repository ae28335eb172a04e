"""`atmost bench`: what sending and receiving cost on this machine, beside the peers that are installed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import click

from atmost.bench.presets import FULL, QUICK, TABLES, THROUGHPUT
from atmost.cli.options import Number

_INTERRUPTED = 130


@click.command(short_help="Measure this machine, beside the peers that are installed.")
@click.option("--full", is_flag=True, help="Longer, oftener, and the slow peers too: about twenty-five minutes.")
@click.option("--only", multiple=True, metavar="TEXT", help="Measure only what has this in its name; may be repeated.")
@click.option(
    "--table", "tables", multiple=True, type=click.Choice(TABLES), help="Measure only this table; may be repeated."
)
@click.option("--seconds", type=Number(0.05, 60), metavar="S", help="Seconds of sending in each measurement.")
@click.option("--repetitions", type=click.IntRange(1, 1000), metavar="N", help="How often each system has its turn.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the bars as SVG.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with every sample instead of tables.")
def bench(
    full: bool,
    only: tuple[str, ...],
    tables: tuple[str, ...],
    seconds: float | None,
    repetitions: int | None,
    plot: Path | None,
    as_json: bool,
) -> int:
    """Measure what sending and receiving cost on this machine, beside the peers that are installed.

    The systems take turns, each with a producer and a consumer on cores of their own. Peers carry a bare payload at their
    best settings, which are printed; atmost runs with every rule on. Compare ratios within one run, not figures of two
    machines. Ctrl-C ends it with what was measured so far.

    \b
    Examples:
      atmost bench
      atmost bench --full --json > figures.json
      atmost bench --table throughput --only atmost --only pyzmq --plot bars.svg
      ATMOST_PURE=1 atmost bench --table receiving
    """
    from atmost.bench.report import as_svg, as_text
    from atmost.bench.run import measure

    if plot is not None and THROUGHPUT not in (tables or TABLES):
        raise click.BadParameter(f"the bars are of the table {THROUGHPUT}, which is not measured", param_hint="--plot")
    if plot is not None and not plot.parent.is_dir():
        raise click.BadParameter(f"there is no folder {plot.parent}", param_hint="--plot")
    preset = FULL if full else QUICK
    preset = replace(preset, seconds=seconds or preset.seconds, repetitions=repetitions or preset.repetitions)
    quiet = not sys.stderr.isatty()
    results = measure(
        preset,
        tables=tables or TABLES,
        only=only,
        progress=lambda what: None if quiet else click.echo(f"\r\033[K{what}", err=True, nl=False),
    )
    if not quiet:
        click.echo("\r\033[K", err=True, nl=False)
    if not results.tables and results.interrupted:
        return _INTERRUPTED
    if not results.tables:
        raise click.ClickException(
            "nothing was measured: "
            + (
                "; ".join(f"{name}: {reason}" for name, reason in results.missing.items())
                or "no name contains that text"
            )
        )
    click.echo(json.dumps(results.as_json()) if as_json else as_text(results))
    if plot is not None:
        plot.write_text(as_svg(results), encoding="utf-8")
    return 0
