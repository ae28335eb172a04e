"""/metrics: the series of all senders under Prometheus names, and the collector's own account as `atmost_…`.

Requires the extra `server`. An `Exporter` belongs to one event loop.
Labels are bounded: series beyond `max_exported` are counted, and senders beyond `max_exported_senders` are folded into `other`.
An unknown value is absent, never 0; `atmost_series_completeness` reports how complete the shown series are.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import UNDERSCORES
from prometheus_client.registry import Collector, CollectorRegistry

from atmost.collector.api.views import Views
from atmost.collector.prometheus.names import UNSEEN, escaping_of, visible
from atmost.collector.prometheus.own_metrics import OwnMetrics
from atmost.collector.prometheus.user_metrics import UserMetrics

_FRESH: Final = 0.5
"""How long one rendering is reused (seconds)."""


class Exporter:
    """Renders what the collector knows as the text that Prometheus scrapes."""

    def __init__(self, views: Views, extra: Callable[[], dict[str, int]] = dict) -> None:
        """Args: views: of the state. extra: further counters of the process, by name without prefix and `_total`."""
        self._collector = _Everything(views, extra)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._collector)
        self._rendered: dict[str, tuple[float, bytes]] = {}

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition in the format that the Accept header asks for, and its content type."""
        try:
            encode, kind = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is not numbers
            encode, kind = choose_encoder("")
        now = time.monotonic()
        made, body = self._rendered.get(kind, (float("-inf"), b""))
        if now - made >= _FRESH:
            self._collector.escaping = escaping_of(kind)
            with _uncollected():
                body = encode(self._registry)
            if len(self._rendered) > 8:
                self._rendered.clear()
            self._rendered[kind] = (now, body)
        return body, kind


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looks for garbage meanwhile: all the samples of a rendering would be looked at, while every thread stands still.

    They hold no cycles, and are gone when it ends.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Everything(Collector):
    """The one collector in the registry."""

    def __init__(self, views: Views, extra: Callable[[], dict[str, int]]) -> None:
        self.escaping = UNDERSCORES
        """How the answer being made escapes names."""
        self._own = OwnMetrics(views, extra)
        self._user = UserMetrics(views)

    def collect(self) -> Iterable[Metric]:
        """Yields every family once: the collector's own first, so that no user's name can take theirs."""
        names: set[str] = set()
        own: list[Any] = list(self._own.families())
        names.update(family.name for family in own)
        user = list(self._user.families(names, self.escaping))
        for family in chain(own, self._own.of_export(self._user), user):
            yield _seen(family)


def _seen(family: Metric) -> Metric:
    """The family with nothing in its texts that a terminal obeys or nobody sees."""
    family.documentation = visible(family.documentation)
    for at, sample in enumerate(family.samples):
        if any(UNSEEN.search(value) for value in sample.labels.values()):
            labels = {name: visible(value) for name, value in sample.labels.items()}
            family.samples[at] = sample._replace(labels=labels)
    return family
