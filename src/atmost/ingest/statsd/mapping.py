"""Mapping rules: from StatsD's dotted names to names with labels, read from a statsd_exporter mapping file as it is.

Source: the mapping configuration of prometheus/statsd_exporter. What is kept of it: globs, `$1` in names and labels, the
order of rules (the first that matches holds, or with `glob_disable_ordering` the most literal one), `match_metric_type`,
`action`, `help`, `scale` and `honor_labels`. What has no counterpart here, as `ttl`, quantiles and buckets of its own, is
refused by name, because a rule that is half followed shows wrong numbers. Regular expressions are refused too, but for the
usual last rule that drops all the rest: a stranger chooses the names, and a pattern that backtracks would hold the collector.

Globs are matched in a tree of their parts, so that a name costs as many steps as it has parts, and not as there are rules.
Pure; not thread-safe, for the last names are remembered.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from atmost.errors import MissingExtra
from atmost.ingest.statsd.values import StatsdKind, StatsdMetric

MAX_RULES: Final = 10_000
_REMEMBERED: Final = 4096
"""Names whose rule is remembered."""
_PART: Final = r"(?:\*|[0-9]+|[a-zA-Z_](?:-?[a-zA-Z0-9_])*)"
_GLOB: Final = re.compile(rf"{_PART}(?:\.{_PART})*")
_PLACE: Final = re.compile(r"\$\{?([0-9]{1,4})\}?")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ALL: Final = frozenset({".", ".*", ".+", "^.*$", "^.+$"})
"""Regular expressions that match every name."""
_TYPES: Final = {
    StatsdKind.COUNTER: "counter",
    StatsdKind.GAUGE: "gauge",
    StatsdKind.TIMER: "observer",
    StatsdKind.HISTOGRAM: "observer",
    StatsdKind.DISTRIBUTION: "observer",
    StatsdKind.SET: "set",
}
_Observer = Literal["histogram", ""]
"""Ours are histograms; summaries cannot be added up, and are refused."""


class _Defaults(msgspec.Struct, forbid_unknown_fields=True):
    """The part `defaults` of the file."""

    match_type: Literal["glob", "regex", ""] = "glob"
    glob_disable_ordering: bool = False
    observer_type: _Observer = ""
    timer_type: _Observer = ""


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    """One of the file's `mappings`."""

    match: str
    name: str = ""
    labels: dict[str, str | int | float | bool] = {}
    match_type: Literal["glob", "regex", ""] = ""
    match_metric_type: Literal["counter", "gauge", "observer", "timer", ""] = ""
    action: Literal["map", "drop", ""] = "map"
    help: str = ""
    scale: float | None = None
    honor_labels: bool = False
    observer_type: _Observer = ""
    timer_type: _Observer = ""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """A whole file."""

    defaults: _Defaults = msgspec.field(default_factory=_Defaults)
    mappings: list[_Rule] = []


@dataclass(slots=True)
class _Node:
    """A place in the tree of globs: how names go on from here, and the first rule of each metric type that ends here."""

    parts: dict[str, _Node] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Match:
    """What becomes of the metrics of one name."""

    rule: _Rule
    name: str
    labels: dict[str, str]


class StatsdMapping:
    """The rules of a file."""

    def __init__(self, rules: list[_Rule], *, ordered: bool) -> None:
        """Args: rules: checked, in order. ordered: whether the first that matches holds, else the most literal one."""
        self._rules = rules
        self._ordered = ordered
        self._tree = _Node()
        self._last = next((index for index, rule in enumerate(rules) if rule.match in _ALL), None)
        for index, rule in enumerate(rules):
            if rule.match in _ALL:
                continue
            node = self._tree
            for part in rule.match.split("."):
                node = node.parts.setdefault(part, _Node())
            wanted = "observer" if rule.match_metric_type == "timer" else rule.match_metric_type
            node.rules.setdefault(wanted, index)
        self._known: dict[tuple[str, str], _Match | None] = {}

    def apply(self, metric: StatsdMetric) -> StatsdMetric | None:
        """The metric under its new name with its labels, as it is where no rule matches, or None where one drops it.

        A value that a rule's scale makes infinite is dropped too: it would spoil every total.
        """
        key = (metric.name, _TYPES[metric.kind])
        if key in self._known:
            match = self._known[key]
        else:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            match = self._known[key] = self._find(*key)
        if match is None:
            return metric
        if match.rule.action == "drop":
            return None
        tags = dict(metric.tags)
        labels = match.labels | tags if match.rule.honor_labels else tags | match.labels
        scale = match.rule.scale
        values = (
            metric.values
            if scale is None
            else tuple(value if isinstance(value, str) else value * scale for value in metric.values)
        )
        mapped = msgspec.structs.replace(
            metric, name=match.name, tags=tuple(labels.items()), values=values, mapped=True, help=match.rule.help
        )
        numbers = () if scale is None else [abs(value) for value in values if not isinstance(value, str)]
        return mapped if math.isfinite(math.fsum(numbers) / mapped.rate) else None

    def _find(self, name: str, kind: str) -> _Match | None:
        found = self._search(self._tree, name.split("."), 0, kind, [])
        if found is not None:
            index, captured = found
            rule = self._rules[index]
            labels = {label: _filled(str(text), captured) for label, text in rule.labels.items()}
            return _Match(rule, _filled(rule.name, captured), labels)
        return None if self._last is None else _Match(self._rules[self._last], name, {})

    def _search(
        self, node: _Node, parts: list[str], at: int, kind: str, captured: list[str]
    ) -> tuple[int, list[str]] | None:
        """The rule that holds below a node, with what its stars stand for; no deeper than the longest glob."""
        if at == len(parts):
            here = [node.rules[each] for each in (kind, "") if each in node.rules]
            return (min(here), captured) if here else None
        best: tuple[int, list[str]] | None = None
        ways = [("*", [*captured, parts[at]])]
        if parts[at] != "*":
            ways.insert(0, (parts[at], captured))
        for part, kept in ways:
            below = node.parts.get(part)
            found = None if below is None else self._search(below, parts, at + 1, kind, kept)
            if found is not None and (best is None or found[0] < best[0]):
                best = found
                if not self._ordered:
                    break
        return best


def read_mapping(text: str | bytes) -> StatsdMapping:
    """The rules of a mapping file.

    Args:
        text: YAML, as statsd_exporter reads it.

    Raises:
        ValueError: it is not YAML, or holds something that is unknown or not supported; the message names it and its place.
        MissingExtra: PyYAML is not installed.
    """
    try:
        file = msgspec.yaml.decode(text, type=_File, strict=False)  # YAML 1.1 takes 1e10 for text
    except ImportError:
        raise MissingExtra("server", "a StatsD mapping file") from None
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None
    if len(file.mappings) > MAX_RULES:
        raise ValueError(f"{len(file.mappings):,} rules: at most {MAX_RULES:,}")
    for number, rule in enumerate(file.mappings):
        problem = _problem(rule, file.defaults)
        if problem is not None:
            raise ValueError(f"mappings[{number}].{problem}")
    return StatsdMapping(file.mappings, ordered=not file.defaults.glob_disable_ordering)


def _problem(rule: _Rule, defaults: _Defaults) -> str | None:
    """What is wrong with a rule, or None."""
    regex = (rule.match_type or defaults.match_type) == "regex"
    if regex and not (rule.match in _ALL and rule.action == "drop"):
        return f"match_type: {rule.match!r} is a regular expression; write globs, or '.' with 'action: drop' for all the rest"
    if not regex and not _GLOB.fullmatch(rule.match):
        return f"match: {rule.match!r} is not a glob of parts between dots, each a word or '*'"
    if rule.action != "drop" and not rule.name:
        return "name: it is missing"
    for label in rule.labels:
        if not _LABEL.fullmatch(label):
            return f"labels: {label!r} is not a label's name"
    stars = rule.match.split(".").count("*")
    for text in (rule.name, *map(str, rule.labels.values())):
        for place in _PLACE.findall(text):
            if not 1 <= int(place) <= stars:
                return f"name: ${place} stands for nothing, because {rule.match!r} has {stars} stars"
    return None


def _filled(text: str, captured: list[str]) -> str:
    return _PLACE.sub(lambda found: captured[int(found[1]) - 1], text)
