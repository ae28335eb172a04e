"""The report as one HTML file: tables and plots, nothing loaded from elsewhere, no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from atmost.lab.compare.running import Comparison
from atmost.lab.compare.table import Table, checks_table, comparison_table, sweep_tables

_CSS: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0 2rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #8886; }
th:first-child, td:first-child { text-align: left; font-weight: 400; }
figure { margin: 1rem 0 2rem; background: #fff; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; }
.wrong { color: #c00; font-weight: 600; }
"""


def page(comparisons: Sequence[Comparison], field: str | None, plots: dict[str, dict[str, bytes]]) -> str:
    """The whole report; the same comparisons, the same bytes.

    Args:
        comparisons: one, or the points of a sweep.
        field: the option that was swept; None for a single comparison.
        plots: as `plots.draw` gives them.
    """
    return "\n".join(_lines(comparisons, field, plots)) + "\n"


def _lines(comparisons: Sequence[Comparison], field: str | None, plots: dict[str, dict[str, bytes]]) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Three delivery guarantees</title>\n<style>{_CSS}</style>\n</head>\n<body>"
    yield "<h1>Three delivery guarantees, the same faults</h1>"
    options = comparisons[0].options.as_dict()
    told = ", ".join(f"{name.replace('_', ' ')} {value:.15g}" for name, value in options.items() if name != field)
    yield f"<p>{escape(told)}.</p>"
    if not all(point.complete for point in comparisons):
        yield '<p class="wrong">Stopped early: a partial result.</p>'
    for name, files in plots.items():
        yield f'<figure aria-label="{escape(name)}">{_inline(files["svg"], name)}</figure>'
    tables = [comparison_table(comparisons[0])] if field is None else sweep_tables(field, comparisons)
    for table in tables:
        yield from _table(table)
    for point in comparisons:
        if field is not None:
            yield f"<h2>{escape(field.replace('_', ' '))} {getattr(point.options, field):g}</h2>"
        yield from _table(checks_table(point))
    yield "</body>\n</html>"


def _inline(svg: bytes, name: str) -> str:
    """The drawing alone, its identifiers its own: several stand in one page."""
    text = svg.decode()
    drawing = text[text.index("<svg") :].strip()
    for mark in ('id="', "url(#", 'href="#'):
        drawing = drawing.replace(mark, f"{mark}{name}-")
    return drawing


def _table(table: Table) -> Iterator[str]:
    yield f"<table><caption>{escape(table.title)}</caption>"
    yield (
        "<thead><tr>"
        + "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.heading)
        + "</tr></thead><tbody>"
    )
    for label, *cells in table.rows:
        figures = "".join(f"<td{' class=wrong' if cell == 'NO' else ''}>{escape(cell)}</td>" for cell in cells)
        yield f'<tr><th scope="row">{escape(label)}</th>{figures}</tr>'
    yield "</tbody></table>"
