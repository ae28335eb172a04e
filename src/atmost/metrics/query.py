"""Answers over series of many lives: pooled readings, sums of increases, merged buckets, and how complete all that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from atmost.metrics.buckets import Buckets
from atmost.metrics.history import RECENT, Series
from atmost.metrics.life import Life, PlainSession


class Found(NamedTuple):
    """A series, and whose it is."""

    owner: Life | PlainSession
    labels: tuple[str, ...]
    series: Series

    @property
    def sender(self) -> str:
        """The sender's name."""
        return self.owner.sender

    @property
    def last(self) -> float | None:
        """The last value; of a histogram the observations."""
        return self.series.value if self.series.buckets is None else self.series.buckets.count

    def rows(self, first: int, last: int, width: float) -> Iterator[tuple[int, tuple[float, int, int, float]]]:
        """The slots from first to last by their place among them; what a session lost belongs to each of its readings."""
        ring = self.series.ring.for_width(width)
        for row in ring.rows(first * width, (last + 0.5) * width):
            yield round(row[0] / width) - first, row
        if isinstance(self.owner, PlainSession):
            for start, came, gone, _ in self.owner.all.for_width(width).rows(first * width, (last + 0.5) * width):
                if gone:
                    yield (
                        round(start / width) - first,
                        (start, 0, _share(ring.window(start, start + width / 2)[0], came, gone), 0.0),
                    )


class Match(NamedTuple):
    """Which series are asked for."""

    name: str | None
    label_names: tuple[str, ...]
    labels: Mapping[str, str]
    sender: str | None

    def wants(self, sender: str) -> bool:
        """Whether this sender is asked for."""
        return self.sender is None or self.sender == sender

    def fits(self, name: str, labels: tuple[str, ...]) -> bool:
        """Whether this series is asked for."""
        if self.name is not None and name != self.name:
            return False
        if not self.labels:
            return True
        has = dict(zip(self.label_names, labels, strict=False))
        return all(has.get(label) == value for label, value in self.labels.items())

    def counted(self, totals: Mapping[tuple[str, str, tuple[str, ...]], float]) -> list[float]:
        """Of totals by sender, name and labels those that are."""
        return [
            count for (sender, name, labels), count in totals.items() if self.wants(sender) and self.fits(name, labels)
        ]

    def among(self, lives: Iterable[Life], plain: Iterable[PlainSession]) -> Iterator[Found]:
        """The series that are."""
        return (found for _, found in self.named(lives, plain))

    def named(self, lives: Iterable[Life], plain: Iterable[PlainSession]) -> Iterator[tuple[str, Found]]:
        """The series that are, with the names of their metrics."""
        for life in lives:
            if self.wants(life.sender):
                for (name, labels), series in life.series.items():
                    if self.fits(name, labels):
                        yield name, Found(life, labels, series)
        for session in plain:
            if self.wants(session.sender):
                for name, series in session.series.items():
                    if self.fits(name, ()):
                        yield name, Found(session, (), series)


@dataclass(frozen=True, slots=True)
class Window:
    """What is known of a stretch of time."""

    seconds: float
    received: int
    """Readings known: those that came, and those known to be unchanged."""
    lost: int
    overdue: int
    """Readings that should have come by now from senders that fell silent."""
    mean: float | None = None
    """Of a gauge's or plain readings' values as received; None when there are none."""
    last: float | None = None
    """The latest value of a gauge (of several lives: their mean) within the window."""
    increase: float | None = None
    """Of a counter, or of a histogram's observations, in what was received: a gap is caught up by the next reading."""
    buckets: Buckets = field(default_factory=Buckets)
    """Of a histogram."""

    @property
    def completeness(self) -> float | None:
        """received / (received + lost + overdue); None when nothing was to come."""
        due = self.received + self.lost + self.overdue
        return self.received / due if due else None

    @property
    def rate(self) -> float | None:
        """The increase a second."""
        return None if self.increase is None else self.increase / self.seconds

    def quantile(self, share: float) -> float | None:
        """The value that this share of a histogram's observations does not exceed, within 1 %; None when unknown."""
        return self.buckets.quantile(share)


def window(kind: str, found: Iterable[Found], seconds: float, now: float, width: float) -> Window:
    """What is known of the last seconds.

    Args:
        kind: the metric's.
        found: the series.
        seconds: how far back.
        now: on the reader's clock.
        width: of a slot, seconds.
    """
    start, end = _bounds(seconds, now, width)
    received = lost = overdue = 0
    total = 0.0
    lasts: list[float] = []
    buckets = Buckets()
    for each in found:
        came, gone, amount = each.series.ring.window(start, end)
        received += came
        lost += gone + _lost_plain(each, start, end)
        total += amount
        overdue += _overdue(each.owner, now, seconds)
        if each.series.value is not None and each.series.updated >= start:
            lasts.append(each.series.value)
        if each.series.buckets is not None:
            buckets.merge(each.series.between(start // RECENT * RECENT, end))
    if kind in {"gauge", "reading"}:
        mean = total / received if received else None
        last = sum(lasts) / len(lasts) if lasts else None
        return Window(seconds, received, lost, overdue, mean=mean, last=last)
    return Window(seconds, received, lost, overdue, increase=total if received else None, buckets=buckets)


def completeness(found: Iterable[Found], seconds: float, now: float, width: float) -> float | None:
    """received / (received + lost) over all the series; None when nothing was to come."""
    start, end = _bounds(seconds, now, width)
    received = lost = 0
    for each in found:
        came, gone, _ = each.series.ring.window(start, end)
        received += came
        lost += gone + _lost_plain(each, start, end)
    return received / (received + lost) if received + lost else None


def totals(found: Iterable[Found], retired: list[float]) -> float | None:
    """The sum over lives; None when nothing arrived."""
    counts = [*retired, *(each.last for each in found if each.last is not None)]
    return sum(counts) if counts else None


def _bounds(seconds: float, now: float, width: float) -> tuple[float, float]:
    """The slots of the last seconds, the present one among them."""
    last = now // width
    return (last + 1) * width - -(-seconds // width) * width, (last + 0.5) * width


def _overdue(owner: Life | PlainSession, now: float, seconds: float) -> int:
    """What a silent owner should have sent in the window; nothing of one that was silent all through it."""
    if isinstance(owner, Life):
        return owner.overdue(now) if now - owner.latest_at < seconds else 0
    silent = now - owner.latest_at
    if owner.closed or not owner.interval or silent < 3 * owner.interval or silent >= seconds:
        return 0
    return int(silent / owner.interval)


def _lost_plain(found: Found, start: float, end: float) -> int:
    """What a session lost of one plain reading, see `_share`."""
    if not isinstance(found.owner, PlainSession):
        return 0
    came, gone, _ = found.owner.all.window(start, end)
    return _share(found.series.ring.window(start, end)[0], came, gone)


def _share(own: int, came: int, gone: int) -> int:
    """How many of a session's lost messages were this reading: as large a share as of those that came, and not less than one."""
    return max(1, round(gone * own / came)) if gone and came else min(1, gone)
