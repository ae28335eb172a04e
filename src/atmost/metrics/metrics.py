"""`Metrics`: declares what a service measures, and sends its state once an interval.

`inc()`, `set()` and `observe()` only change numbers in memory, from any thread or signal handler. One background thread,
started by the first declaration, sends the snapshots; it holds its `Metrics` weakly and ends with it.
"""

from __future__ import annotations

import math
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, NoReturn, Self, overload

import msgspec

from atmost.core.names import check_subject
from atmost.endpoint.background import Rhythm
from atmost.endpoint.must_deliver import check_lossy_below
from atmost.endpoint.opening import GivenSender, open_sender
from atmost.endpoint.sender import Sender
from atmost.errors import LossNotTolerated, MetricError, OptionError, PayloadTooLarge
from atmost.lifecycle import HERE, LONGEST_CLOSE, Floor, notice_fork, register, run, run_async, unregister
from atmost.metrics import wire
from atmost.metrics.instruments import Counter, Gauge, Histogram, Labelled, MetricDropReason, Number
from atmost.metrics.registry import Registry, check_bounds, check_mode

SNAPSHOTS: Final = "snapshot"
"""The last token of the subject that snapshots are sent on."""
_MANY_PARTS: Final = 64
"""A last snapshot of more parts is sent twice only, because repeats of a megabyte would be what loses them."""

NoLabels = tuple[()]


class Metrics:
    """The metrics of this process, sent over one sender; a forked child's begin at zero, with a life of their own."""

    def __init__(
        self,
        sender: GivenSender = None,
        interval: float = 1.0,
        *,
        subject: str = "metrics",
        max_series: int = 1000,
        process: bool = False,
    ) -> None:
        """Prepares to measure; no thread is started, and nothing sent, before the first declaration.

        Args:
            sender: carries the readings; it is not closed here, so close it after this `close()`. A URL, or a mapping of the
                arguments of `Sender`, opens a sender of its own, which `close()` closes; None takes `ATMOST_URL`, then
                udp://127.0.0.1:7140.
            interval: seconds between snapshots. Shorter shows more and costs more; totals are right with any.
            subject: the first tokens of every subject used here.
            max_series: series over all metrics; beyond it `labels()` returns an instrument that is not sent, and counts.
            process: also measure this process: processor time, memory, open files, threads.

        Raises:
            OptionError: an option is outside its range, or the sender is not a sender.
            AddressError: the address cannot be used.
            SubjectError: the subject cannot be used.
            LossNotTolerated: subjects below it must be delivered.
        """
        if not isinstance(interval, int | float) or not wire.MIN_INTERVAL <= interval <= wire.MAX_INTERVAL:
            raise OptionError("interval", interval, "0.01 to 3600 seconds")
        if not isinstance(max_series, int) or not 1 <= max_series <= 100_000:
            raise OptionError("max_series", max_series, "1 to 100,000 series")
        self._subject = check_lossy_below(subject)
        self._snapshots = check_subject(f"{subject}.{SNAPSHOTS}")
        self._sender, self._owns_sender = open_sender(sender)
        self._interval = float(interval)
        name = self._sender.name.encode(errors="replace")[: wire.MAX_NAME].decode(errors="ignore")
        self._registry = Registry(name, _life(), time.monotonic(), interval=self._interval, max_series=max_series)
        self._registry.keeper = self
        self._registry.room -= len(wire.encode(self._snapshots))
        self._closed = False
        self._rhythm = Rhythm(self, Metrics._tick, self._interval, "atmost-metrics")
        register(self, Floor.USE)
        if process:
            measure_process(self)

    @overload
    def counter(  # type: ignore[overload-overlap] # no labels are labels too
        self,
        name: str,
        help: str = ...,
        labels: NoLabels = ...,
        *,
        unit: str = ...,
        callback: Callable[[], Number] | None = ...,
    ) -> Counter: ...
    @overload
    def counter(self, name: str, help: str, labels: Sequence[str], *, unit: str = ...) -> Labelled[Counter]: ...
    def counter(
        self,
        name: str,
        help: str = "",  # noqa: A002  Prometheus' word
        labels: Sequence[str] = (),
        *,
        unit: str = "",
        callback: Callable[[], Number] | None = None,
    ) -> Counter | Labelled[Counter]:
        """A total that only grows; its name ends in `_total`.

        Args:
            name: as Prometheus allows.
            help: one sentence for people.
            labels: their names; if there are any, `.labels(…)` returns the counter itself.
            unit: a base unit, such as seconds or bytes; the name must have it before `_total`.
            callback: asked for the total at each snapshot instead; of a counter without labels.

        Raises:
            MetricError: a name is malformed, or was declared in another way.
        """
        made: Counter | Labelled[Counter] = self._declare(Counter, "counter", name, help, labels, unit)
        if callback is not None:
            _with_callback(made, callback, name)
        return made

    @overload
    def gauge(  # type: ignore[overload-overlap] # no labels are labels too
        self,
        name: str,
        help: str = ...,
        labels: NoLabels = ...,
        *,
        unit: str = ...,
        mode: str = ...,
        callback: Callable[[], Number] | None = ...,
    ) -> Gauge: ...
    @overload
    def gauge(
        self, name: str, help: str, labels: Sequence[str], *, unit: str = ..., mode: str = ...
    ) -> Labelled[Gauge]: ...
    def gauge(
        self,
        name: str,
        help: str = "",  # noqa: A002  Prometheus' word
        labels: Sequence[str] = (),
        *,
        unit: str = "",
        mode: str = "latest",
        callback: Callable[[], Number] | None = None,
    ) -> Gauge | Labelled[Gauge]:
        """A value that goes up and down; arguments and errors as for `counter`, the name without `_total`.

        A callback that fails, or returns something other than a finite number, leaves this snapshot without a reading, and is counted.

        Args:
            name: as Prometheus allows.
            help: one sentence for people.
            labels: their names.
            unit: a base unit that the name ends in.
            mode: how the values of several processes under one sender name are combined, on the page, in the API and at `/metrics`:
                `latest` the one that was set last, `sum`, `min`, `max`, or `each` a series of its own with the label `process`.
            callback: asked for the value at each snapshot instead; of a gauge without labels.
        """
        how = check_mode(name, mode)
        if how is wire.GaugeMode.EACH and "process" in tuple(labels):
            raise MetricError(name, "label 'process' is taken by mode='each': choose another name")
        made: Gauge | Labelled[Gauge] = self._declare(Gauge, "gauge", name, help, labels, unit, how)
        if callback is not None:
            _with_callback(made, callback, name)
        return made

    @overload
    def histogram(  # type: ignore[overload-overlap] # no labels are labels too
        self,
        name: str,
        help: str = ...,
        labels: NoLabels = ...,
        *,
        unit: str = ...,
        buckets: Iterable[float] | None = ...,
    ) -> Histogram: ...
    @overload
    def histogram(
        self, name: str, help: str, labels: Sequence[str], *, unit: str = ..., buckets: Iterable[float] | None = ...
    ) -> Labelled[Histogram]: ...
    def histogram(
        self,
        name: str,
        help: str = "",  # noqa: A002  Prometheus' word
        labels: Sequence[str] = (),
        *,
        unit: str = "",
        buckets: Iterable[float] | None = None,
    ) -> Histogram | Labelled[Histogram]:
        """How values are distributed, any quantile within 1.1 %; arguments and errors as for `counter`.

        Args:
            name: as Prometheus allows.
            help: one sentence for people.
            labels: their names.
            unit: a base unit that the name ends in.
            buckets: upper bounds for `le` at `/metrics`, ascending, at most 32; None takes those that go with the last word of the name
                (`atmost.metrics.default_bounds`). They change nothing about what is recorded: that is the same for any bounds.
        """
        bounds = check_bounds(name, buckets)
        made: Histogram | Labelled[Histogram] = self._declare(Histogram, "histogram", name, help, labels, unit, bounds)
        return made

    def reading(self, name: str, value: Number) -> bool:
        """Sends one plain reading, now: for agents, which measure things that keep no totals.

        Args:
            name: dotted, such as `cpu.utilization`; the rest of the subject.
            value: one that is not a finite number is counted as `bad_value`, and not sent.

        Returns:
            What `Sender.send` says; False for a bad value.

        Raises:
            SubjectError: the name cannot be part of a subject.
        """
        subject = check_subject(f"{self._subject}.{name}")
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number) or isinstance(value, str):
            self._registry.drop(MetricDropReason.BAD_VALUE)
            return False
        return self._sender.send(subject, number)

    def flush(self) -> int:
        """Sends a snapshot of what changed lately, now; returns the number of messages."""
        return self._tick()

    @property
    def sender(self) -> Sender:
        """What carries the readings."""
        return self._sender

    def close(self, timeout: float = 0.1) -> None:
        """Sends a last snapshot of everything, several times, and ends; may be called twice. Later measurements are never sent.

        Args:
            timeout: seconds over which the repeats are spaced, at most 86,400; 0 sends them at once.

        Raises:
            OptionError: the timeout is longer, negative or not a number.
        """
        run(self._closing(timeout))
        if self._owns_sender:
            self._sender.close(timeout)

    async def aclose(self, timeout: float = 0.1) -> None:
        """Closes without blocking the event loop; see `close`."""
        await run_async(self._closing(timeout))
        if self._owns_sender:
            await self._sender.aclose(timeout)

    def last_words(self, until: float) -> Iterator[float]:
        """Sends the last snapshot and its repeats, for `atmost.lifecycle`; nothing when nothing was counted since the last time.

        Yields:
            Seconds to wait before it goes on.
        """
        if self._closed or not self._registry.has_news:
            return
        parts = self._send(final=True)
        turns = wire.FINALS if parts <= _MANY_PARTS else 2
        self._sender.flush()  # each repeat in a datagram of its own
        for left in range(turns - 1 if parts else 0, 0, -1):
            yield max(0.0, until - time.monotonic()) / left
            self._registry.repeat_final(self._send_part)
            self._sender.flush()

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002  everything is the parent's
        """Begins another life at zero in a forked child, for `atmost.lifecycle`."""
        self._registry.renew(_life(), time.monotonic())
        self._rhythm = Rhythm(self, Metrics._tick, self._interval, "atmost-metrics")
        self.resume()

    def resume(self) -> None:
        """Sends snapshots from now on where no thread could be started before, for `atmost.lifecycle`."""
        if not self._closed and not self._registry.is_empty:
            self._rhythm.start()

    @property
    def dropped(self) -> dict[str, int]:
        """What was refused so far, by `MetricDropReason`: bad values, bad labels, series beyond the limit, failed callbacks."""
        return self._registry.dropped

    def __enter__(self) -> Self:
        """The metrics themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        """The metrics themselves."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes them without blocking the event loop."""
        await self.aclose()

    def __del__(self) -> None:
        """Sends a last snapshot when nobody holds the metrics any more; a finalizer must not wait."""
        if "_rhythm" in self.__dict__ and not sys.is_finalizing():
            self.close(timeout=0)

    def __reduce__(self) -> NoReturn:
        """A copy would number its snapshots like the original."""
        raise TypeError("Metrics cannot be pickled or copied: construct them in each process")

    def __repr__(self) -> str:
        """Sender and interval."""
        return f"<Metrics of {self._sender.name!r} every {self._interval:g} s>"

    def _declare(
        self, kind: type[Any], tag: str, name: str, text: str, labels: Any, unit: str, extra: Any = None
    ) -> Any:
        if not HERE[0]:
            notice_fork()
        made = self._registry.declare(kind, tag, name, text, labels, unit, extra)
        if not self._closed:
            self._rhythm.start()
        return made

    def _closing(self, timeout: float) -> Iterator[float]:
        if not isinstance(timeout, (int, float)) or not 0 <= timeout <= LONGEST_CLOSE:
            raise OptionError("timeout", timeout, f"seconds from 0 to {LONGEST_CLOSE:g}")
        if self._closed:
            return
        until = time.monotonic() + timeout
        self._rhythm.stop()
        for pause in self.last_words(until):
            if timeout:
                yield pause
        self._closed = True
        yield from self._rhythm.ending(until)
        unregister(self)

    def _tick(self) -> int:
        """The snapshot of an interval; none while the last one was said to be the last, and nothing was counted since."""
        return self._send() if self._registry.has_news else 0

    def _send(self, *, final: bool = False) -> int:
        if not HERE[0]:
            notice_fork()
        return 0 if self._closed else self._registry.snapshot(time.monotonic(), self._send_part, final=final)

    def _send_part(self, payload: bytes) -> int:
        """Sends one part; returns the room there is when it was too large for this sender."""
        try:
            self._sender.send(self._snapshots, msgspec.Raw(payload))
        except PayloadTooLarge as error:
            return max(1, error.limit - len(wire.encode(self._snapshots)))
        except LossNotTolerated:  # declared meanwhile
            self._registry.drop(MetricDropReason.MUST_DELIVER)
        return 0


def _with_callback(made: Any, callback: Callable[[], Number], name: str) -> None:
    if isinstance(made, Labelled):
        raise MetricError(name, "a callback is possible only for a metric without labels")
    if not callable(callback):
        raise MetricError(name, f"callback={callback!r} cannot be called")
    made.callback = callback


def _life() -> bytes:
    return secrets.token_bytes(8)


def measure_process(metrics: Metrics) -> None:
    """Declares processor time, memory, open files, threads and the start; each is asked for at every snapshot."""
    import psutil

    def process() -> psutil.Process:
        return psutil.Process()  # each time: a forked child is another process

    def cpu() -> float:
        times = process().cpu_times()
        return times.user + times.system

    metrics.counter("process_cpu_seconds_total", "Processor time, user and system", unit="seconds", callback=cpu)
    metrics.gauge(
        "process_resident_memory_bytes",
        "Memory in use",
        unit="bytes",
        mode="each",
        callback=lambda: process().memory_info().rss,
    )
    metrics.gauge("process_open_fds", "Open file descriptors", mode="each", callback=lambda: process().num_fds())
    metrics.gauge("process_threads", "Threads", mode="each", callback=lambda: process().num_threads())
    metrics.gauge(
        "process_start_time_seconds",
        "Start, since 1970",
        unit="seconds",
        mode="each",
        callback=lambda: process().create_time(),
    )
