"""`atmost lab compare`: three delivery guarantees over the same faults, side by side."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from atmost.cli.options import Number
from atmost.cli.stopping import stopping
from atmost.lab.compare import (
    CompareOptions,
    Comparison,
    Sweep,
    check_work,
    compare_real,
    expected_work,
    run_points,
)
from atmost.lab.compare import compare as compare_simulated
from atmost.lab.compare.table import Table, checks_table, comparison_table, plain, sweep_tables

_SHARE = Number(0, 0.99)
_SIMULATED = {"messages": 10_000, "interval": 0.02}
_REAL = {"messages": 500, "interval": 0.01}
"""Defaults of `--real`: five seconds of messages, then the time for retries and graces."""
_LONG = 300_000
"""Expected work above this takes seconds."""


def _option(flag: str, kind: click.ParamType[Any], metavar: str, text: str) -> Callable[[Any], Any]:
    """An option whose default comes from `CompareOptions`."""
    name = flag.removeprefix("--").replace("-", "_")
    default = getattr(CompareOptions(), name)
    return click.option(flag, type=kind, default=default, show_default=True, metavar=metavar, help=text)


@click.command(short_help="The three delivery guarantees over the same faults.")
@_option("--loss", _SHARE, "P", "Share of datagrams lost on their way to the receiver.")
@_option("--ack-loss", _SHARE, "P", "Share of acknowledgements lost on their way back.")
@_option("--duplicate", _SHARE, "P", "Share of datagrams that arrive twice.")
@_option("--crash-before", _SHARE, "P", "Share of messages over which the receiver crashes before processing them.")
@_option(
    "--crash-after",
    _SHARE,
    "P",
    "Share of messages over which it crashes after processing and before the acknowledgement.",
)
@_option("--latency", Number(0), "S", "Shortest travel time of a datagram (s).")
@_option("--jitter", Number(0), "S", "Longest extra travel time, uniformly distributed (s).")
@click.option(
    "--messages", type=click.IntRange(1), metavar="N", help="Messages to each arm.  [default: 10000; 500 with --real]"
)
@click.option(
    "--interval", type=Number(0), metavar="S", help="Seconds between two messages.  [default: 0.02; 0.01 with --real]"
)
@_option("--payload", click.IntRange(8), "BYTES", "Size of a message.")
@_option("--retry-after", Number(0), "S", "Seconds to wait for an acknowledgement; each further wait is twice as long.")
@_option("--max-backoff", Number(0), "S", "Longest wait between two retries (s).")
@_option("--seed", click.IntRange(0), "N", "Same seed, same faults.")
@click.option(
    "--sweep", "sweep_text", metavar="FIELD=FROM:TO:POINTS", help="Compare at each of these values of one option."
)
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    help="Write every figure as JSON; - writes to standard output and prints nothing else.",
)
@click.option(
    "--plot",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Draw PNG and SVG files in this folder, and a page with tables and plots.",
)
@click.option("--real", is_flag=True, help="Over real UDP on this machine, in real time, through a link that loses.")
def compare(
    messages: int | None,
    interval: float | None,
    sweep_text: str | None,
    json_file: str | None,
    folder: Path | None,
    real: bool,
    **given: Any,
) -> int:
    """Run at-most-once, at-least-once and exactly-once over the same network and crashes, and show what each costs.

    At-most-once is the real core, one message a datagram; the other two retry until acknowledged, and exactly-once
    also keeps a deduplication log. Fails when the simulation does not agree with the closed forms.

    \b
    Examples:
      atmost lab compare
      atmost lab compare --loss 0.2 --crash-after 0.01 --interval 1
      atmost lab compare --sweep loss=0:0.5:11 --plot plots
      atmost lab compare --messages 1000000 --json figures.json
      atmost lab compare --real --loss 0.1
    """
    defaults = _REAL if real else _SIMULATED
    options = CompareOptions(
        messages=int(defaults["messages"]) if messages is None else messages,
        interval=defaults["interval"] if interval is None else interval,
        **given,
    )
    sweep = Sweep.parse(sweep_text) if sweep_text is not None else None
    points = sweep.points(options) if sweep is not None else [options]
    check_work(points)
    if folder is not None:
        from atmost.lab.compare import plots

        plots.require()
    _claim(json_file, folder)
    began = time.monotonic()
    with stopping() as stop, _progress(points) as watch:
        if real or expected_work(points) >= _LONG:
            click.echo("Ctrl-C ends with a partial result", err=True)
        done = run_points(points, watch, lambda: stop.asked, compare_real if real else compare_simulated)
    complete = len(done) == len(points) and all(point.complete for point in done)
    field = sweep.field if sweep is not None else None
    silent = json_file == "-"
    if not silent:
        _show(done, field, time.monotonic() - began)
    if not complete:
        offered, of = sum(point.offered for point in done), sum(point.messages for point in points)
        click.echo(f"stopped: a partial result, {offered:,} of {of:,} messages", err=True)
    if json_file is not None:
        _write_json(json_file, done, field, complete=complete)
    if folder is not None:
        _draw(done, field, folder, silent=silent)
    return 0 if real or all(point.agrees for point in done) else 1


def _claim(json_file: str | None, folder: Path | None) -> None:
    """Raises OSError before the work starts when an output cannot be written."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    if json_file is not None and json_file != "-":
        Path(json_file).open("ab").close()


def _show(done: Sequence[Comparison], field: str | None, seconds: float) -> None:
    show_tables(_tables(done, field))
    verdicts = [check for point in done for check in point.checks]
    wrong = [check for check in verdicts if not check.inside]
    if field is not None or wrong:
        for check in wrong:
            click.echo(f"outside: {check.arm}, {check.figure}: {check.simulated:.6g}, theory {check.theory:.6g}")
        click.echo(f"{len(verdicts) - len(wrong):,} of {len(verdicts):,} figures lie within what theory allows")
    count = sum(point.offered * len(point.arms) for point in done)
    # To standard error: the speed is not part of the result, which is the same in every run.
    click.echo(f"{count:,} messages in {seconds:.1f} s, {count / max(seconds, 1e-9):,.0f} a second", err=True)


def _tables(done: Sequence[Comparison], field: str | None) -> list[Table]:
    return [comparison_table(done[0]), checks_table(done[0])] if field is None else sweep_tables(field, done)


def show_tables(tables: Sequence[Table]) -> None:
    """Draws tables on a terminal if rich is installed and every figure fits; prints plain lines otherwise."""
    drawing = sys.stdout.isatty()
    if drawing:
        try:
            import rich.console  # noqa: F401  only checks that it is installed
        except ImportError:
            click.echo("drawn tables need: pip install 'atmost[lab]'", err=True)
            drawing = False
    for table in tables:
        if not (drawing and _drawn(table)):
            click.echo("\n".join([*plain(table), ""]))


def _drawn(table: Table) -> bool:
    """Draws the table, unless figures would have to be cut off."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table as Drawn
    from rich.text import Text

    console = Console()
    drawn = Drawn(title=Text(table.title), title_justify="left")
    for place, cell in enumerate(table.heading):
        drawn.add_column(Text(cell), justify="right" if place else "left", no_wrap=place > 0)
    for row in table.rows:
        drawn.add_row(*(Text(cell, style="bold red" if cell == "NO" else "") for cell in row))
    if Measurement.get(console, console.options.update(max_width=10_000), drawn).minimum > console.width:
        return False
    console.print(drawn)
    return True


def _write_json(name: str, done: Sequence[Comparison], field: str | None, *, complete: bool) -> None:
    value = {"sweep": field, "complete": complete, "points": [point.as_dict() for point in done]}
    text = json.dumps(value, indent=2) + "\n"
    if name == "-":
        click.echo(text, nl=False)
    else:
        Path(name).write_text(text, encoding="utf-8")


def _draw(done: Sequence[Comparison], field: str | None, folder: Path, *, silent: bool) -> None:
    from atmost.lab.compare import plots, report

    drawn = plots.draw(done, field)
    written = plots.save(drawn, folder)
    title = (
        "Three guarantees over the same faults" if field is None else f"Three guarantees, by {field.replace('_', ' ')}"
    )
    pictures = {plots.described(name, field): files["svg"] for name, files in drawn.items()}
    written.append(folder / "report.html")
    written[-1].write_text(report.page(title, _tables(done, field), pictures), encoding="utf-8")
    if not silent:
        click.echo("written: " + " ".join(map(str, written)))


@contextmanager
def _progress(points: Sequence[CompareOptions]) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, if that is a terminal."""
    total = sum(point.messages for point in points) * 3
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=total, label="comparing", file=sys.stderr, hidden=hidden) as bar:
        yield bar.update
