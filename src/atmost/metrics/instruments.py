"""Counters, gauges and histograms: numbers in memory, which a snapshot reads once in a while.

`inc()`, `set()` and `observe()` touch no socket, take no lock and never raise for a value: a bad one is counted instead.

Theory of operation.

*Threads.* CPython switches threads only around calls and at jumps backwards, and there is neither between reading the old number and storing
the new one, so a step is whole for every thread and signal handler. An interpreter without a global lock gets a lock around each step.

*Processes.* A forked child begins at zero. The hook of `os.fork()` sees to that; C code can fork past it, so each step first looks at
`HERE`, which reads 0 in such a child until everything was begun anew.

*Memory.* A histogram holds at most `MAX_BUCKETS` buckets at full resolution. What falls outside of them afterwards goes to buckets of
scale 0, at most 2100 for each sign, and from then on the whole histogram is told at that scale.
Buckets never move, because a thread may be between computing its bucket and counting in it.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from math import ceil, log2
from time import monotonic
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, Protocol, Self, TypeVar, cast

from atmost.atomic import guarded
from atmost.errors import MetricError
from atmost.lifecycle import HERE, notice_fork
from atmost.metrics import wire
from atmost.metrics.buckets import MAX_BUCKETS, SCALE, joined

Number = int | float
Reading = tuple[Any, ...]
"""What a snapshot reads of an instrument: equal readings mean that nothing changed."""

F = TypeVar("F", bound=Callable[..., Any])
_PER_OCTAVE: Final = float(2**SCALE)
_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE, without importing inspect


class MetricDropReason(StrEnum):
    """Why a process did not count, or not send, something; cumulative in one life."""

    BAD_VALUE = "bad_value"
    """The value is not a finite number, or a counter's step is below 0."""
    BAD_LABEL = "bad_label"
    """A label value cannot be made text, or the values of one series are too long."""
    SERIES_LIMIT = "series_limit"
    """There are `max_series` series already: the call got an instrument that is not sent."""
    CALLBACK = "callback"
    """A callback raised, or returned something other than a finite number."""
    TOO_LARGE = "too_large"
    """A series does not fit a datagram of this sender."""
    MUST_DELIVER = "must_deliver"
    """A snapshot was not sent because its subject was declared must-deliver after `Metrics` was constructed."""


class Owner(Protocol):
    """What an instrument needs of its registry."""

    @property
    def guard(self) -> AbstractContextManager[Any, Any]:
        """A re-entrant lock, because a signal handler may find its own thread inside."""

    def drop(self, reason: MetricDropReason) -> None:
        """Counts something refused."""


class Instrument:
    """What all instruments have in common: whose they are, and what the snapshots need to remember."""

    __slots__ = ("born", "callback", "changed", "last", "name", "owner", "turn", "values")

    callback: Callable[[], Number] | None

    def __init__(self, owner: Owner, name: str, values: bytes, turn: int, born: int) -> None:
        """Makes one series.

        Args:
            owner: the registry.
            name: as declared.
            values: of the labels, encoded.
            turn: spreads the repeats evenly over the snapshots.
            born: the next snapshot.
        """
        self.owner = owner
        self.name = name
        self.values = values
        self.turn = turn
        self.born = born
        self.changed = born
        """The snapshot that last saw a change."""
        self.last: Reading | None = None
        self.callback = None
        self.reset()

    def labels(self, *values: object, **named: object) -> NoReturn:
        """Refuses, because this series has its labels, or was declared without any.

        Raises:
            MetricError: always.
        """
        raise MetricError(self.name, f"declared without labels: leave out .labels{values or named!r}")

    def reset(self) -> None:
        """Begins at nothing, as in a forked child."""
        raise NotImplementedError

    def read(self, now: float) -> Reading | None:
        """What a snapshot sees; None while there is no value."""
        raise NotImplementedError

    def encode(self, reading: Reading, room: int, now: float) -> list[bytes]:
        """The reading as it travels, in pieces that fit the room in bytes as far as possible."""
        raise NotImplementedError

    def _refuse(self) -> None:
        self.owner.drop(MetricDropReason.BAD_VALUE)

    def _ask_callback(self, callback: Callable[[], Number]) -> Number | None:
        """What the callback returns; None when it fails, which is counted."""
        try:
            number = finite(callback())
        except BaseException as error:  # the user's own function; whatever it raises must not end the snapshots
            interrupt = isinstance(error, KeyboardInterrupt | SystemExit)
            if interrupt and threading.current_thread() is threading.main_thread():
                raise  # from a signal handler, which runs there only
            number = None
        if number is None:
            self.owner.drop(MetricDropReason.CALLBACK)
        return number


def _step(method: F) -> F:
    """One step of an instrument; under the registry's lock where nothing else makes it whole."""
    return guarded(method, "owner.guard")


class Counter(Instrument):
    """A total that only grows."""

    __slots__ = ("value",)

    @_step
    def inc(self, amount: Number = 1) -> None:
        """Adds to the total; a negative amount, or one that is not a finite number, is counted as `bad_value` and changes nothing."""
        # `HERE[0]` is 1 in the process that this total belongs to, and 0 in a child that nobody has noticed yet:
        # the first comparison asks for the usual amount and for the process, and adding 0 there does no harm.
        # NaN fails both bounds of the second; beyond 2**62 a sum of integers may not fit a float, which `_inc_other` looks at.
        if HERE[0] is amount or (
            (amount.__class__ is int or amount.__class__ is float) and 0 <= amount <= 4611686018427387904 and HERE[0]
        ):
            self.value += amount
        else:
            self._inc_other(amount)

    def reset(self) -> None:
        """Begins at 0."""
        self.value: Number = 0

    def read(self, now: float) -> Reading | None:  # noqa: ARG002  gauges need the time
        """The total; None when a callback gave none."""
        if self.callback is not None:
            value = self._ask_callback(self.callback)
            if value is None:
                return None
            if value < self.value:
                self._refuse()
                return None
            self.value = value
        return (portable(self.value),)

    def encode(self, reading: Reading, room: int, now: float) -> list[bytes]:  # noqa: ARG002  histograms need the room
        """The total as it travels."""
        return [b"\x93" + self.values + wire.encode(self.born) + wire.encode(reading[0])]

    def _inc_other(self, amount: object) -> None:
        if not HERE[0]:
            notice_fork()
        number = finite(amount)
        if number is None or number < 0 or not math.isfinite(float(self.value + number)):
            self._refuse()
        else:
            self.value += number


class Gauge(Instrument):
    """A value that goes up and down; it is not sent until it is set."""

    __slots__ = ("set_at", "value")

    value: Number | None

    @_step
    def set(self, value: Number) -> None:
        """Replaces the value; one that is not a finite number is counted as `bad_value` and changes nothing."""
        if value.__class__ is float and value - value == 0 and HERE[0]:
            self.value = value
            self.set_at = monotonic()
        else:
            self._set_other(value)

    @_step
    def inc(self, amount: Number = 1) -> None:
        """Adds to the value, from 0 when it is unset; bad amounts are counted."""
        if not HERE[0]:
            notice_fork()
        number = finite(amount)
        if number is None:
            self._refuse()
            return
        if self.value is None:
            with self.owner.guard:
                if self.value is None:
                    self.value = 0
        self.value += number
        self.set_at = monotonic()

    def dec(self, amount: Number = 1) -> None:
        """Subtracts from the value."""
        number = finite(amount)
        if number is None:
            self._refuse()
        else:
            self.inc(-number)

    def reset(self) -> None:
        """Begins without a value, as in a forked child."""
        self.value = None
        self.set_at = 0.0
        """Monotonic, seconds."""

    def read(self, now: float) -> Reading | None:
        """The value and when it was set; None while there is none. Setting it to the same value again is a change: it is the latest then."""
        current, set_at = self.value, self.set_at
        if self.callback is not None:
            current, set_at = self._ask_callback(self.callback), 0.0
            self.set_at = now
        if current is None or not math.isfinite(current):  # increments may add up to more than a float holds
            return None
        return (portable(current), set_at)

    def encode(self, reading: Reading, room: int, now: float) -> list[bytes]:  # noqa: ARG002  histograms need the room
        """The value as it travels, with its age."""
        age = max(0.0, now - self.set_at)
        return [b"\x94" + self.values + wire.encode(self.born) + wire.encode(reading[0]) + wire.encode(age)]

    def _set_other(self, value: object) -> None:
        if not HERE[0]:
            notice_fork()
        number = finite(value)
        if number is None:
            self._refuse()
        else:
            self.value = number
            self.set_at = monotonic()


class Histogram(Instrument):
    """How values are distributed; each is known within 1.1 %."""

    __slots__ = ("coarse_negative", "coarse_positive", "negative", "positive", "sum", "zero")

    @_step
    def observe(self, value: Number) -> None:
        """Counts a value; one that is not a finite number is counted as `bad_value` and changes nothing."""
        if (value.__class__ is float or value.__class__ is int) and 0 < value < 1e290 and HERE[0]:
            bucket = ceil(log2(value) * _PER_OCTAVE)
            try:
                self.positive[bucket] += 1
            except KeyError:
                self._observe_first(self.positive, self.coarse_positive, bucket)
            self.sum += value
        else:
            self._observe_other(value)

    def timer(self) -> Timer:
        """Observes seconds: `with h.timer(): …`, or `@h.timer()` above a function, also an `async` one."""
        return Timer(self.observe, time.perf_counter)

    def reset(self) -> None:
        """Begins without observations, as in a forked child."""
        self.positive: dict[int, int] = {}
        """Observations by bucket, numbered as Prometheus does: one above OpenTelemetry's index."""
        self.negative: dict[int, int] = {}
        self.coarse_positive: dict[int, int] = {}
        """What came when there were `MAX_BUCKETS` already, at scale 0."""
        self.coarse_negative: dict[int, int] = {}
        self.zero = 0
        self.sum = 0.0

    def read(self, now: float) -> Reading:  # noqa: ARG002  gauges need the time
        """The scale and the buckets; each copy is one step for other threads."""
        sides = [self.positive.copy(), self.negative.copy()]
        scale, coarse = SCALE, (self.coarse_positive, self.coarse_negative)
        if coarse[0] or coarse[1]:
            scale = 0
            for number, side in enumerate(sides):
                merged = {bucket + 1: count for bucket, count in joined(_indexed(side), SCALE).items()}
                for bucket, count in coarse[number].copy().items():
                    merged[bucket] = merged.get(bucket, 0) + count
                sides[number] = merged
        return (self.sum, self.zero, scale, *sides)

    def encode(self, reading: Reading, room: int, now: float) -> list[bytes]:  # noqa: ARG002  gauges need the time
        """The buckets as they travel, in as many pieces as it takes."""
        total, zero, scale, *sides = reading
        head = self.values + wire.encode(self.born) + wire.encode(total) + wire.encode(zero) + wire.encode(scale)
        pieces = _pieces([sorted(_indexed(side).items()) for side in sides], max(8, room - len(head) - 20))
        last = wire.encode(len(pieces))
        return [b"\x98" + head + wire.encode(up) + wire.encode(down) + last for up, down in pieces]

    def _observe_first(self, side: dict[int, int], coarse: dict[int, int], bucket: int) -> None:
        """The first value of a bucket, or one that no more buckets are made for."""
        with self.owner.guard:
            if bucket not in side and len(self.positive) + len(self.negative) >= MAX_BUCKETS:
                side, bucket = coarse, ((bucket - 1) >> SCALE) + 1
            side.setdefault(bucket, 0)
            side[bucket] += 1

    def _observe_other(self, value: object) -> None:
        if not HERE[0]:
            notice_fork()
        number = finite(value)
        if number is None or not math.isfinite(self.sum + number):
            self._refuse()
            return
        if number == 0:
            self.zero += 1
        else:
            side, coarse = (
                (self.positive, self.coarse_positive) if number > 0 else (self.negative, self.coarse_negative)
            )
            bucket = ceil(log2(abs(number)) * _PER_OCTAVE)
            try:
                side[bucket] += 1
            except KeyError:
                self._observe_first(side, coarse, bucket)
        self.sum += number


def _indexed(side: dict[int, int]) -> dict[int, int]:
    """The same buckets by OpenTelemetry's index."""
    return {bucket - 1: count for bucket, count in side.items()}


def _pieces(sides: list[list[tuple[int, int]]], room: int) -> list[tuple[list[int], list[int]]]:
    """Buckets of both signs, cut so that each piece fits; at least one piece."""
    flats = [wire.flatten(side) for side in sides]
    if sum(len(wire.encode(flat)) for flat in flats) <= room:
        return [(flats[0], flats[1])]
    each = max(
        1, room // 14
    )  # a bucket takes 14 bytes at most (a distance of 5, a count of 9), and nearly always 2 to 4
    pieces: list[tuple[list[int], list[int]]] = []
    for sign, side in enumerate(sides):
        for start in range(0, len(side), each):
            flat = wire.flatten(side[start : start + each])
            pieces.append((flat, []) if sign == 0 else ([], flat))
    return pieces


I = TypeVar("I", bound=Instrument)  # noqa: E741  the instrument


class Labelled(Generic[I]):
    """A metric with labels: one instrument for each set of values. If the values are known beforehand, keep what `labels` returns."""

    __slots__ = ("_admit", "_children", "_names", "_refuse", "_unsent", "name")

    def __init__(
        self,
        name: str,
        names: tuple[str, ...],
        admit: Callable[[bytes], I | None],
        refuse: Callable[[MetricDropReason], None],
        unsent: I,
    ) -> None:
        """Prepares a metric without any series yet.

        Args:
            name: as declared.
            names: of the labels.
            admit: makes the series of these encoded values; None when there are too many.
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

        Beyond the limit of series, and for values that are too long, it is an instrument that is never sent, and the refusal is counted.

        Raises:
            MetricError: the labels are not exactly the declared ones.
        """
        try:
            child = self._children.get(values)  # type: ignore[arg-type] # values other than text are not found
        except TypeError:  # not hashable, but its text is
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
            self._refuse(MetricDropReason.BAD_LABEL)
            return self._unsent
        child = self._children.get(texts)
        if child is None:
            child = self._admit(encoded)
            if child is None:
                self._refuse(MetricDropReason.SERIES_LIMIT)
                return self._unsent
            child = self._children.setdefault(texts, child)
        return child


def _texts(values: tuple[object, ...]) -> tuple[tuple[str, ...], bytes | None]:
    """The values as text, and encoded; no encoding when a value has no text or they are too long."""
    try:
        texts = tuple(str(value).encode(errors="replace").decode() for value in values)
    except Exception:  # noqa: BLE001  a stranger's __str__ may raise anything
        return (), None
    encoded = wire.encode(texts)
    return texts, encoded if len(encoded) <= wire.MAX_LABEL_VALUES else None


class Timer:
    """Measures how long something takes, whatever is raised in between; may be nested, but one `with` is not shared by threads."""

    __slots__ = ("_clock", "_observe", "_started")

    def __init__(self, observe: Callable[[float], None], clock: Callable[[], float]) -> None:
        """Args: observe: is called with the seconds. clock: seconds that never step back."""
        self._observe = observe
        self._clock = clock
        self._started: list[float] = []

    def __enter__(self) -> Self:
        self._started.append(self._clock())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._observe(self._clock() - self._started.pop())

    def __call__(self, function: F) -> F:
        """The function, timed at each call; safe from any thread."""
        observe, clock = self._observe, self._clock
        code = getattr(function, "__code__", None)

        if code is not None and code.co_flags & _COROUTINE:

            @functools.wraps(function)
            async def timed_coroutine(*args: Any, **kwargs: Any) -> Any:
                started = clock()
                try:
                    return await function(*args, **kwargs)
                finally:
                    observe(clock() - started)

            return cast("F", timed_coroutine)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = clock()
            try:
                return function(*args, **kwargs)
            finally:
                observe(clock() - started)

        return cast("F", timed)


def portable(value: Number) -> Number:
    """An integer beyond 64 bits as a float, which MessagePack can carry."""
    return value if isinstance(value, float) or -wire.MAX_INTEGER <= value <= wire.MAX_INTEGER else float(value)


def finite(value: Any) -> Number | None:
    """The finite number that a value is, of any type that has one; None for everything else, text always included."""
    if type(value) is int and -wire.MAX_INTEGER <= value <= wire.MAX_INTEGER:
        return value
    if isinstance(value, str | bytes | bytearray):
        return None
    try:
        number = float(value)  # numpy's numbers, Decimal, Fraction
    except Exception:  # noqa: BLE001  a stranger's __float__ may raise anything
        return None
    return number if math.isfinite(number) else None
