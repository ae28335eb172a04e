"""`Heartbeat`: reports that something lives, once an interval, and says goodbye when it ends.

Safe from any thread. A beat never raises and never waits; what goes wrong in it is counted, and the next beat reports it.
A forked child does not beat in its parent's name: it has to start a heartbeat of its own.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn, Self

import msgspec

from atmost.core.events import DropReason
from atmost.endpoint.background import Rhythm, next_due
from atmost.endpoint.must_deliver import check_lossy
from atmost.endpoint.opening import GivenSender, open_sender
from atmost.heartbeats.beat import MAX_REASON, SUBJECT, Beat, HeartbeatEnding, check_rhythm, subject_of
from atmost.heartbeats.ending import STOPPED, How, ending_of, how_the_process_ends, watch_the_exit
from atmost.lifecycle import HERE, Floor, is_first_worker, may_start_threads, notice_fork, register, run, run_async

if TYPE_CHECKING:  # whoever beats from an event loop has loaded it
    import asyncio

GOODBYES: Final = 5
"""Messages that say goodbye: the loss of all of them reads as death, which is one in 3 million at 5 % loss, 3 in 10,000 at 20 %."""
_SPACED: Final = 0.1
"""Seconds: back to back they would die together in a full buffer."""
_running: set[Heartbeat] = set()
"""Those that beat are held: `Heartbeat(sender, name).start()` is enough. They end with `stop`, their sender or the process."""


@dataclass(frozen=True, slots=True)
class HeartbeatStats:
    """What became of a heartbeat's beats."""

    beats: int
    """Beats of this life."""
    errors: int
    """Beats that could not be made, over all lives."""


class Heartbeat:
    """Signs of life of a process, a worker, or a job.

    Example:
        >>> Heartbeat(sender, "worker-7").start()
        >>> with Heartbeat("udp://127.0.0.1:7140", "nightly-report", interval=5.0):
        ...     write_report()
    """

    def __init__(
        self,
        sender: GivenSender = None,
        name: str | None = None,
        interval: float = 1.0,
        *,
        timeout: float | None = None,
        subject: str = SUBJECT,
    ) -> None:
        """Prepares; the first beat is sent by `start`, `async with` or `with`.

        Args:
            sender: carries the beats. A `Sender` is not closed here. From a URL, from the arguments of a Sender by
                name, or from None, which takes `ATMOST_URL`, one is made here; its session ends with the heartbeat.
            name: the rest of the subject; unique among the heartbeats that one monitor watches. None takes the sender's name.
            interval: seconds between beats. Shorter finds a death sooner and costs a datagram each.
            timeout: seconds of silence that mean `down`; None leaves it to the loss that the monitor measures.
            subject: the first tokens of the subject.

        Raises:
            OptionError: the interval is out of range, the timeout below 2 × interval, or the sender is not a sender.
            SubjectError: the name cannot be part of a subject.
            AddressError: the URL cannot be used.
            LossNotTolerated: its subject must be delivered.
        """
        self._interval, self._timeout = check_rhythm(interval, timeout)
        if name is not None:
            check_lossy(subject_of(subject, name))  # before a sender is made
        self._sender, self._owned = open_sender(sender, "stats")
        self._name = self._sender.name if name is None else name
        self._subject = check_lossy(subject_of(subject, self._name))
        self._errors = 0
        self._rhythm: Rhythm[Heartbeat] | None = None
        self._task: asyncio.Task[None] | None = None
        self._waits = False
        self._begin_life()
        register(self, Floor.USE)

    @property
    def name(self) -> str:
        """The name under which it beats."""
        return self._name

    @property
    def running(self) -> bool:
        """Whether it beats."""
        return self._running

    def stats(self) -> HeartbeatStats:
        """Returns what became of its beats."""
        return HeartbeatStats(self._number, self._errors)

    def start(self) -> Self:
        """Beats now, and then once an interval from a thread of its own; does nothing if it beats already.

        It is held until `stop`, or until its sender is closed. After `stop` it begins a new life.
        While uWSGI loads the program no thread may run, so it beats from uWSGI's first worker.
        """
        if not may_start_threads():
            self._waits = True
            _running.add(self)
            return self
        if self._begin():
            self._beat()
            self._rhythm = Rhythm(self, Heartbeat._beat, self._interval, "atmost-heartbeat")
            if not self._rhythm.start():  # the interpreter is ending, or threads have run out
                self._errors += 1
        return self

    def stop(self, timeout: float = _SPACED) -> None:
        """Says goodbye, so that its silence is `stopped` and not `down`; may be called twice.

        Args:
            timeout: seconds over which the goodbyes are spaced; 0 sends only one.
        """
        run(self._closing(STOPPED, timeout))

    def fail(self, error: BaseException | type[BaseException] | str | None = None, timeout: float = _SPACED) -> None:
        """Says goodbye as `failed`.

        Args:
            error: why it failed. Of an exception only the name of its class is sent; a text is sent as it is, at most 128
                characters of it.
            timeout: as for `stop`.
        """
        reason = error if isinstance(error, str) else "" if error is None else ending_of(error)[1] or _class_name(error)
        run(self._closing((HeartbeatEnding.FAILED, reason.encode(errors="replace").decode()[:MAX_REASON]), timeout))

    async def run(self) -> None:
        """Beats from this event loop until cancelled: a loop that is blocked does not beat."""
        import asyncio

        if not self._begin():
            return
        due = time.monotonic()
        try:
            while self._running:
                self._beat()
                due = next_due(due, self._interval, time.monotonic())
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            self.stop(timeout=0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Says goodbye: `stopped` on a normal end and when it was told to stop, `failed` on an error."""
        run(self._closing(ending_of(error), _SPACED))

    async def __aenter__(self) -> Self:
        """Beats from this event loop."""
        import asyncio

        self._task = asyncio.get_running_loop().create_task(self.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Says goodbye as `with` does, without blocking the loop."""
        import asyncio

        task, self._task = self._task, None
        # The goodbye takes the heartbeat from the task, which then has none of its own to say.
        steps = self._closing(ending_of(error), _SPACED)
        pause = next(steps, None)
        if task is not None:
            task.cancel()
        if pause is not None:
            await asyncio.sleep(pause)
            await run_async(steps)

    def renew(self, *, seen: bool) -> None:
        """The child's first step: silence, because the name is its parent's; see `lifecycle.Living`."""
        del seen
        if not self._waits:
            _running.discard(self)
        self._rhythm = None
        self._task = None
        self._begin_life()

    def resume(self) -> None:
        """Beats in uWSGI's first worker if it was started while the program was loaded, for `atmost.lifecycle`."""
        waited, self._waits = self._waits, False
        if waited and is_first_worker():
            self.start()
        elif waited:
            _running.discard(self)

    def last_words(self, until: float) -> Iterator[float]:
        """Says goodbye with the process, as stopped or failed; see `lifecycle.register`."""
        if not self._running:
            return iter(())
        return self._closing(how_the_process_ends(), max(0.0, until - time.monotonic()))

    def __reduce__(self) -> NoReturn:
        """A copy would beat in the same name."""
        raise TypeError("a Heartbeat cannot be pickled or copied: construct one in each process")

    def __repr__(self) -> str:
        """Name and interval."""
        return f"<Heartbeat {self._name!r} every {self._interval:g} s{'' if self._running else ' (not running)'}>"

    def _begin_life(self) -> None:
        self._running = False
        self._number = 0
        self._life = secrets.token_hex(8)
        self._began = time.monotonic()
        self._guard = threading.RLock()  # a signal handler may stop it in the middle of a beat

    def _begin(self) -> bool:
        if not HERE[0]:
            notice_fork()
        with self._guard:
            if self._running:
                return False
            if self._number:
                self._life, self._number = secrets.token_hex(8), 0
            self._began = time.monotonic()
            self._running = True
        _running.add(self)
        watch_the_exit()
        return True

    def _end(self) -> bool:
        """Ends the rhythm; whether there is a goodbye to say."""
        if not HERE[0]:
            notice_fork()
        with self._guard:
            ends, self._running = self._running, False
        self._waits = False
        _running.discard(self)
        rhythm, self._rhythm = self._rhythm, None
        if rhythm is not None:
            rhythm.stop()
        return ends

    def _closing(self, how: How, timeout: float) -> Iterator[float]:
        """The goodbye and its copies: they have one number, that of the next beat."""
        if not self._end():
            return
        number = self._number
        for turn in range(GOODBYES if timeout > 0 else 1):
            if turn:
                yield timeout / (GOODBYES - 1)
            if self._running and turn:  # begun anew meanwhile
                return
            self._send(number, *how)
            try:
                self._sender.flush()
            except Exception:  # noqa: BLE001  see `_send`
                self._errors += 1
        if self._owned:  # its session ends; a new life begins another one
            yield from self._sender.last_words(time.monotonic() + timeout)

    def _beat(self) -> None:
        """One beat; whatever goes wrong is counted."""
        if not HERE[0]:
            notice_fork()
        with self._guard:
            if not self._running:
                return
            taken = self._send(self._number, None, "")
            self._number += 1
        if not taken and DropReason.CLOSED in self._sender.stats().dropped:
            self._end()  # with its session's goodbye

    def _send(self, number: int, ending: HeartbeatEnding | None, reason: str) -> bool:
        try:
            stats = self._sender.stats()
            beat = Beat(
                number=number,
                interval=self._interval,
                life=self._life,
                uptime=round(time.monotonic() - self._began, 3),
                offered=stats.offered,
                dropped=sum(stats.dropped.values()),
                refused=sum(stats.refused.values()),
                errors=self._errors,
                timeout=self._timeout,
                ending=ending,
                reason=reason,
            )
            return self._sender.send(self._subject, msgspec.to_builtins(beat))
        except Exception:  # noqa: BLE001  a beat never harms what it reports on: counted, and the next beat says so
            self._errors += 1
            return True


def _class_name(error: BaseException | type[BaseException]) -> str:
    return (error if isinstance(error, type) else type(error)).__name__
