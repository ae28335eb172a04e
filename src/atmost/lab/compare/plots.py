"""The figures as plots: PNG and SVG, the same bytes for the same comparison (extra `lab`).

matplotlib is imported only when something is drawn. The plots hold no date, no random identifier and no machine's name.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from atmost.errors import MissingExtra
from atmost.lab.compare.measures import ArmReport
from atmost.lab.compare.running import Comparison

_COLOURS: Final = {"at-most-once": "#0072B2", "at-least-once": "#E69F00", "exactly-once": "#009E73"}
"""Colours that every kind of colour vision can distinguish (M. Okabe and K. Ito, 2008)."""
_MARKERS: Final = {"at-most-once": "o", "at-least-once": "s", "exactly-once": "^"}
_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "atmost",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
_MARKS: Final[dict[str, Any]] = {"markersize": 6, "fillstyle": "none"}
"""Hollow marks, so that both are visible where two guarantees cost the same."""
Value = Callable[[ArmReport], float | None]
_Panel = tuple[str, str, Value, str]
"""Title, unit, figure, and the name of its closed form, if it has one."""

_SWEPT: Final[dict[str, tuple[_Panel, _Panel]]] = {
    "outcome": (
        ("never processed", "% of messages", lambda arm: 100 * arm.never / arm.offered, "processed"),
        (
            "processed twice or more",
            "% of messages",
            lambda arm: 100 * arm.repeated / arm.offered,
            "processed twice or more",
        ),
    ),
    "cost": (
        ("transmissions", "per message", lambda arm: arm.transmissions_per_message, "transmissions per message"),
        ("bytes, both ways", "per message", lambda arm: arm.bytes_per_message, ""),
    ),
    "time": (
        ("latency, mean", "s", lambda arm: arm.latency.mean, "latency, mean (s)"),
        ("caller's wait, mean", "s", lambda arm: arm.wait.mean, "caller's wait, mean (s)"),
    ),
    "uses": (
        ("cache: stale reads", "% of reads", lambda arm: 100 * arm.effects.stale_reads / arm.offered, ""),
        ("metrics: sum of deltas off by", "%", lambda arm: 100 * arm.effects.total_skew, ""),
    ),
}
_SINGLE: Final[tuple[_Panel, ...]] = (
    ("never processed", "% of messages", lambda arm: 100 * arm.never / arm.offered, ""),
    ("processed twice or more", "% of messages", lambda arm: 100 * arm.repeated / arm.offered, ""),
    ("datagrams, both ways", "per message", lambda arm: arm.datagrams_per_message, ""),
    ("latency, 99 %", "s", lambda arm: arm.latency.p99, ""),
    ("caller's wait, mean", "s", lambda arm: arm.wait.mean, ""),
    ("cache: stale reads", "% of reads", lambda arm: 100 * arm.effects.stale_reads / arm.offered, ""),
)


def require() -> None:
    """Checks that plots can be drawn, before a long run.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401, ICN001  only checks that it is installed
    except ImportError:
        raise MissingExtra("lab", "drawing plots") from None


def draw(comparisons: Sequence[Comparison], field: str | None) -> dict[str, dict[str, bytes]]:
    """Draws all plots.

    Args:
        comparisons: one, or the points of a sweep.
        field: the option that was swept; None for a single comparison.

    Returns:
        The files' contents, by name of the plot and by format (`png`, `svg`).

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    require()
    with _style():
        if field is None:
            return {"comparison": _files(_bars(comparisons[0]))}
        return {name: _files(_curves(comparisons, field, panels)) for name, panels in _SWEPT.items()}


def described(name: str, field: str | None) -> str:
    """What a plot shows, in words."""
    panels = _SINGLE if field is None else _SWEPT[name]
    by = "by guarantee" if field is None else f"by {field.replace('_', ' ')}"
    return f"{', '.join(title for title, *_ in panels)}, {by}"


def save(plots: dict[str, dict[str, bytes]], folder: Path) -> list[Path]:
    """Writes them as `NAME.png` and `NAME.svg`, making the folder if need be.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, files in plots.items():
        for kind, content in files.items():
            path = folder / f"{name}.{kind}"
            path.write_bytes(content)
            written.append(path)
    return written


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    # The library's own defaults: a user's settings for other plots must not change these.
    with mpl.rc_context():
        mpl.rcdefaults()
        for name, value in _STYLE.items():
            mpl.rcParams[name] = value
        yield


def _curves(comparisons: Sequence[Comparison], field: str, panels: Sequence[_Panel]) -> Any:
    figure, axes = _figure(1, len(panels))
    xs = [getattr(point.options, field) for point in comparisons]
    for axis, (title, unit, value, theory) in zip(axes, panels, strict=True):
        for index, first in enumerate(comparisons[0].arms):
            colour, marker = _COLOURS[first.arm], _MARKERS[first.arm]
            ys = [value(point.arms[index]) for point in comparisons]
            axis.plot(xs, ys, marker, color=colour, label=first.arm, **_MARKS)
            known = [_theory(point, first.arm, theory) for point in comparisons]
            # If there is a closed form, the line shows it and the marks show the simulation.
            if any(expected is not None for expected in known):
                lost = title == "never processed"
                line = [None if y is None else 100 * (1 - y) if lost else y for y in known]
                scale = 100 if unit.startswith("%") and not lost else 1
                axis.plot(xs, [None if y is None else y * scale for y in line], "-", color=colour, linewidth=1)
            else:
                axis.plot(xs, ys, ":", color=colour, linewidth=1)
        axis.set(title=title, xlabel=field.replace("_", " "), ylabel=unit)
    axes[0].legend(title="marks: simulated, solid lines: theory", title_fontsize=8, fontsize=8)
    return figure


def _bars(comparison: Comparison) -> Any:
    figure, axes = _figure(2, 3)
    for axis, (title, unit, value, _) in zip(axes, _SINGLE, strict=True):
        for place, arm in enumerate(comparison.arms):
            height = value(arm) or 0.0
            axis.bar(place, height, color=_COLOURS[arm.arm], width=0.6)
            axis.annotate(f"{height:.3g}", (place, height), ha="center", va="bottom", fontsize=8)
        axis.set_xticks(range(len(comparison.arms)), [arm.arm.replace("-once", "") for arm in comparison.arms])
        axis.set(title=title, ylabel=unit)
        axis.margins(y=0.15)
    return figure


def _theory(point: Comparison, arm: str, figure: str) -> float | None:
    return next((check.theory for check in point.checks if (check.arm, check.figure) == (arm, figure)), None)


def _figure(rows: int, columns: int) -> tuple[Any, list[Any]]:
    """Draws without pyplot, which keeps figures alive and needs a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * columns if rows > 1 else 4.4 * columns, 3.1 * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _files(figure: Any) -> dict[str, bytes]:
    files = {}
    # No date and no version, so that the same figures give the same files.
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=110, metadata=metadata)
        files[kind] = buffer.getvalue()
    return files
