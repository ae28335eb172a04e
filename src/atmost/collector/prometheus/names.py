"""From any name to one that Prometheus takes: letters, digits and underscores (its data model), without a reserved meaning.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from atmost.metrics.registry import is_reserved

_BAD_IN_METRIC: Final = re.compile(r"[^a-zA-Z0-9_]")
_BAD_IN_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
_RESERVED: Final = frozenset({"le", "quantile", "sender"})
_SUFFIXES: Final = ("_total", "_created", "_bucket", "_count", "_sum", "_info")


def metric_name(name: str, kind: str, unit: str = "") -> str:
    """The family's name, without the `_total` that counters are shown with.

    Colons belong to recording rules, so they become underscores. What Prometheus writes itself, as `up`, gets the prefix `exported_`.

    Args:
        name: as the sender has it, such as `bar.hits`.
        kind: counter, gauge, histogram, reading or set.
        unit: appended where the name does not end in it.
    """
    text = _BAD_IN_METRIC.sub("_", name) or "_"
    if text[0].isdigit():
        text = f"_{text}"
    if is_reserved(text):
        text = f"exported_{text}"
    if kind == "counter":
        return text.removesuffix("_total") or "_"
    if unit and not text.endswith(f"_{unit}"):
        text = f"{text}_{unit}"
    if text.endswith(_SUFFIXES):
        text += "_value"  # else it would be read as a part of another family
    return text


def label_names(names: Iterable[str]) -> list[str]:
    """The labels' names, in order; those with a meaning of their own are prefixed."""
    shown = []
    for name in names:
        text = _BAD_IN_LABEL.sub("_", name) or "_"
        if text[0].isdigit():
            text = f"_{text}"
        while text.startswith("__"):
            text = text[1:]
        shown.append(f"exported_{text}" if text in _RESERVED else text)
    return shown
