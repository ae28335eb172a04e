"""How a snapshot of a registry travels: parts that each fit a datagram, each telling what it is part of.

A part stands for itself: it names its sender and series, and its values are cumulative since the registry's life began,
so a lost part costs resolution and nothing else. What arrives is checked here completely; nothing here raises for it.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

import msgspec

from atmost.core.limits import OVERHEAD

VERSION: Final = 1
MAX_MESSAGE: Final = 1432 - OVERHEAD
"""Subject and payload of one part, encoded, so that it fits a datagram on any network, bytes."""
HOLD: Final = 3
"""A series is sent in the snapshot in which it changed and in the next two: its absence from a snapshot says that
it did not change during the last three, so that one lost snapshot leaves no doubt about it."""
MAX_NAME: Final = 128
MAX_LABELS: Final = 16
MAX_DECLARATION: Final = 256
"""Name and label names together, bytes."""
MAX_LABEL_VALUES: Final = 400
"""Label values of one series together, bytes; with the declaration and its share of a histogram it fits any part."""
MAX_HELP: Final = 160
MAX_UNIT: Final = 32
MAX_PARTS: Final = 65_535
MIN_INTERVAL: Final = 0.01
MAX_INTERVAL: Final = 3600.0
"""Between two snapshots, seconds: a stranger's smaller one would make any silence an eternity of overdue snapshots."""
MAX_INTEGER: Final = 2**63 - 1
"""Larger totals travel as floats."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
Short = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
Help = Annotated[str, msgspec.Meta(max_length=MAX_HELP)]
Labels = Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_LABELS)]
Bucket = Annotated[int, msgspec.Meta(ge=-100_000, le=100_000)]
Flat = Annotated[list[int], msgspec.Meta(max_length=4096)]
"""Buckets as pairs: the distance from the one before, and the observations in it."""


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
    """Seconds since it was set, as the sender's snapshots saw it."""


class HistogramEntry(msgspec.Struct, array_like=True, gc=False):
    """A histogram's buckets, or some of them when they are too many for one part."""

    labels: Labels
    born: Count
    sum: float
    zero: Count
    threshold: Bucket | None
    positive: Flat
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


class Histograms(msgspec.Struct, array_like=True, tag="h", gc=False):
    """Histograms of one name."""

    name: Short
    label_names: Labels
    unit: Short
    help: Help
    entries: list[HistogramEntry]


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
    """No other snapshot follows in this life."""
    elapsed: float
    """Since the life began, seconds."""
    interval: float
    """Between two snapshots, seconds."""
    dropped: dict[str, Count]
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
    except Exception:  # noqa: BLE001  whatever a stranger's payload provokes means malformed
        return None
    sound = (
        part.part < part.parts
        and 0 <= part.elapsed < 1e12
        and MIN_INTERVAL <= part.interval <= MAX_INTERVAL
        and all(_sound(family) for family in part.families)
    )
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
    """The buckets of one sign, or None when that is no such list."""
    if len(flat) % 2:
        return None
    side: dict[int, int] = {}
    bucket = 0
    for step, count in zip(flat[::2], flat[1::2], strict=True):
        bucket += step
        if not -100_000 <= bucket <= 100_000 or not 0 < count <= MAX_INTEGER:
            return None
        side[bucket] = count
    return side


def _sound(family: Family) -> bool:
    """Whether the numbers are numbers, counters are not below 0, and each series has a value for every label."""
    names = len(family.label_names)
    for entry in family.entries:
        if len(entry.labels) != names:
            return False
        if isinstance(entry, HistogramEntry):
            if not math.isfinite(entry.sum):
                return False
        elif not math.isfinite(entry.value) or (isinstance(entry, CounterEntry) and entry.value < 0):
            return False
    return bool(family.name)
