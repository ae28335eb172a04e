"""Which names metrics and labels may have: the data model of Prometheus, and the suffixes of OpenMetrics.

https://prometheus.io/docs/concepts/data_model/, OpenMetrics 1.0 sections "MetricFamily" and "Suffixes".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from atmost.errors import MetricError
from atmost.metrics.wire import MAX_DECLARATION, MAX_LABELS, MAX_NAME, MAX_UNIT

_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_UNIT: Final = re.compile(r"[a-zA-Z0-9_]*")
_RESERVED: Final = {"le", "quantile"}
_SUFFIXES: Final = ("_total", "_created", "_bucket", "_count", "_sum", "_info")
"""Names that exporters make out of others: a gauge of that name would be taken for part of something else."""


def check_name(name: object, kind: str, unit: object) -> str:
    """Returns the name when a metric of this kind and unit may have it.

    Raises:
        MetricError: it breaks a rule; the text says which, and what would be right.
    """
    if not isinstance(name, str) or not _METRIC.fullmatch(name):
        raise MetricError(name, "a name has letters, digits, '_' and ':', and begins with no digit")
    if len(name) > MAX_NAME:
        raise MetricError(name, f"a name has at most {MAX_NAME} characters")
    if kind == "counter":
        if not name.endswith("_total") or name == "_total":
            raise MetricError(name, f"a counter's name ends in _total: {name.removesuffix('_count')}_total")
    elif taken := next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None):
        raise MetricError(name, f"a {kind}'s name must not end in {taken}, which means another kind of metric")
    if not isinstance(unit, str) or not _UNIT.fullmatch(unit) or len(unit) > MAX_UNIT:
        raise MetricError(name, f"a unit is a word like seconds or bytes, not {unit!r}")
    if unit and not name.removesuffix("_total").endswith(f"_{unit}"):
        raise MetricError(name, f"the name must end in its unit: …_{unit}{'_total' if kind == 'counter' else ''}")
    return name


def check_labels(name: str, labels: Iterable[str]) -> tuple[str, ...]:
    """Returns the label names when the metric may have them.

    Raises:
        MetricError: they are not several names, break a rule, or are too many.
    """
    if isinstance(labels, str):
        raise MetricError(name, f"labels are several names: ({labels!r},) for one")
    try:
        names = tuple(labels)
    except TypeError:
        raise MetricError(name, f"labels are several names, not {labels!r}") from None
    for label in names:
        if not isinstance(label, str) or not _LABEL.fullmatch(label) or label.startswith("__"):
            raise MetricError(
                name, f"label {label!r}: has letters, digits and '_', begins with no digit and not with '__'"
            )
        if label in _RESERVED:
            raise MetricError(name, f"label {label!r} is taken by histograms and summaries: choose another name")
    if len(set(names)) != len(names):
        raise MetricError(name, f"labels {names!r}: each name once")
    if len(names) > MAX_LABELS:
        raise MetricError(name, f"at most {MAX_LABELS} labels, not {len(names)}")
    if (size := len(name) + sum(map(len, names))) > MAX_DECLARATION:
        raise MetricError(name, f"name and label names have {size} characters, at most {MAX_DECLARATION}")
    return names
