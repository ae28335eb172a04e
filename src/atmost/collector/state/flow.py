"""What happened to each sender's messages over time: delivered, lost, late and refused, as series like any other.

The totals are read about once a second, and the growth of each is booked in the slot of that moment. A sender has its own
series while it has its own label in `SenderTotals`; all other senders share the series of `other`.

Pure; not thread-safe.
"""

from __future__ import annotations

from typing import Final

import msgspec

from atmost.collector.options import COARSE_SLOT, COARSE_SLOTS, FINE_SLOTS
from atmost.collector.state.sender_totals import SenderTotals
from atmost.collector.state.statsd import StatsdSeries
from atmost.metrics.history import Ring

FIGURES: Final = ("delivered", "lost", "late", "refused")
"""The figures booked. Losses are gross: a message that came late stays in `lost`, and counts in `late` too."""
PREFIX: Final = "atmost."
"""How the names of these series begin."""
NOW: Final = 60.0
"""What "now" means everywhere: the last minute (seconds)."""
_BRIDGED: Final = 5
"""At most this many slots between two readings count as empty, not unknown: readings are not exactly a second apart."""


class Minute(msgspec.Struct, kw_only=True):
    """What happened in the last minute, in messages; `refused` in datagrams."""

    delivered: int
    lost: int
    late: int
    refused: int


class SenderFlow:
    """The series of all senders that have a label."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, str], StatsdSeries] = {}
        """By figure and sender."""
        self._before: dict[tuple[str, str], int] = {}

    def observe(self, totals: SenderTotals, now: float) -> None:
        """Books what has happened since the last call.

        Args:
            totals: the totals at this moment.
            now: seconds since 1970.
        """
        before, self._before = self._before, {}
        for figure in FIGURES:
            for sender, total in totals.by_sender(figure).items():
                key = (figure, sender)
                self._before[key] = total
                series = self.series.get(key)
                if series is None:
                    ring = Ring(1.0, FINE_SLOTS, Ring(COARSE_SLOT, COARSE_SLOTS))
                    series = self.series[key] = StatsdSeries(PREFIX + figure, "counter", (), ring, "")
                    series.sender, series.source = sender, "collector"
                _bridge(series.ring, now)
                series.ring.receive(now, max(0, total - before.get(key, 0)))
                series.value, series.updated = float(total), now
        for key in self.series.keys() - self._before.keys():  # the sender has lost its label
            del self.series[key]

    def minute(self, sender: str, now: float) -> Minute | None:
        """The last minute of a sender; None when it has no series of its own."""
        found = [self.series.get((figure, sender)) for figure in FIGURES]
        if any(series is None for series in found):
            return None
        return Minute(**{figure: _last_minute(each, now) for figure, each in zip(FIGURES, found, strict=True) if each})

    def minute_of_all(self, now: float) -> Minute:
        """The last minute of all senders together."""
        sums = dict.fromkeys(FIGURES, 0)
        for (figure, _), series in self.series.items():
            sums[figure] += _last_minute(series, now)
        return Minute(**sums)


def _last_minute(series: StatsdSeries, now: float) -> int:
    return round(series.ring.window(now - NOW, now + 1.0)[2])


def _bridge(ring: Ring, now: float) -> None:
    """Books slots without a reading as empty; after a longer pause they stay unknown."""
    number = int(now // ring.width)
    if 0 < number - ring.newest - 1 <= _BRIDGED and ring.newest >= 0:
        for slot in range(ring.newest + 1, number):
            ring.receive(slot * ring.width, 0.0)
