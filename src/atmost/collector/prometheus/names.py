"""Turns any name into one that Prometheus accepts, in the form the scraper asks for, avoiding reserved names.

A scraper that accepts UTF-8 names (`escaping=allow-utf-8` in its Accept header) gets names as they were sent; others get
letters, digits and underscores. prometheus_client handles the escaping schemes between the two. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from prometheus_client.openmetrics.exposition import UNDERSCORES, escape_label_name, escape_metric_name

from atmost.core.names import HARMFUL
from atmost.metrics.registry import is_reserved

_BAD: Final = re.compile(r"[^a-zA-Z0-9_]")
UNSEEN: Final = re.compile(f"\ufffd|{HARMFUL.pattern}")
"""What `visible` shows by its number."""
_ESCAPING: Final = re.compile(r"escaping=([a-z0-9-]+)")
_RESERVED: Final = frozenset({"le", "quantile", "sender"})
_SUFFIXES: Final = ("_total", "_created", "_bucket", "_count", "_sum", "_info")


def escaping_of(content_type: str) -> str:
    """The escaping scheme of an answer of this content type."""
    found = _ESCAPING.search(content_type)
    return UNDERSCORES if found is None else found[1]


def visible(text: str) -> str:
    """The text with what a terminal obeys, and what nobody sees, shown by its number, as in `\ufffd<1b>`.

    Different texts stay different, or two series could become one: therefore the sign itself is shown so too.
    """
    return UNSEEN.sub(lambda found: f"\ufffd<{ord(found.group()):x}>", text)


def metric_name(name: str, kind: str, unit: str = "", escaping: str = UNDERSCORES) -> str:
    """The family's name, without the `_total` of counters.

    Colons are for recording rules, so they become underscores. Names that Prometheus uses itself, such as `up`, get the prefix
    `exported_`.

    Args:
        name: as sent, such as `bar.hits`.
        kind: counter, gauge, histogram, reading or set.
        unit: appended if the name does not end in it.
        escaping: prometheus_client's scheme. Only the underscore scheme is applied here; the encoder applies the others.
    """
    raw = visible(name.replace(":", "_")) or "_"
    plain = _underscored(raw)
    text = plain if escaping == UNDERSCORES else raw
    if is_reserved(plain):
        text = f"exported_{text}"
    if kind == "counter":
        return text.removesuffix("_total") or "_"
    if unit and not text.endswith(f"_{unit}"):
        text = f"{text}_{unit}"
    if text.endswith(_SUFFIXES):
        text += "_value"  # else it would be read as a sample of another family
    return text


def label_names(names: Iterable[str], escaping: str = UNDERSCORES) -> list[str]:
    """The labels' names, in order; reserved ones get a prefix.

    Two names that would look alike both get the first one's name, because a repeated label would make the scrape invalid.
    """
    shown: dict[str, str] = {}
    result = []
    for name in names:
        text = _underscored(name or "_") if escaping == UNDERSCORES else visible(name) or "_"
        # The scheme `dots` doubles each underscore.
        while text.startswith("__") or escape_label_name(text, escaping).startswith("__"):
            text = text[1:] or "label"
        text = f"exported_{text}" if text in _RESERVED else text
        result.append(shown.setdefault(escape_label_name(text, escaping), text))
    return result


def as_shown(name: str, escaping: str) -> str:
    """A metric's name as it appears in the answer, to compare names by."""
    return str(escape_metric_name(name, escaping))


def _underscored(name: str) -> str:
    text = _BAD.sub("_", name)
    return f"_{text}" if text[0].isdigit() else text
