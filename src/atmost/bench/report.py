"""Results for people: tables, bars of text, and the same bars as a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final
from xml.sax.saxutils import escape

from atmost.bench.presets import COLLECTING, THROUGHPUT
from atmost.bench.results import Results, Row, figures
from atmost.bench.systems import CARRIER, NATS, ZMQ

_TITLES: Final = {
    "delivered": "delivered/s",
    "share": "share",
    "flat_ns": "ns a send, flat out",
    "burst_ns": "ns a send, bursts",
    "p50_us": "p50, µs",
    "p99_us": "p99, µs",
    "bare_us": "bare recv, µs",
    "receiver_us": "receiver, µs a datagram",
    "share_of_bare": "× bare",
    "collector_us": "collector, µs a line",
    "statsd_us": "npm's statsd, µs a line",
    "share_of_statsd": "× statsd",
    "ms": "ms",
    "ns": "ns",
    "bytes": "bytes",
}
_BAR: Final = 40
_NOISY: Final = 0.05


def as_text(results: Results) -> str:
    """Markdown tables with medians and spreads, ratios to the fastest peer, and what is behind them."""
    lines = list(_lines(results))
    return "\n".join(lines)


def _lines(results: Results) -> Iterator[str]:
    machine = results.machine
    yield f"atmost {machine['atmost']}, {machine['python']}, {machine['system']}"
    yield f"{machine['processor']}, {machine['cores']} cores, load {machine['load']}"
    yield ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    for table, rows in results.tables.items():
        yield ""
        yield f"## {table[:1].upper()}{table[1:]}"
        yield ""
        names = figures(rows.values())
        ratios = results.ratios(table, "delivered", ZMQ) if table == THROUGHPUT else {}
        heads = [_TITLES.get(name, name) for name in names] + ([f"× {ZMQ}"] if ratios else [])
        yield "| | " + " | ".join(heads) + " |"
        yield "| --- |" + " ---: |" * len(heads)
        for row in rows.values():
            cells = [_cell(row, name) for name in names] + ([_number(ratios.get(row.name))] if ratios else [])
            yield f"| {row.name} | " + " | ".join(cells) + " |"
        if table == THROUGHPUT:
            yield ""
            yield from _bars(rows, "delivered")
            over_nats = results.ratios(table, "delivered", NATS).get(CARRIER)
            yield ""
            if over_nats is not None:
                yield f"{CARRIER} delivered {_number(over_nats)} times what {NATS} did, through a server of the same kind"
        settings = dict.fromkeys(row.settings for row in rows.values() if row.settings)
        if settings:
            yield ""
            shared = table == COLLECTING
            yield from settings if shared else (f"{row.name}: {row.settings}" for row in rows.values() if row.settings)
    yield ""
    if results.missing:
        yield "Not measured: " + "; ".join(f"{name} ({reason})" for name, reason in results.missing.items())
    if results.steal:
        most = max(results.steal)
        yield f"CPU steal: at most {most:.1%} in one measurement" + (
            ", which is more than a measurement bears: repeat it on an idle machine" if most > _NOISY else ""
        )
    yield "Medians; ± is half the distance from the least to the greatest."
    if results.interrupted:
        yield "Interrupted: these are the figures so far."


def _cell(row: Row, figure: str) -> str:
    spread = row.spread(figure)
    text = _number(row.median(figure))
    return text if spread is None or not text else f"{text} ±{spread:.0%}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _sorted(rows: dict[str, Row], figure: str) -> list[tuple[str, float]]:
    found = [(row.name, value) for row in rows.values() if (value := row.median(figure))]
    return sorted(found, key=lambda pair: -pair[1])


def _bars(rows: dict[str, Row], figure: str) -> Iterator[str]:
    """Bars of text, longest first."""
    pairs = _sorted(rows, figure)
    if not pairs:
        return
    most, width = pairs[0][1], max(len(name) for name, _ in pairs)
    for name, value in pairs:
        yield f"{name:{width}} {'█' * max(1, round(value / most * _BAR))} {value:,.0f}"


def as_svg(results: Results, figure: str = "delivered") -> str:
    """The same bars as a picture; the C limit is left out, because nothing else could be told apart beside it."""
    rows = {name: row for name, row in results.tables.get(THROUGHPUT, {}).items() if not name.startswith("C limit")}
    pairs = _sorted(rows, figure)
    most = pairs[0][1] if pairs else 1.0
    height = 30 + 26 * len(pairs)
    place: Callable[[int], int] = lambda number: 26 + 26 * number  # noqa: E731
    bars = "\n".join(
        f'<text x="150" y="{place(n) + 15}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="158" y="{place(n)}" width="{max(1.0, value / most * 380):.1f}" height="20" '
        f'fill="{"#2563eb" if name.startswith("atmost") else "#9ca3af"}"/>'
        f'<text x="{164 + value / most * 380:.1f}" y="{place(n) + 15}">{value:,.0f}</text>'
        for n, (name, value) in enumerate(pairs)
    )
    title = "Messages of 128 bytes delivered to a Python handler, per second"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" width="640" height="{height}" role="img" '
        f'font-family="sans-serif" font-size="12" fill="#111827"><title>{title}</title>'
        f'<rect width="640" height="{height}" fill="#ffffff"/><text x="8" y="16" font-weight="bold">{title}</text>\n{bars}\n</svg>\n'
    )
