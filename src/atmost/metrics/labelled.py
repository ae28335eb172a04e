"""The children of a metric with labels: one instrument for each set of values, and a bound on how many there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

from atmost.errors import MetricError
from atmost.metrics import wire
from atmost.metrics.instruments import Instrument
from atmost.metrics.reasons import DropReason

I = TypeVar("I", bound=Instrument)  # noqa: E741  the instrument


class Labelled(Generic[I]):
    """A metric with labels; keep what `labels` returns where the values are known beforehand."""

    __slots__ = ("_admit", "_children", "_names", "_refuse", "_unsent", "name")

    def __init__(
        self,
        name: str,
        names: tuple[str, ...],
        admit: Callable[[bytes], I | None],
        refuse: Callable[[DropReason], None],
        unsent: I,
    ) -> None:
        """Prepares a metric without any series yet.

        Args:
            name: as declared.
            names: of the labels.
            admit: makes the series of these encoded values, or says that there are too many.
            refuse: counts a refusal.
            unsent: the instrument that stands in for what is refused.
        """
        self.name = name
        self._names = names
        self._admit = admit
        self._refuse = refuse
        self._unsent = unsent
        self._children: dict[tuple[str, ...], I] = {}

    def labels(self, *values: object, **named: object) -> I:
        """The series with these label values, in the declared order or by name; any value is taken as its text.

        Beyond the limit of series, and for values that are too long, it is one that counts for nothing.

        Raises:
            MetricError: not exactly the declared labels.
        """
        try:
            child = self._children.get(values)  # type: ignore[arg-type] # other values than text are not found
        except TypeError:  # not hashable: its text is
            child = None
        return self._find(values, named) if child is None or named else child

    def __getattr__(self, verb: str) -> NoReturn:
        """Says what to do instead of `inc()` on a metric that has labels."""
        if verb.startswith("_"):
            raise AttributeError(verb)
        raise MetricError(self.name, f"declared with labels {self._names!r}: use .labels(…).{verb}")

    def __repr__(self) -> str:
        """Name and labels."""
        return f"<{self.name} by {', '.join(self._names)}>"

    def _find(self, values: tuple[object, ...], named: dict[str, object]) -> I:
        if named:
            if values or named.keys() != set(self._names):
                given = (*values, *named)
                raise MetricError(self.name, f"declared with labels {self._names!r}, not {given!r}")
            values = tuple(named[name] for name in self._names)
        if len(values) != len(self._names):
            raise MetricError(self.name, f"declared with labels {self._names!r}, and {len(values)} values were given")
        texts, encoded = _texts(values)
        if encoded is None:
            self._refuse(DropReason.BAD_LABEL)
            return self._unsent
        child = self._children.get(texts)
        if child is None:
            child = self._admit(encoded)
            if child is None:
                self._refuse(DropReason.SERIES_LIMIT)
                return self._unsent
            child = self._children.setdefault(texts, child)
        return child


def _texts(values: tuple[object, ...]) -> tuple[tuple[str, ...], bytes | None]:
    """The values as text, and encoded; no encoding when they have none or are too long."""
    try:
        texts = tuple(str(value).encode(errors="replace").decode() for value in values)
    except Exception:  # noqa: BLE001  a stranger's __str__ may raise anything
        return (), None
    encoded = wire.encode(texts)
    return texts, encoded if len(encoded) <= wire.MAX_LABEL_VALUES else None
