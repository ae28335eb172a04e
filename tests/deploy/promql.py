"""What a PromQL expression would yield over a given scrape: its labels, or why it can yield nothing.

The parser is the one of the `promql-parser` package; the inference of labels follows Prometheus' documentation of
operators and aggregations.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser as ast

TARGET = frozenset({"instance", "job"})
"""What Prometheus adds to whatever it scrapes."""
SETS = {"and", "or", "unless"}
KEEP = {"topk", "bottomk"}


class Doubt(AssertionError):
    """An expression speaks of something that nobody exposes."""


class Scrape:
    """Names with their labels, and the values that labels can have."""

    def __init__(self, samples: Mapping[str, list[dict[str, str]]], values: Mapping[tuple[str, str], set[str]]) -> None:
        """Args: samples: by name, the labels of each. values: by name and label, those that appear only on trouble."""
        self._samples = dict(samples)
        self._values = values
        self._known = {name: frozenset.intersection(*map(frozenset, rows)) for name, rows in samples.items()}

    def record(self, name: str, labels: frozenset[str]) -> None:
        """A recording rule adds a name."""
        self._samples[name], self._known[name] = [], labels - TARGET

    def knows(self, name: str, labels: frozenset[str]) -> None:
        """What appears only on trouble, and is written down as such."""
        self._samples.setdefault(name, [])
        self._known.setdefault(name, labels)

    def labels(self, selector: ast.VectorSelector) -> frozenset[str]:
        """The labels of what a selector finds."""
        name = selector.name
        if name not in self._known:
            raise Doubt(f"nobody exposes {name}")
        labels = self._known[name] | TARGET
        for matcher in selector.matchers.matchers:
            if matcher.name not in labels:
                raise Doubt(f"{name} has no label {matcher.name}: {sorted(labels)}")
            self._check_value(name, matcher)
        return labels

    def _check_value(self, name: str, matcher: ast.Matcher) -> None:
        if matcher.name in TARGET or (name, matcher.name) == ("up", "job"):
            return
        there = {row[matcher.name] for row in self._samples[name] if matcher.name in row}
        there |= self._values.get((name, matcher.name), set())
        if not there:  # recorded: the values were checked where it is made
            return
        plain = matcher.op in (ast.MatchOp.Equal, ast.MatchOp.NotEqual)
        for wanted in [matcher.value] if plain else matcher.value.split("|"):
            if not any(wanted == value if plain else re.fullmatch(wanted, value) for value in there):
                raise Doubt(f"{name} has no {matcher.name}={wanted}: {sorted(there)}")


def infer(expression: Any, scrape: Scrape) -> frozenset[str]:
    """The labels of an expression's result.

    Raises:
        Doubt: something in it is not in the scrape.
    """
    match expression:
        case ast.VectorSelector():
            return scrape.labels(expression)
        case ast.MatrixSelector():
            return scrape.labels(expression.vector_selector)
        case ast.ParenExpr() | ast.SubqueryExpr() | ast.UnaryExpr():
            return infer(expression.expr, scrape)
        case ast.NumberLiteral() | ast.StringLiteral():
            return frozenset()
        case ast.Call():
            return frozenset().union(*(infer(argument, scrape) for argument in expression.args))
        case ast.AggregateExpr():
            return _aggregated(expression, infer(expression.expr, scrape))
        case ast.BinaryExpr():
            return _joined(expression, infer(expression.lhs, scrape), infer(expression.rhs, scrape))
    raise Doubt(f"{type(expression).__name__} is not understood here")


def selectors(expression: Any) -> Iterator[ast.VectorSelector]:
    """Every selector of an expression."""
    found: list[ast.VectorSelector] = []

    def visit(node: Any) -> None:
        if isinstance(node, ast.VectorSelector):
            found.append(node)
        elif isinstance(node, ast.MatrixSelector):
            found.append(node.vector_selector)

    ast.walk(expression, visit, None)
    return iter(found)


def _aggregated(expression: ast.AggregateExpr, inner: frozenset[str]) -> frozenset[str]:
    modifier = expression.modifier
    if modifier is None:
        return inner if str(expression.op) in KEEP else frozenset()
    named = frozenset(modifier.labels)
    if not named <= inner:
        raise Doubt(f"{expression.op} by {sorted(named)} over {sorted(inner)}")
    if str(expression.op) in KEEP:
        return inner
    return named if modifier.type == ast.AggModifierType.By else inner - named


def _joined(expression: ast.BinaryExpr, left: frozenset[str], right: frozenset[str]) -> frozenset[str]:
    scalar = ast.NumberLiteral
    if isinstance(expression.lhs, scalar) or isinstance(expression.rhs, scalar):
        return left | right
    matching = expression.modifier.matching if expression.modifier is not None else None
    if str(expression.op) == "or":
        return left | right
    if matching is None:
        if left != right:
            raise Doubt(f"{expression.op} matches {sorted(left)} with {sorted(right)}: never equal")
        return left
    named = frozenset(matching.labels)
    assert matching.type == ast.LabelModifierType.Include, "say what matches, not what does not"
    if not named <= left & right:
        raise Doubt(f"{expression.op} on {sorted(named)} between {sorted(left)} and {sorted(right)}")
    return left if str(expression.op) in SETS else named
