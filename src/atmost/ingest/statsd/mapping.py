"""Mapping rules: from StatsD's dotted names to names with labels, read from a statsd_exporter mapping file as it is.

Source: the mapping configuration of prometheus/statsd_exporter. What is kept of it: globs, `$1` in names and labels, the
order of rules (the first that matches holds, or with `glob_disable_ordering` the most literal one), `match_metric_type`,
`action`, `help`, `scale`, `honor_labels`, and regular expressions, which are tried in order where no glob matches. What has
no counterpart here, as `ttl`, quantiles and buckets of its own, is refused by name, because a rule that is half followed
shows wrong numbers.

Globs are matched in a tree of their parts, so that a name costs as many steps as it has parts, and not as there are rules.
Regular expressions need the extra `regex`, but for the usual last rule that drops all the rest.
Pure; not thread-safe, for the last names are remembered.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from atmost.errors import MissingExtra
from atmost.ingest.statsd.patterns import MAX_PATTERNS, Pattern, PatternSet
from atmost.ingest.statsd.values import StatsdKind, StatsdMetric

MAX_RULES: Final = 10_000
_REMEMBERED: Final = 4096
"""Names whose rule is remembered."""
_PART: Final = r"(?:\*|[0-9]+|[a-zA-Z_](?:-?[a-zA-Z0-9_])*)"
_GLOB: Final = re.compile(rf"{_PART}(?:\.{_PART})*")
_PLACE: Final = re.compile(r"\$\{?([0-9]{1,4})\}?")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ALL: Final = frozenset({".", ".*", ".+", "^.*$", "^.+$"})
"""Regular expressions that match every name; a rule that drops by one needs no engine."""
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

    def __init__(self, globs: dict[int, _Rule], regexes: list[tuple[_Rule, Pattern | None]], *, ordered: bool) -> None:
        """Takes checked rules.

        Args:
            globs: by their place in the file.
            regexes: in order, each with its pattern; None where it matches every name.
            ordered: whether the first glob that matches holds, else the most literal one.
        """
        self._rules = globs
        self._ordered = ordered
        self._tree = _Node()
        for index, rule in globs.items():
            node = self._tree
            for part in rule.match.split("."):
                node = node.parts.setdefault(part, _Node())
            node.rules.setdefault(_wanted(rule), index)
        self._regexes = regexes
        patterns = [pattern for _, pattern in regexes if pattern is not None]
        self._patterns = PatternSet(patterns) if patterns else None
        self._known: dict[tuple[str, str], _Match | None] = {}

    def apply(self, metric: StatsdMetric) -> StatsdMetric | None:
        """The metric under its new name with its labels, as it is where no rule matches, or None where one drops it.

        A value that a rule's scale makes infinite is dropped too, because it would spoil every total; and so is a metric
        whose new name is empty, because the groups in it matched nothing.
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
        if match.rule.action == "drop" or not match.name:
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
        return self._find_regex(name, kind)

    def _find_regex(self, name: str, kind: str) -> _Match | None:
        """The first rule of this metric's type whose regular expression matches."""
        fitting = set() if self._patterns is None else set(self._patterns.matching(name))
        place = -1
        for rule, pattern in self._regexes:
            place += pattern is not None
            if _wanted(rule) not in {kind, ""} or (pattern is not None and place not in fitting):
                continue
            if pattern is None or rule.action == "drop":
                return _Match(rule, name, {})
            fill = pattern.fill(name)
            if fill is not None:
                labels = {label: fill(str(text)) for label, text in rule.labels.items()}
                return _Match(rule, fill(rule.name), labels)
        return None

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
    globs: dict[int, _Rule] = {}
    regexes: list[tuple[_Rule, Pattern | None]] = []
    for number, rule in enumerate(file.mappings):
        is_regex = (rule.match_type or file.defaults.match_type) == "regex"
        try:
            _check(rule)
            if is_regex:
                regexes.append((rule, _pattern_of(rule)))
            else:
                _check_glob(rule)
                globs[number] = rule
        except ValueError as problem:
            raise ValueError(f"mappings[{number}].{problem}") from None
    if len(regexes) > MAX_PATTERNS:
        raise ValueError(f"{len(regexes):,} rules with regular expressions: at most {MAX_PATTERNS:,}")
    return StatsdMapping(globs, regexes, ordered=not file.defaults.glob_disable_ordering)


def _wanted(rule: _Rule) -> str:
    """The type of metric that a rule is for; empty for every type."""
    return "observer" if rule.match_metric_type == "timer" else rule.match_metric_type


def _check(rule: _Rule) -> None:
    """What must hold of every rule.

    Raises:
        ValueError: it does not.
    """
    if rule.action != "drop" and not rule.name:
        raise ValueError("name: missing")
    for label in rule.labels:
        if not _LABEL.fullmatch(label):
            raise ValueError(f"labels: {label!r} is not a label's name")


def _check_glob(rule: _Rule) -> None:
    if not _GLOB.fullmatch(rule.match):
        raise ValueError(f"match: {rule.match!r} is not a glob of parts between dots, each a word or '*'")
    stars = rule.match.split(".").count("*")
    for text in (rule.name, *map(str, rule.labels.values())):
        for place in _PLACE.findall(text):
            if not 1 <= int(place) <= stars:
                raise ValueError(f"name: ${place} refers to nothing, because {rule.match!r} has {stars} stars")


def _pattern_of(rule: _Rule) -> Pattern | None:
    """A rule's regular expression; None where it drops whatever comes."""
    if rule.match in _ALL and rule.action == "drop":
        return None
    try:
        pattern = Pattern(rule.match)
    except ValueError as error:
        raise ValueError(f"match: {rule.match[:60]!r} is not a regular expression of RE2: {error}") from None
    except MissingExtra as error:
        hint = "or write globs, or '.' with 'action: drop' for all the rest"
        raise ValueError(f"match_type: {rule.match[:60]!r}: {error}; {hint}") from None
    for text in (rule.name, *map(str, rule.labels.values())):
        if (reference := pattern.unknown_group(text)) is not None:
            raise ValueError(f"name: {reference} refers to nothing, because {rule.match[:60]!r} has no such group")
    return pattern


def _filled(text: str, captured: list[str]) -> str:
    return _PLACE.sub(lambda found: captured[int(found[1]) - 1], text)
