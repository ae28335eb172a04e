"""The figures and plots as one page: a file without scripts that holds its pictures, and so asks nobody for anything.

The tables say in text what the pictures show. The page holds no date: it is the same for the same comparison.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from atmost.lab.compare.table import Table

_STYLE: Final = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, "Liberation Sans", sans-serif; }
body { margin: 0 auto; padding: 1rem; max-width: 1200px; background: light-dark(#fff, #0e1217); color: light-dark(#1a1f26, #e4e8ee); }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 1.6rem 0 0.4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px; border-bottom: 1px solid light-dark(#dfe3e8, #2a323c); text-align: right; white-space: nowrap; font-weight: 400; }
th:first-child { text-align: left; white-space: normal; } thead th { font-weight: 600; }
.bad { font-weight: 700; color: light-dark(#b3300c, #ff9370); }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; }
"""


def page(title: str, tables: Sequence[Table], pictures: Mapping[str, bytes]) -> str:
    """The page.

    Args:
        title: what was compared.
        tables: in order.
        pictures: SVG, by the words that describe each.
    """
    body = [f"<h1>{escape(title)}</h1>", *map(_table, tables), "<h2>Plots</h2>", *map(_figure, pictures.items())]
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
    ]
    whole = ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", "<main>", *body, "</main>"]
    return "\n".join([*whole, "</body>", "</html>", ""])


def _table(table: Table) -> str:
    name = escape(table.title)
    heads = "".join(f'<th scope="col">{escape(cell or "figure")}</th>' for cell in table.heading)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(map(_cell, cells))}</tr>' for first, *cells in table.rows
    )
    made = f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    return f'<h2>{name}</h2>\n<div class="scroll" tabindex="0" role="group" aria-label="{name}">\n{made}\n</div>'


def _cell(text: str) -> str:
    return f'<td class="bad">{text}</td>' if text == "NO" else f"<td>{escape(text)}</td>"


def _figure(picture: tuple[str, bytes]) -> str:
    words, content = picture
    source = b64encode(content).decode()
    return f'<figure><img src="data:image/svg+xml;base64,{source}" alt="{escape(words)}; the tables have its figures"></figure>'
