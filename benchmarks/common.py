"""What the benchmarks share: their options, and how results are printed.

Results are rows, each a mapping, printed as a Markdown table or, with `--json`, as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from typing import Any


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser that shows the module's docstring as its help, with the option `--json`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def show(result: Any, *, as_json: bool, titles: Mapping[str, str] | None = None) -> None:
    """Prints a result.

    Args:
        result: rows, or a mapping of names to rows; JSON prints it as it is.
        as_json: whether JSON was asked for.
        titles: the columns to print and their headings; None prints all columns under their own names.
    """
    if as_json:
        print(json.dumps(result))
        return
    rows: Iterable[Mapping[str, Any]] = result
    if isinstance(result, Mapping):
        rows = [{"": name, **row} for name, row in result.items()]
    rows = list(rows)
    if titles is None:
        titles = {name: name.replace("_", " ") for name in dict.fromkeys(name for row in rows for name in row)}
    elif isinstance(result, Mapping):
        titles = {"": "", **titles}
    texts = {name: all(isinstance(row.get(name, ""), str) for row in rows) for name in titles}
    print("| " + " | ".join(titles.values()) + " |")
    print("| " + " | ".join("---" if texts[name] else "---:" for name in titles) + " |")
    for row in rows:
        print("| " + " | ".join(shown(row.get(name)) for name in titles) + " |")


def shown(value: Any) -> str:
    """Formats a cell: four digits of a fraction, thousands grouped, empty for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
