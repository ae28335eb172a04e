"""Counters, gauges and histograms: numbers in memory, to which a snapshot looks once in a while.

`inc()`, `set()` and `observe()` touch no socket, take no lock and never raise for a value: a bad one is counted.
They are exact under threads because CPython changes threads only at jumps backward and around calls of Python code
(since 3.10), and there is neither between reading the old number and storing the new one. An interpreter without a
global lock gets the same instruments with a lock around each step (`guarded`).
"""

from __future__ import annotations

import functools
import math
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from math import ceil, log
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, Protocol, Self, TypeVar, cast

from atmost.errors import MetricError
from atmost.metrics import wire
from atmost.metrics.buckets import MAX_BUCKETS, PER_E, bucket_of, threshold_for
from atmost.metrics.wire import MAX_INTEGER

# Why a registry refused something: reasons become metric labels.


class DropReason(StrEnum):
    """What a registry did not take; cumulative in one life."""

    BAD_VALUE = "bad_value"
    """No finite number, or a counter's step below 0."""
    BAD_LABEL = "bad_label"
    """Label values that have no text, or too much of it."""
    SERIES_LIMIT = "series_limit"
    """One series more than `max_series`: the call got an instrument that is not sent."""
    CALLBACK = "callback"
    """A callback raised, or answered no finite number."""
    TOO_LARGE = "too_large"
    """A series that fits no datagram of this sender."""
    MUST_DELIVER = "must_deliver"
    """A snapshot whose subject was declared must-deliver after its `Metrics` were constructed."""


# What counts as a number: finite, and of any type that has a value; text never does.

Number = int | float


def portable(value: Number) -> Number:
    """A whole number beyond 64 bits as a float, which MessagePack can carry."""
    return value if isinstance(value, float) or -MAX_INTEGER <= value <= MAX_INTEGER else float(value)


def finite(value: Any) -> Number | None:
    """The number that a value is, or None: text is none, however it reads."""
    if type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER:
        return value
    if isinstance(value, str | bytes | bytearray):
        return None
    try:
        number = float(value)  # numpy's numbers, Decimal, Fraction: whatever has a value
    except Exception:  # noqa: BLE001  a stranger's __float__ may raise anything
        return None
    return number if math.isfinite(number) else None


def called(callback: Callable[[], Number], failed: Callable[[], None]) -> Number | None:
    """What a callback answers; None when it fails, after telling so."""
    try:
        number = finite(callback())
    except BaseException as error:  # the user's own function; what it leaves by must not end the snapshots
        interrupt = isinstance(error, KeyboardInterrupt | SystemExit)
        if interrupt and threading.current_thread() is threading.main_thread():
            raise  # a signal handler's, which run there only
        number = None
    if number is None:
        failed()
    return number


# Measures how long something takes: a context manager and a decorator, for functions and coroutine functions.

_F = TypeVar("_F", bound=Callable[..., Any])
_IS_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE, without importing inspect


class Timer:
    """Seconds from entering to leaving, whatever is raised in between; may be nested, not shared by threads as one `with`."""

    __slots__ = ("_clock", "_observe", "_started")

    def __init__(self, observe: Callable[[float], None], clock: Callable[[], float]) -> None:
        """Args: observe: told the seconds. clock: seconds that never step back."""
        self._observe = observe
        self._clock = clock
        self._started: list[float] = []

    def __enter__(self) -> Self:
        """Starts."""
        self._started.append(self._clock())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Observes."""
        self._observe(self._clock() - self._started.pop())

    def __call__(self, function: _F) -> _F:
        """The function, timed at each call; safe from any thread."""
        observe, clock = self._observe, self._clock
        code = getattr(function, "__code__", None)

        if code is not None and code.co_flags & _IS_COROUTINE:

            @functools.wraps(function)
            async def timed_coroutine(*args: Any, **kwargs: Any) -> Any:
                started = clock()
                try:
                    return await function(*args, **kwargs)
                finally:
                    observe(clock() - started)

            return cast("_F", timed_coroutine)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = clock()
            try:
                return function(*args, **kwargs)
            finally:
                observe(clock() - started)

        return cast("_F", timed)


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


# The children of a metric with labels: one instrument for each set of values, and a bound on how many there are.

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


# The instruments for this interpreter: as they are, or with a lock around each step where nothing else makes it one.

LOCK_FREE: Final = sys.implementation.name == "cpython" and bool(getattr(sys, "_is_gil_enabled", lambda: True)())
"""Whether the interpreter's global lock makes a step without a jump one that other threads see as a whole."""


def guarded(kind: type[Instrument]) -> type[Instrument]:
    """The same instrument with a lock around each step, for an interpreter that has none of its own."""
    verbs = {"inc", "set", "dec", "observe"} & set(dir(kind))
    methods: dict[str, Any] = {verb: _locked(getattr(kind, verb)) for verb in verbs}
    return type(kind.__name__, (kind,), {"__slots__": (), "__doc__": kind.__doc__, **methods})


def kinds() -> tuple[type[Counter], type[Gauge], type[Histogram]]:
    """The instruments for this interpreter."""
    if LOCK_FREE:
        return Counter, Gauge, Histogram
    return guarded(Counter), guarded(Gauge), guarded(Histogram)  # type: ignore[return-value]


def _locked(method: Callable[..., None]) -> Callable[..., None]:
    def locked(self: Instrument, *amount: Number) -> None:
        with self.owner.guard:
            method(self, *amount)

    locked.__doc__ = method.__doc__
    return locked
