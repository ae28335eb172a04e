"""`Metrics`: declares what a service measures, and sends its state once an interval.

`inc()`, `set()` and `observe()` only change numbers in memory, from any thread or signal handler; one background thread,
started by the first declaration, does the sending. It holds its `Metrics` weakly and ends with it.
"""

from __future__ import annotations

import atexit
import math
import os
import secrets
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, NoReturn, Self, overload

import msgspec

from atmost.core.names import check_subject
from atmost.endpoint.background import Rhythm
from atmost.endpoint.checking import check_sender
from atmost.endpoint.must_deliver import check_lossy_below
from atmost.endpoint.sender import Sender
from atmost.errors import LossNotTolerated, MetricError, OptionError, PayloadTooLarge
from atmost.metrics import wire
from atmost.metrics.instruments import Counter, DropReason, Gauge, Histogram, Labelled, Number, kinds
from atmost.metrics.registry import Registry

SNAPSHOTS: Final = "snapshot"
"""The last token of the subject that snapshots are sent on."""

_counter, _gauge, _histogram = kinds()
_all: weakref.WeakSet[Metrics] = weakref.WeakSet()

NoLabels = tuple[()]


class Metrics:
    """The metrics of this process, sent over one sender; a forked child's begin at zero, with a life of their own."""

    def __init__(
        self,
        sender: Sender,
        interval: float = 1.0,
        *,
        subject: str = "metrics",
        max_series: int = 1000,
        process: bool = False,
    ) -> None:
        """Prepares to measure; no thread is started, and nothing sent, before the first declaration.

        Args:
            sender: carries the readings; it stays its owner's to close, after `close()` here.
            interval: seconds between snapshots. Shorter shows more and costs more; totals are right with any.
            subject: the first tokens of every subject used here.
            max_series: series over all metrics; beyond it `labels()` returns an instrument that is not sent, and counts.
            process: also measure this process: processor time, memory, open files, threads.

        Raises:
            OptionError: an option is outside its range, or the sender is none.
            SubjectError: the subject cannot be used.
            LossNotTolerated: subjects below it must be delivered.
        """
        if not isinstance(interval, int | float) or not wire.MIN_INTERVAL <= interval <= wire.MAX_INTERVAL:
            raise OptionError("interval", interval, "0.01 to 3600 seconds")
        if not isinstance(max_series, int) or not 1 <= max_series <= 100_000:
            raise OptionError("max_series", max_series, "1 to 100,000 series")
        self._subject = check_lossy_below(subject)
        self._snapshots = check_subject(f"{subject}.{SNAPSHOTS}")
        self._sender = check_sender(sender)
        self._interval = float(interval)
        name = sender.name[: wire.MAX_NAME // 2]
        self._registry = Registry(name, _life(), time.monotonic(), interval=self._interval, max_series=max_series)
        self._registry.keeper = self
        self._registry.room -= len(wire.encode(self._snapshots))
        self._pid = os.getpid()
        self._closed = False
        self._rhythm = Rhythm(self, Metrics._send, self._interval, "atmost-metrics")
        _all.add(self)
        if process:
            from atmost.metrics.metrics import measure_process

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
            labels: their names; with any, use `.labels(…)` to have the counter itself.
            unit: a base unit, as seconds or bytes; the name must have it before `_total`.
            callback: asked for the total at each snapshot instead; of a counter without labels.

        Raises:
            MetricError: a name is malformed, or was declared in another way.
        """
        made: Counter | Labelled[Counter] = self._declare(_counter, "counter", name, help, labels, unit)
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
        callback: Callable[[], Number] | None = ...,
    ) -> Gauge: ...
    @overload
    def gauge(self, name: str, help: str, labels: Sequence[str], *, unit: str = ...) -> Labelled[Gauge]: ...
    def gauge(
        self,
        name: str,
        help: str = "",  # noqa: A002  Prometheus' word
        labels: Sequence[str] = (),
        *,
        unit: str = "",
        callback: Callable[[], Number] | None = None,
    ) -> Gauge | Labelled[Gauge]:
        """A value that goes up and down; arguments and errors as for `counter`, the name without `_total`.

        A callback that fails, or has no finite number, leaves this snapshot without a reading, and is counted.
        """
        made: Gauge | Labelled[Gauge] = self._declare(_gauge, "gauge", name, help, labels, unit)
        if callback is not None:
            _with_callback(made, callback, name)
        return made

    @overload
    def histogram(  # type: ignore[overload-overlap] # no labels are labels too
        self, name: str, help: str = ..., labels: NoLabels = ..., *, unit: str = ...
    ) -> Histogram: ...
    @overload
    def histogram(self, name: str, help: str, labels: Sequence[str], *, unit: str = ...) -> Labelled[Histogram]: ...
    def histogram(
        self,
        name: str,
        help: str = "",  # noqa: A002  Prometheus' word
        labels: Sequence[str] = (),
        *,
        unit: str = "",
    ) -> Histogram | Labelled[Histogram]:
        """How values are distributed, any quantile within 1 %; arguments and errors as for `counter`."""
        made: Histogram | Labelled[Histogram] = self._declare(_histogram, "histogram", name, help, labels, unit)
        return made

    def reading(self, name: str, value: Number) -> bool:
        """Sends one plain reading, now: for agents, which measure things that keep no totals.

        Args:
            name: dotted, as `cpu.utilization`; the rest of the subject.
            value: what is no finite number is counted as `bad_value`, and not sent.

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
            self._registry.drop(DropReason.BAD_VALUE)
            return False
        return self._sender.send(subject, number)

    def flush(self) -> int:
        """Sends a snapshot of what changed lately, now; returns the number of messages."""
        return self._send()

    def close(self) -> None:
        """Sends a last snapshot of everything, and ends; what is measured afterwards is never sent. May be called twice."""
        if self._closed:
            return
        self._rhythm.stop()
        self._send(final=True)
        self._closed = True
        self._sender.flush()
        _all.discard(self)

    @property
    def dropped(self) -> dict[str, int]:
        """What was refused so far, by reason: bad values, bad labels, series beyond the limit, failed callbacks."""
        return self._registry.dropped

    def __enter__(self) -> Self:
        """The metrics themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes them."""
        self.close()

    def __del__(self) -> None:
        """Sends a last snapshot when nobody holds the metrics any more."""
        if "_rhythm" in self.__dict__ and not sys.is_finalizing():
            self.close()

    def __reduce__(self) -> NoReturn:
        """A copy would number its snapshots like the original."""
        raise TypeError("Metrics cannot be pickled or copied: construct them in each process")

    def __repr__(self) -> str:
        """Sender and interval."""
        return f"<Metrics of {self._sender.name!r} every {self._interval:g} s>"

    def _declare(self, kind: type[Any], tag: str, name: str, text: str, labels: Any, unit: str) -> Any:
        made = self._registry.declare(kind, tag, name, text, labels, unit)
        if not self._closed:
            self._rhythm.start()
        return made

    def _send(self, *, final: bool = False) -> int:
        if self._closed:
            return 0
        if os.getpid() != self._pid:  # forked by C code, past the hook
            self._after_fork()
        return self._registry.snapshot(time.monotonic(), self._send_part, final=final)

    def _send_part(self, payload: bytes) -> int:
        """Sends one part; returns the room there is when it was too large for this sender."""
        try:
            self._sender.send(self._snapshots, msgspec.Raw(payload))
        except PayloadTooLarge as error:
            return max(1, error.limit - len(wire.encode(self._snapshots)))
        except LossNotTolerated:  # declared meanwhile
            self._registry.drop(DropReason.MUST_DELIVER)
        return 0

    def _after_fork(self) -> None:
        """The child's first step: everything at zero, another life, another thread."""
        self._pid = os.getpid()
        self._registry.renew(_life(), time.monotonic())
        self._rhythm = Rhythm(self, Metrics._send, self._interval, "atmost-metrics")
        if not self._closed and self._registry.declared_any:
            self._rhythm.start()


def _with_callback(made: Any, callback: Callable[[], Number], name: str) -> None:
    if isinstance(made, Labelled):
        raise MetricError(name, "a callback answers for a metric without labels")
    if not callable(callback):
        raise MetricError(name, f"callback={callback!r} cannot be called")
    made.callback = callback


def _life() -> bytes:
    return secrets.token_bytes(8)


def _renew_after_fork() -> None:
    for metrics in list(_all):
        metrics._after_fork()  # noqa: SLF001  the module's own hook


def _close_at_exit() -> None:
    for metrics in list(_all):
        metrics.close()


atexit.register(_close_at_exit)  # after the senders' own: what registers later is called earlier
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


# Measures this process, by the names that Prometheus' clients use.


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
        "process_resident_memory_bytes", "Memory in use", unit="bytes", callback=lambda: process().memory_info().rss
    )
    metrics.gauge("process_open_fds", "Open file descriptors", callback=lambda: process().num_fds())
    metrics.gauge("process_threads", "Threads", callback=lambda: process().num_threads())
    metrics.gauge(
        "process_start_time_seconds",
        "Start, since 1970",
        unit="seconds",
        callback=lambda: process().create_time(),
    )
