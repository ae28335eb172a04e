"""Counters, gauges and histograms: numbers in memory, to which a snapshot looks once in a while.

`inc()`, `set()` and `observe()` touch no socket, take no lock and never raise for a value: a bad one is counted.
They are exact under threads because CPython changes threads only at jumps backward and around calls of Python code
(since 3.10), and there is neither between reading the old number and storing the new one. An interpreter without a
global lock gets the same instruments with a lock around each step (`guarded`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from math import ceil, log
from typing import Any, NoReturn, Protocol

from atmost.errors import MetricError
from atmost.metrics import wire
from atmost.metrics.buckets import MAX_BUCKETS, PER_E, bucket_of, threshold_for
from atmost.metrics.numbers import Number, called, finite, portable
from atmost.metrics.reasons import DropReason
from atmost.metrics.timing import Timer

Shot = tuple[Any, ...]
"""What a snapshot sees of an instrument: equal shots mean that nothing changed."""


class Owner(Protocol):
    """What an instrument needs of its registry."""

    @property
    def guard(self) -> AbstractContextManager[Any, Any]:
        """A re-entrant lock: a signal handler may find its own thread inside."""

    def drop(self, reason: DropReason) -> None:
        """Counts something refused."""


class Instrument:
    """What all have in common: who owns it, and what the snapshots need to remember."""

    __slots__ = ("born", "changed", "name", "owner", "set_at", "shot", "turn", "values")

    def __init__(self, owner: Owner, name: str, values: bytes, turn: int, born: int) -> None:
        """Args: owner: the registry. name: as declared. values: of the labels, encoded. turn: staggers the repeats. born: the next snapshot."""
        self.owner = owner
        self.name = name
        self.values = values
        self.turn = turn
        self.born = born
        self.changed = born
        """The snapshot that last saw a change."""
        self.set_at = 0.0
        self.shot: Shot | None = None

    def labels(self, *values: object, **named: object) -> NoReturn:
        """Refuses.

        Raises:
            MetricError: always: this series has its labels, or was declared without.
        """
        raise MetricError(self.name, f"declared without labels: labels{values or named!r} has nothing to name")

    def clear(self) -> None:
        """Begins anew, in a forked child."""
        raise NotImplementedError

    def look(self, now: float) -> Shot | None:
        """What a snapshot sees; None while there is no reading."""
        raise NotImplementedError

    def entries(self, shot: Shot, room: int, now: float) -> list[bytes]:
        """The reading as it travels, in pieces that fit the room in bytes as far as that can be."""
        raise NotImplementedError

    def _refuse(self) -> None:
        self.owner.drop(DropReason.BAD_VALUE)

    def _refuse_callback(self) -> None:
        self.owner.drop(DropReason.CALLBACK)


class Counter(Instrument):
    """A total that only grows."""

    __slots__ = ("callback", "value")

    def __init__(self, owner: Owner, name: str, values: bytes, turn: int, born: int) -> None:
        super().__init__(owner, name, values, turn, born)
        self.callback: Callable[[], Number] | None = None
        self.clear()

    def inc(self, amount: Number = 1) -> None:
        """Adds to the total; what is negative or no finite number is counted as `bad_value` and changes nothing."""
        # One comparison more than it seems: NaN fails both, and beyond 2**62 somebody must look closer.
        if (amount.__class__ is int or amount.__class__ is float) and 0 <= amount <= 4611686018427387904:
            self.value += amount
        else:
            self._inc_other(amount)

    def clear(self) -> None:
        """Begins anew, in a forked child."""
        self.value: Number = 0

    def look(self, now: float) -> Shot | None:  # noqa: ARG002  gauges need the time
        """The total."""
        if self.callback is not None:
            value = called(self.callback, self._refuse_callback)
            if value is None:
                return None
            if value < self.value:
                self._refuse()
                return None
            self.value = value
        return (portable(self.value),)

    def entries(self, shot: Shot, room: int, now: float) -> list[bytes]:  # noqa: ARG002  histograms need the room
        """The reading as it travels."""
        return [b"\x93" + self.values + wire.encode(self.born) + wire.encode(shot[0])]

    def _inc_other(self, amount: object) -> None:
        number = finite(amount)
        if number is None or number < 0 or not math.isfinite(float(self.value + number)):
            self._refuse()
        else:
            self.value += number


class Gauge(Instrument):
    """A value that goes up and down; unset, and never sent, until it is given one."""

    __slots__ = ("callback", "fresh", "value")

    value: Number | None
    fresh: bool

    def __init__(self, owner: Owner, name: str, values: bytes, turn: int, born: int) -> None:
        super().__init__(owner, name, values, turn, born)
        self.callback: Callable[[], Number] | None = None
        self.clear()

    def set(self, value: Number) -> None:
        """Replaces the value; what is no finite number is counted as `bad_value` and changes nothing."""
        if value.__class__ is float and value - value == 0:
            self.value = value
            self.fresh = True
        else:
            number = finite(value)
            if number is None:
                self._refuse()
            else:
                self.value = number
                self.fresh = True

    def inc(self, amount: Number = 1) -> None:
        """Adds to the value, from 0 when it is unset; bad amounts are counted."""
        number = finite(amount)
        if number is None:
            self._refuse()
            return
        if self.value is None:
            with self.owner.guard:
                if self.value is None:
                    self.value = 0
        self.value += number
        self.fresh = True

    def dec(self, amount: Number = 1) -> None:
        """Takes from the value."""
        number = finite(amount)
        if number is None:
            self._refuse()
        else:
            self.inc(-number)

    def clear(self) -> None:
        """Begins anew, in a forked child."""
        self.value = None
        self.fresh = False

    def look(self, now: float) -> Shot | None:
        """The value; None while there is none."""
        fresh, self.fresh = self.fresh, False
        current = self.value
        if self.callback is not None:
            current = called(self.callback, self._refuse_callback)
            fresh = True
        if current is None or not math.isfinite(current):  # increments may add up to more than a float holds
            return None
        if fresh:
            self.set_at = now
        return (portable(current),)

    def entries(self, shot: Shot, room: int, now: float) -> list[bytes]:  # noqa: ARG002  histograms need the room
        """The reading as it travels."""
        age = max(0.0, now - self.set_at)
        return [b"\x94" + self.values + wire.encode(self.born) + wire.encode(shot[0]) + wire.encode(age)]


class Histogram(Instrument):
    """How values are distributed, within 1 % of each."""

    __slots__ = ("negative", "positive", "sum", "threshold", "zero")

    def __init__(self, owner: Owner, name: str, values: bytes, turn: int, born: int) -> None:
        super().__init__(owner, name, values, turn, born)
        self.clear()

    def observe(self, value: Number) -> None:
        """Counts a value; what is no finite number is counted as `bad_value` and changes nothing."""
        if (value.__class__ is float or value.__class__ is int) and 0 < value < 1e290:
            bucket = ceil(log(value) * PER_E)
            try:
                self.positive[bucket] += 1
            except KeyError:
                self._first(self.positive, bucket)
            self.sum += value
        else:
            self._observe_other(value)

    def timer(self) -> Timer:
        """Observes seconds: `with h.timer(): …`, or `@h.timer()` above a function, also an `async` one."""
        return Timer(self.observe, time.perf_counter)

    def clear(self) -> None:
        """Begins anew, in a forked child."""
        self.positive: dict[int, int] = {}
        self.negative: dict[int, int] = {}
        self.zero = 0
        self.threshold: int | None = None
        self.sum = 0.0

    def look(self, now: float) -> Shot:  # noqa: ARG002  gauges need the time
        """The buckets; a copy is one step for other threads."""
        return (self.sum, self.zero, self.threshold, self.positive.copy(), self.negative.copy())

    def entries(self, shot: Shot, room: int, now: float) -> list[bytes]:  # noqa: ARG002  gauges need the time
        """The reading as it travels, in as many pieces as it takes."""
        total, zero, threshold, positive, negative = shot
        # A bucket takes 14 bytes at the very most (a step of 5, a count of 9), and nearly always 2 to 4.
        sides = [sorted(positive.items()), sorted(negative.items())]
        head = self.values + wire.encode(self.born) + wire.encode(total) + wire.encode(zero) + wire.encode(threshold)
        pieces = _pieces(sides, max(8, room - len(head) - 20))
        last = wire.encode(len(pieces))
        return [b"\x98" + head + wire.encode(up) + wire.encode(down) + last for up, down in pieces]

    def _first(self, side: dict[int, int], bucket: int) -> None:
        """The first value of a bucket, or one of a bucket that joined the zero bucket."""
        with self.owner.guard:
            if self.threshold is None or bucket > self.threshold:
                side.setdefault(bucket, 0)
                side[bucket] += 1
                if len(self.positive) + len(self.negative) > MAX_BUCKETS:
                    self._join()
            else:
                self.zero += 1

    def _join(self) -> None:
        """Joins the smallest buckets with the zero bucket; taking one out is a single step for other threads."""
        self.threshold = threshold = threshold_for(self.positive, self.negative)
        for side in (self.positive, self.negative):
            for bucket in [bucket for bucket in tuple(side) if bucket <= threshold]:
                joined = side.pop(bucket)
                self.zero += joined

    def _observe_other(self, value: object) -> None:
        number = finite(value)
        if number is None or not math.isfinite(self.sum + number):
            self._refuse()
            return
        if number == 0:
            self.zero += 1
        else:
            side, bucket = self.positive if number > 0 else self.negative, bucket_of(abs(number))
            try:
                side[bucket] += 1
            except KeyError:
                self._first(side, bucket)
        self.sum += number


def _pieces(sides: list[list[tuple[int, int]]], room: int) -> list[tuple[list[int], list[int]]]:
    """Buckets of both signs, cut so that each piece fits; one piece at least."""
    flats = [wire.flatten(side) for side in sides]
    if sum(len(wire.encode(flat)) for flat in flats) <= room:
        return [(flats[0], flats[1])]
    each = max(1, room // 14)
    pieces: list[tuple[list[int], list[int]]] = []
    for sign, side in enumerate(sides):
        for start in range(0, len(side), each):
            flat = wire.flatten(side[start : start + each])
            pieces.append((flat, []) if sign == 0 else ([], flat))
    return pieces
