"""What a histogram gained of late, by slots of ten seconds: the slot in use as buckets, the others packed.

A bucket in a dictionary costs about 95 bytes, packed 4 to 12; ten minutes of a histogram with 300 buckets are 70 KB then.
Not thread-safe.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple

from atmost.metrics.buckets import Buckets

RECENT: Final = 10.0
"""Of one slot, seconds."""
KEPT: Final = 60
"""Slots."""


class _Side(NamedTuple):
    """The buckets of one sign."""

    buckets: array[int]
    counts: array[int]


class _Packed(NamedTuple):
    """The observations of one slot."""

    positive: _Side
    negative: _Side
    zero: int
    threshold: int | None
    sum: float


class Recent:
    """The last `KEPT` slots of one histogram."""

    __slots__ = ("_live", "_packed", "_slot")

    def __init__(self) -> None:
        self._slot = -1
        self._live = Buckets()
        self._packed: dict[int, _Packed] = {}

    def at(self, when: float) -> Buckets:
        """The buckets of the slot in use, to count observations of this moment in; older moments count in it too.

        Args:
            when: seconds; how far it moved on decides what is forgotten.
        """
        slot = int(when // RECENT)
        if slot > self._slot:
            if self._live.count:
                self._packed[self._slot] = _pack(self._live)
            self._live, self._slot = Buckets(), slot
            for old in [old for old in self._packed if old <= slot - KEPT]:
                del self._packed[old]
        return self._live

    def between(self, start: float, end: float) -> Buckets:
        """What it gained in the slots that begin in [start, end), seconds."""
        total = Buckets()
        for slot, packed in self._packed.items():
            if start <= slot * RECENT < end:
                total.merge(_unpack(packed))
        if self._slot >= 0 and start <= self._slot * RECENT < end:
            total.merge(self._live)
        return total


def _pack(buckets: Buckets) -> _Packed:
    sides = (_pack_side(buckets.positive), _pack_side(buckets.negative))
    return _Packed(*sides, buckets.zero, buckets.threshold, buckets.sum)


def _pack_side(side: dict[int, int]) -> _Side:
    return _Side(_smallest("hi", side), _smallest("HIQ", side.values()))


def _smallest(codes: str, values: Iterable[int]) -> array[int]:
    """The values in the smallest type of array that holds them."""
    for code in codes[:-1]:
        try:
            return array(code, values)
        except OverflowError:
            continue
    return array(codes[-1], values)


def _unpack(packed: _Packed) -> Buckets:
    buckets = Buckets()
    buckets.positive = dict(zip(*packed.positive, strict=True))
    buckets.negative = dict(zip(*packed.negative, strict=True))
    buckets.zero, buckets.threshold, buckets.sum = packed.zero, packed.threshold, packed.sum
    return buckets
