"""From any name to one that Prometheus takes, as the scraper asks for it, without a reserved meaning.

A scraper that takes UTF-8 names says so (`escaping=allow-utf-8` in its Accept header) and gets names as they are sent; others
get letters, digits and underscores. The schemes between are prometheus_client's own. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from prometheus_client.openmetrics.exposition import UNDERSCORES, escape_label_name, escape_metric_name

from atmost.metrics.registry import is_reserved

_BAD: Final = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPING: Final = re.compile(r"escaping=([a-z0-9-]+)")
_RESERVED: Final = frozenset({"le", "quantile", "sender"})
_SUFFIXES: Final = ("_total", "_created", "_bucket", "_count", "_sum", "_info")


def escaping_of(content_type: str) -> str:
    """The scheme by which names are escaped in an answer of this type."""
    found = _ESCAPING.search(content_type)
    return UNDERSCORES if found is None else found[1]


def metric_name(name: str, kind: str, unit: str = "", escaping: str = UNDERSCORES) -> str:
    """The family's name, without the `_total` that counters are shown with.

    Colons belong to recording rules, so they become underscores. What Prometheus writes itself, as `up`, gets the prefix `exported_`.

    Args:
        name: as the sender has it, such as `bar.hits`.
        kind: counter, gauge, histogram, reading or set.
        unit: appended where the name does not end in it.
        escaping: prometheus_client's scheme. Only underscores are put in here; the encoder does the others.
    """
    raw = name.replace(":", "_") or "_"
    plain = _underscored(raw)
    text = plain if escaping == UNDERSCORES else raw
    if is_reserved(plain):
        text = f"exported_{text}"
    if kind == "counter":
        return text.removesuffix("_total") or "_"
    if unit and not text.endswith(f"_{unit}"):
        text = f"{text}_{unit}"
    if text.endswith(_SUFFIXES):
        text += "_value"  # else it would be read as a part of another family
    return text


def label_names(names: Iterable[str], escaping: str = UNDERSCORES) -> list[str]:
    """The labels' names, in order; those with a meaning of their own are prefixed.

    Of two that are shown alike, both get the first one's name: a label that stood twice would make the scrape invalid.
    """
    shown: dict[str, str] = {}
    result = []
    for name in names:
        text = _underscored(name or "_") if escaping == UNDERSCORES else name or "_"
        while text.startswith("__"):
            text = text[1:]
        text = f"exported_{text}" if text in _RESERVED else text
        result.append(shown.setdefault(escape_label_name(text, escaping), text))
    return result


def as_shown(name: str, escaping: str) -> str:
    """A metric's name as it stands in the answer, by which names are told apart."""
    return str(escape_metric_name(name, escaping))


def _underscored(name: str) -> str:
    text = _BAD.sub("_", name)
    return f"_{text}" if text[0].isdigit() else text
