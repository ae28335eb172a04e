"""The figures as rows of text, for terminal and report: one table for a comparison, one per figure for a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from atmost.lab.compare.closed_forms import DOUBT
from atmost.lab.compare.measures import ArmReport
from atmost.lab.compare.running import Comparison

Figure = Callable[[ArmReport], str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; its first column is the label."""

    title: str
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def comparison_table(comparison: Comparison) -> Table:
    """A table of every figure of every arm."""
    arms = comparison.arms
    rows = [(label, *(figure(arm) for arm in arms)) for label, figure in _FIGURES.items()]
    if any(arm.refused for arm in arms):
        rows.append(("refused by this host's socket", *(f"{arm.refused:,}" for arm in arms)))
    title = f"{comparison.offered:,} messages {'over real UDP' if comparison.real else 'simulated'}"
    return Table(title, ("", *(arm.arm for arm in arms)), tuple(rows))


def checks_table(comparison: Comparison) -> Table:
    """A table of simulation beside theory."""
    rows = (
        (
            f"{check.arm}: {check.figure}",
            f"{check.simulated:.6g}",
            f"{check.theory:.6g}",
            f"± {check.margin:.2g}",
            "yes" if check.inside else "NO",
        )
        for check in comparison.checks
    )
    run = "measured" if comparison.real else "simulated"
    title = f"{run} beside the closed forms (right ones lie outside once in {1 / DOUBT:,.0f})"
    return Table(title, ("", run, "theory", "interval", "inside"), tuple(rows))


def sweep_tables(field: str, comparisons: Sequence[Comparison]) -> list[Table]:
    """One table for each figure worth a curve, a row for each point."""
    name = field.replace("_", " ")
    heading = (name, *(arm.arm for arm in comparisons[0].arms))
    return [
        Table(
            label,
            heading,
            tuple(
                (f"{getattr(point.options, field):g}", *(figure(arm) for arm in point.arms)) for point in comparisons
            ),
        )
        for label, figure in _FIGURES.items()
        if label in _SWEPT
    ]


def plain(table: Table) -> list[str]:
    """The table as lines: labels to the left, figures to the right."""
    widths = [max(len(row[column]) for row in (table.heading, *table.rows)) for column in range(len(table.heading))]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        return "  ".join(padded).rstrip()

    return [table.title, line(table.heading), *(line(row) for row in table.rows)]


def _share(count: int, of: int) -> str:
    return f"{count / of:.3%}" if 0 < count < of else f"{count // of:.0%}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:,.2f} s" if seconds >= 10 else f"{seconds * 1000:,.1f} ms"


def _relative(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3%}" if abs(value) >= 5e-6 else "0%"


_FIGURES: Final[dict[str, Figure]] = {
    "never processed": lambda arm: _share(arm.never, arm.offered),
    "processed once": lambda arm: _share(arm.once, arm.offered),
    "processed twice or more": lambda arm: _share(arm.repeated, arm.offered),
    "lost, and told by the receiver": lambda arm: f"{arm.told:,} of {arm.never:,}" if arm.never else "-",
    "crashes of the receiver": lambda arm: f"{arm.crashes:,}",
    "transmissions per message": lambda arm: f"{arm.transmissions_per_message:.4f}",
    "datagrams per message, both ways": lambda arm: f"{arm.datagrams_per_message:.4f}",
    "bytes per message, both ways": lambda arm: f"{arm.bytes_per_message:,.1f}",
    "latency, mean": lambda arm: _time(arm.latency.mean),
    "latency, median": lambda arm: _time(arm.latency.p50),
    "latency, 99 %": lambda arm: _time(arm.latency.p99),
    "caller's wait, mean": lambda arm: _time(arm.wait.mean),
    "caller's wait, 99 %": lambda arm: _time(arm.wait.p99),
    "messages held at the sender, bytes": lambda arm: f"{arm.sender_bytes:,}",
    "memory at the receiver, bytes": lambda arm: f"{arm.receiver_bytes:,}",
    "kept over a crash, bytes": lambda arm: f"{arm.persistent_bytes:,}",
    "metrics: average off by": lambda arm: _relative(arm.effects.average_skew),
    "metrics: sum of deltas off by": lambda arm: _relative(arm.effects.total_skew),
    "heartbeats: false alerts": lambda arm: f"{arm.effects.false_alerts:,}",
    "cache: stale reads": lambda arm: _share(arm.effects.stale_reads, arm.offered),
    "logs: missing lines": lambda arm: f"{arm.effects.missing_lines:,}",
    "logs: repeated lines": lambda arm: f"{arm.effects.repeated_lines:,}",
    "logs: misplaced lines": lambda arm: f"{arm.effects.misplaced_lines:,}",
    "payments: lost": lambda arm: f"{arm.effects.lost_payments:,}",
    "payments: double charges": lambda arm: f"{arm.effects.double_charges:,}",
}
_SWEPT: Final = {
    "never processed",
    "processed twice or more",
    "datagrams per message, both ways",
    "bytes per message, both ways",
    "latency, mean",
    "latency, 99 %",
    "caller's wait, mean",
    "metrics: sum of deltas off by",
    "heartbeats: false alerts",
    "cache: stale reads",
    "payments: double charges",
}
