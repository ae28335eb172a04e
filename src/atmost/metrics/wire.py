"""How a snapshot of a registry travels: parts that each fit a datagram, each saying what it is part of.

A part stands for itself: it names its sender and series, and its values are cumulative since the registry's life began,
so a lost part costs resolution and nothing else. What arrives is checked here completely, and nothing here raises for it.
Every text is bounded in bytes, because a receiver keeps them; docs/metrics.md ("On the wire") has the format and vectors.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Final

import msgspec

from atmost.core.limits import OVERHEAD
from atmost.metrics.buckets import MAX_BOUNDS, MAX_SCALE, MIN_SCALE

VERSION: Final = 1
MAX_MESSAGE: Final = 1432 - OVERHEAD
"""Subject and payload of one part, encoded, so that it fits a datagram on any network, bytes."""
HOLD: Final = 3
"""A series is sent in the snapshot in which it changed and in the next two. Its absence from a snapshot therefore says that
it did not change during the last three, and one lost snapshot leaves no doubt about it."""
FINALS: Final = 5
"""How often the last snapshot is sent: all of it is lost once in 100,000 times at 10 % loss, and the reader knows when it was."""
MAX_NAME: Final = 128
"""A metric's, a label's or a sender's name, bytes."""
MAX_LABELS: Final = 16
MAX_DECLARATION: Final = 256
"""Name and label names together, bytes."""
MAX_LABEL_VALUES: Final = 400
"""Label values of one series together, bytes as encoded; with the declaration and its share of a histogram it fits any part."""
MAX_HELP: Final = 160
"""Bytes."""
MAX_UNIT: Final = 32
MAX_REASONS: Final = 16
"""For which a registry says that it refused something."""
MAX_PARTS: Final = 65_535
MIN_INTERVAL: Final = 0.01
MAX_INTERVAL: Final = 3600.0
"""Between two snapshots, seconds: a stranger's smaller one would make any silence an eternity of overdue snapshots."""
MAX_INTEGER: Final = 2**63 - 1
"""Larger totals travel as floats."""
_MOST_BUCKET: Final = 1 << 31
"""The index of the largest float at the finest scale."""


class GaugeMode(StrEnum):
    """How a gauge's values of several processes of one sender name become one."""

    LATEST = "latest"
    """The value that was set last, by the receiver's clock."""
    EACH = "each"
    """No combination: every process is a series, told apart by the label `process`."""
    SUM = "sum"
    MIN = "min"
    MAX = "max"


Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
Short = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
Help = Annotated[str, msgspec.Meta(max_length=MAX_HELP)]
Labels = Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_LABELS)]
Flat = Annotated[list[int], msgspec.Meta(max_length=4096)]
"""Buckets as pairs: the distance of the index from the one before, and the observations in it."""
Bounds = Annotated[tuple[float, ...], msgspec.Meta(max_length=MAX_BOUNDS)]


class CounterEntry(msgspec.Struct, array_like=True, gc=False):
    """A counter's total."""

    labels: Labels
    born: Count
    """The first snapshot that could hold this series."""
    value: int | float


class GaugeEntry(msgspec.Struct, array_like=True, gc=False):
    """A gauge's value."""

    labels: Labels
    born: Count
    value: int | float
    age: float
    """Seconds since it was set."""


class HistogramEntry(msgspec.Struct, array_like=True, gc=False):
    """A histogram's buckets, or some of them when they are too many for one part."""

    labels: Labels
    born: Count
    sum: float
    zero: Count
    """Observations of exactly 0."""
    scale: Annotated[int, msgspec.Meta(ge=MIN_SCALE, le=MAX_SCALE)]
    positive: Flat
    """By OpenTelemetry's index."""
    negative: Flat
    chunks: Annotated[int, msgspec.Meta(ge=1, le=MAX_PARTS)]
    """Entries of this series in this snapshot."""


class Counters(msgspec.Struct, array_like=True, tag="c", gc=False):
    """Counters of one name."""

    name: Short
    label_names: Labels
    unit: Short
    help: Help
    entries: list[CounterEntry]


class Gauges(msgspec.Struct, array_like=True, tag="g", gc=False):
    """Gauges of one name."""

    name: Short
    label_names: Labels
    unit: Short
    help: Help
    entries: list[GaugeEntry]
    mode: GaugeMode


class Histograms(msgspec.Struct, array_like=True, tag="h", gc=False):
    """Histograms of one name."""

    name: Short
    label_names: Labels
    unit: Short
    help: Help
    entries: list[HistogramEntry]
    bounds: Bounds
    """For `le`, ascending; empty for those that go with the name."""


Entry = CounterEntry | GaugeEntry | HistogramEntry
Family = Counters | Gauges | Histograms


class Part(msgspec.Struct, array_like=True, gc=False):
    """One message: a part of one snapshot of one registry in one of its lives."""

    version: Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)]
    life: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    """Which registry, drawn at random; new after a restart and in a forked child."""
    sender: Short
    number: Count
    """The snapshot's, from 0, without holes."""
    part: Annotated[int, msgspec.Meta(ge=0, lt=MAX_PARTS)]
    parts: Annotated[int, msgspec.Meta(ge=1, le=MAX_PARTS)]
    final: bool
    """No other snapshot follows in this life, and this one holds every series."""
    elapsed: float
    """Since the life began, seconds."""
    interval: float
    """Between two snapshots, seconds."""
    dropped: dict[Annotated[str, msgspec.Meta(max_length=MAX_UNIT)], Count]
    """What the registry refused so far, by reason."""
    families: list[Family]


_encode: Final = msgspec.msgpack.Encoder().encode


def encode(value: Any) -> bytes:
    """A piece of a part as it travels."""
    return _encode(value)


def read_part(payload: Any) -> Part | None:
    """The part that a message carries, or None when it is malformed."""
    try:
        part = msgspec.convert(payload, Part)
        sound = (
            part.part < part.parts
            and 0 <= part.elapsed < 1e12
            and MIN_INTERVAL <= part.interval <= MAX_INTERVAL
            and len(part.dropped) <= MAX_REASONS
            and _fits(MAX_NAME, (part.sender,))
            and _fits(MAX_REASONS * MAX_UNIT, part.dropped)
            and all(map(_is_sound, part.families))
        )
    except Exception:  # noqa: BLE001  whatever a stranger's payload provokes means malformed
        return None
    return part if sound else None


def flatten(side: list[tuple[int, int]]) -> list[int]:
    """Sorted buckets as they travel."""
    flat: list[int] = []
    before = 0
    for bucket, count in side:
        flat += (bucket - before, count)
        before = bucket
    return flat


def unflatten(flat: list[int]) -> dict[int, int] | None:
    """The buckets of one sign, or None when the list holds something else."""
    if len(flat) % 2:
        return None
    side: dict[int, int] = {}
    bucket = 0
    for distance, count in zip(flat[::2], flat[1::2], strict=True):
        bucket += distance
        if not -_MOST_BUCKET <= bucket <= _MOST_BUCKET or not 0 < count <= MAX_INTEGER:
            return None
        side[bucket] = count
    return side


def _is_sound(family: Family) -> bool:
    """Whether texts are within their bounds, numbers are finite, totals not below 0, and each label has its value."""
    if not family.name or not _fits(MAX_DECLARATION, (family.name, *family.label_names)):
        return False
    texts = ((MAX_NAME, family.name), (MAX_UNIT, family.unit), (MAX_HELP, family.help))
    if not all(_fits(limit, (text,)) for limit, text in texts):
        return False
    if isinstance(family, Histograms) and not are_bounds(family.bounds):
        return False
    names = len(family.label_names)
    return all(len(entry.labels) == names and _is_reading(entry) for entry in family.entries)


def _is_reading(entry: Entry) -> bool:
    if not _fits(MAX_LABEL_VALUES, entry.labels):
        return False
    if isinstance(entry, HistogramEntry):
        return math.isfinite(entry.sum)
    if isinstance(entry, GaugeEntry) and not 0 <= entry.age < math.inf:
        return False
    return math.isfinite(entry.value) and not (isinstance(entry, CounterEntry) and entry.value < 0)


def are_bounds(bounds: tuple[float, ...]) -> bool:
    """Whether these are finite numbers, each above the one before."""
    return all(map(math.isfinite, bounds)) and all(low < high for low, high in pairwise(bounds))


def _fits(limit: int, texts: Collection[str]) -> bool:
    """Whether the texts have at most so many bytes together; a character has four at most, and is not looked at where that is enough."""
    return sum(map(len, texts)) * 4 <= limit or sum(len(text.encode()) for text in texts) <= limit
