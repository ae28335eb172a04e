"""Lines of StatsD whose series is known by their bytes: taken without being parsed again.

Most lines differ from an earlier one in their value alone. What stands around the value (the *spelling*: name, tags, type, rate)
leads to the series that the parser found for it, and of the line only the value is read. All other lines are left to the parser.

Theory of operation.

*What is learned.* A spelling is learned from a line that the parser read to one unsigned value of a counter, a gauge or a histogram,
without a note and without a time of its own, and whose series exists. Any other plain number in the value's place, which is between the
last colon before the first `|` and that `|`, leads to the same reading: a colon before it can only be part of the tags, where the parser
takes the last one too. Signed values, exponents, packs and sets are always parsed.

*Why nothing else changes.* Values are gathered at their spelling in the order of arrival. Whatever touches their series in another way
books them first (`StatsdState`), so the order within a series stays.

*Bounds.* A series has at most `_SPELLINGS` spellings of at most `_LONGEST` characters. Whole lines and numbers are remembered up to a
number of them, and then forgotten together. Learning has a budget. So the most that a stranger can do is that others' lines are parsed.

Pure; not thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.statsd import Spelling, StatsdState
from atmost.ingest import statsd
from atmost.ingest.statsd import StatsdKind, StatsdMapping, StatsdMetric
from atmost.ingest.statsd.values import MAX_LINE

_SPELLINGS: Final = 2
"""Of one series."""
_LONGEST: Final = 256
"""Characters of a spelling."""
_NUMBER: Final = 32
"""Characters of a value; any such number is finite, also by its weight."""
_LEAST_RATE: Final = 1e-6
_REMEMBERED: Final = 4096
"""Whole lines, and as many numbers."""
_SHORT: Final = 8
"""Characters of a number that is remembered."""
_GATHERED: Final = 16_384
"""Values that may wait to be booked."""
_MARKS: Final = frozenset(",;#[")
"""Those that begin tags beside the name."""
_PERIOD: Final = 0.25
"""Seconds."""
_LEARNED: Final = 500
"""Lines that are looked at in a period, to learn from them."""
_AGAIN: Final = 10.0
"""Least time until whole lines are forgotten because there is no room for others (seconds)."""


class StatsdLines:
    """What is known of lines, for all listeners of one state."""

    def __init__(self, state: StatsdState) -> None:
        """Args: state: where the values go."""
        self._state = state
        self._spellings: dict[tuple[str, str], Spelling] = {}
        self._lines: dict[str, tuple[Spelling, float]] = {}
        """Whole lines of counters, because most count by one."""
        self._numbers: dict[str, float] = {}
        self._mapping: StatsdMapping | None = None
        self._forgotten = 0
        self._due = self._clear_at = float("-inf")
        self._budget = 0
        self._gathered = 0

    def take(
        self, lines: Sequence[str], start: int, mapping: StatsdMapping | None, stats: ListenerStats, now: float
    ) -> int:
        """Takes the lines from `start` on, up to the first that is not known; returns its place, or the number of lines.

        Args:
            lines: as from `split_lines`.
            start: the first to be taken.
            mapping: the operator's present rules.
            stats: counts what is taken.
            now: seconds.
        """
        state, known, spellings, numbers = self._state, self._lines, self._spellings, self._numbers
        if now >= self._due or mapping is not self._mapping or state.forgotten != self._forgotten:
            self._maintain(mapping, now)
        state.gather(now)
        empty = 0
        for place in range(start, len(lines)):
            line = lines[place]
            whole = known.get(line)
            if whole is not None:
                spelling, value = whole
            else:
                head, _, behind = line.partition("|")
                name, _, text = head.rpartition(":")
                found = spellings.get((name, behind))
                if found is None:
                    if line:
                        break
                    empty += 1
                    continue
                spelling = found
                number = numbers.get(text)
                if number is None:
                    if not _is_plain(text):
                        break
                    number = float(text)
                    if len(text) <= _SHORT and len(numbers) < _REMEMBERED:
                        numbers[text] = number
                value = number
                if spelling.counts and len(known) < _REMEMBERED:
                    known[line] = (spelling, value)
            if not spelling:
                state.open(spelling)
            spelling.append(value)
        else:
            place = len(lines)
        taken = place - start - empty
        stats.accepted += taken
        self._gathered += taken
        if self._gathered > _GATHERED:
            self._gathered = 0
            state.book_all()
        return place

    def unknown(self, lines: Sequence[str], start: int, end: int) -> int:
        """The place of the first line behind `start` that is known, or the end; needs no lock."""
        for place in range(start + 1, end):
            name, text, behind = _divided(lines[place])
            if (name, behind) in self._spellings and _is_plain(text):
                return place
        return end

    def learn(self, lines: Iterable[str]) -> None:
        """Learns the spellings of lines that the parser has read and the state has taken."""
        for line in lines:
            if self._budget <= 0:
                return
            name, text, behind = _divided(line)
            key = (name, behind)
            if key in self._spellings or len(name) + len(behind) > _LONGEST or not _is_plain(text):
                continue
            if "|T" in behind or (":" in name and not _MARKS.intersection(name)):  # a time of its own; a pack
                continue
            self._budget -= 1
            metric = _plain_metric(line)
            if metric is None:
                continue
            mapped = metric if self._mapping is None else self._mapping.apply(metric)
            if mapped is None or mapped.values is not metric.values:  # dropped or scaled by a rule
                continue
            series = self._state.find(mapped)
            if series is not None and len(series.spellings) < _SPELLINGS:
                spelling = Spelling(series, mapped.rate, self._state.scale(mapped, series))
                series.spellings.append(spelling)
                self._spellings[key] = spelling

    def _maintain(self, mapping: StatsdMapping | None, now: float) -> None:
        """Forgets what no longer holds or has no room, and renews the budget."""
        state = self._state
        if mapping is not self._mapping or state.forgotten != self._forgotten:
            self._mapping, self._forgotten = mapping, state.forgotten
            state.book_all()
            for spelling in self._spellings.values():
                spelling.series.spellings.clear()
            self._spellings.clear()
            self._lines.clear()
        if len(self._numbers) >= _REMEMBERED:
            self._numbers.clear()
        if len(self._lines) >= _REMEMBERED and now >= self._clear_at:
            self._clear_at = now + _AGAIN
            self._lines.clear()
        self._due, self._budget = now + _PERIOD, _LEARNED


def joins(datagram: bytes) -> bool:
    """Whether a datagram may be taken line by line; of one that is longer, or begins as a pickle does, the parser must see all."""
    return len(datagram) <= MAX_LINE and datagram[:1] != b"\0"


def split_lines(datagrams: Sequence[bytes]) -> list[str]:
    """The lines of datagrams, in which each character stands for a byte."""
    return b"\n".join(datagrams).decode("latin-1").split("\n")


def _divided(line: str) -> tuple[str, str, str]:
    """What stands before the value, the value, and what stands behind it; as in `take`."""
    head, _, behind = line.partition("|")
    name, _, text = head.rpartition(":")
    return name, text, behind


def _is_plain(text: str) -> bool:
    """Whether a text is digits with at most one point; `isdecimal` because in Latin-1 it knows no others than ASCII's."""
    return len(text) <= _NUMBER and text.replace(".", "", 1).isdecimal()


def _plain_metric(line: str) -> StatsdMetric | None:
    """The measurement of a line that is nothing else, and of which only the value may differ from others of its spelling."""
    read = statsd.parse(line.encode("latin-1"))
    if len(read.metrics) != 1 or read.notes or read.rejected:
        return None
    metric = read.metrics[0]
    varies = metric.kind is StatsdKind.SET or len(metric.values) != 1 or metric.relative or metric.timestamp is not None
    return None if varies or metric.rate < _LEAST_RATE else metric
