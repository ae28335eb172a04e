"""`Heartbeat`: tells that something lives, once an interval, and says goodbye when it ends.

Safe from any thread. A beat never raises and never waits; what goes wrong in it is counted and told by the next one.
A forked child does not beat in its parent's name: it has to start a heartbeat of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import sys
import threading
import time
import weakref
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import msgspec

from atmost.core.events import DropReason
from atmost.endpoint.checking import check_sender
from atmost.endpoint.must_deliver import check_lossy
from atmost.endpoint.rhythm import Rhythm, next_due
from atmost.endpoint.sender import Sender
from atmost.heartbeats.beat import SUBJECT, Beat, Ending, check_rhythm, subject_of

GOODBYES: Final = 5
"""Messages that say goodbye, for the loss of all of them reads as death: one in 3 million at 5 % loss, 3 in 10,000 at 20 %."""
_SPACED: Final = 0.1
"""Seconds: back to back they would die together in a full buffer."""
_EXIT_TIMEOUT: Final = 0.02
_all: weakref.WeakSet[Heartbeat] = weakref.WeakSet()
_running: set[Heartbeat] = set()
"""Those that beat are held: `Heartbeat(sender, name).start()` is enough. They end with `stop`, their sender or the process."""


class Heartbeat:
    """One thing that lives: a process, a worker, or a job.

    Example:
        >>> Heartbeat(sender, "worker-7").start()
        >>> with Heartbeat(sender, "nightly-report", interval=5.0):
        ...     write_report()
    """

    def __init__(
        self, sender: Sender, name: str, interval: float = 1.0, *, timeout: float | None = None, subject: str = SUBJECT
    ) -> None:
        """Prepares; the first beat is sent by `start`, `async with` or `with`.

        Args:
            sender: carries the beats; it stays its owner's to close, after `stop` here.
            name: who lives, the rest of the subject; unique among what one monitor watches.
            interval: seconds between beats. Shorter finds a death sooner and costs a datagram each.
            timeout: seconds of silence that mean `down`; None leaves it to the loss that the monitor measures.
            subject: the first tokens of the subject.

        Raises:
            OptionError: the interval is out of range, the timeout below 2 × interval, or the sender is none.
            SubjectError: the name cannot be part of a subject.
            LossNotTolerated: its subject must be delivered.
        """
        self._interval, self._timeout = check_rhythm(interval, timeout)
        self._subject = check_lossy(subject_of(subject, name))
        self._name = name
        self._sender = check_sender(sender, "stats")
        self._errors = 0
        self._rhythm: Rhythm[Heartbeat] | None = None
        self._task: asyncio.Task[None] | None = None
        self._begin_life()
        _all.add(self)

    @property
    def name(self) -> str:
        """Who lives."""
        return self._name

    @property
    def running(self) -> bool:
        """Whether it beats."""
        return self._running

    @property
    def beats(self) -> int:
        """Beats of this life, with the goodbye."""
        return self._number

    @property
    def errors(self) -> int:
        """Beats that could not be made, over all lives."""
        return self._errors

    def start(self) -> Self:
        """Beats now, and then once an interval from a thread of its own; does nothing when it beats already.

        It is held until `stop`, or until its sender is closed. After `stop` it begins a new life.
        """
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
        self._say(Ending.STOPPED, "", timeout)

    def fail(self, error: BaseException | type[BaseException] | None = None, timeout: float = _SPACED) -> None:
        """Says goodbye as `failed`; only the name of the exception's class is told.

        Args:
            error: what ended it.
            timeout: as for `stop`.
        """
        self._say(Ending.FAILED, _class_name(error), timeout)

    async def run(self) -> None:
        """Beats from this event loop until cancelled: a loop that is blocked does not beat."""
        if not self._begin():
            return
        due = time.monotonic()
        try:
            while self._running and os.getpid() == self._pid:
                self._beat()
                due = next_due(due, self._interval, time.monotonic())
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            self.stop(timeout=0)

    def __enter__(self) -> Self:
        """Starts."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Says goodbye: stopped on a normal end, failed on an exception."""
        self._say(*_ending_of(error), _SPACED)

    async def __aenter__(self) -> Self:
        """Beats from this event loop."""
        self._task = asyncio.get_running_loop().create_task(self.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Says goodbye as `with` does, without blocking the loop."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        if not self._end():
            return
        ending, reason = _ending_of(error)
        for turn in range(GOODBYES):
            if turn:
                await asyncio.sleep(_SPACED / (GOODBYES - 1))
            self._goodbye(ending, reason)

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
        self._pid = os.getpid()
        self._guard = threading.RLock()  # a signal handler may stop it in the middle of a beat

    def _begin(self) -> bool:
        if os.getpid() != self._pid:  # forked by C code, past the hook
            self._after_fork()
        with self._guard:
            if self._running:
                return False
            if self._number:
                self._life, self._number = secrets.token_hex(8), 0
            self._began = time.monotonic()
            self._running = True
        _running.add(self)
        return True

    def _end(self) -> bool:
        """Ends the rhythm; whether there is a goodbye to say."""
        if os.getpid() != self._pid:
            return False
        with self._guard:
            ends, self._running = self._running, False
        _running.discard(self)
        rhythm, self._rhythm = self._rhythm, None
        if rhythm is not None:
            rhythm.stop()
        return ends

    def _beat(self) -> None:
        """One beat; whatever goes wrong is counted."""
        if os.getpid() != self._pid:
            return
        with self._guard:
            if not self._running:
                return
            taken = self._send(None, "")
            self._number += 1
        if not taken and self._sender_closed():
            self._end()  # with its session's goodbye

    def _say(self, ending: Ending, reason: str, timeout: float) -> None:
        if not self._end():
            return
        for turn in range(GOODBYES if timeout > 0 else 1):
            if turn:
                time.sleep(timeout / (GOODBYES - 1))
            self._goodbye(ending, reason)

    def _goodbye(self, ending: Ending, reason: str) -> None:
        """A goodbye: its copies have one number, that of the next beat."""
        self._send(ending, reason)
        try:
            self._sender.flush()
        except Exception:  # noqa: BLE001  see `_send`
            self._errors += 1

    def _send(self, ending: Ending | None, reason: str) -> bool:
        try:
            stats = self._sender.stats()
            beat = Beat(
                number=self._number,
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
        except Exception:  # noqa: BLE001  a beat never harms what it tells of: counted, and told by the next
            self._errors += 1
            return True

    def _sender_closed(self) -> bool:
        return DropReason.CLOSED in self._sender.stats().dropped

    def _after_fork(self) -> None:
        """The child's first step: silence, for the name is its parent's; `start` begins a life of its own."""
        _running.discard(self)
        self._rhythm = None
        self._task = None
        self._begin_life()


def _ending_of(error: BaseException | None) -> tuple[Ending, str]:
    """How a block ended; leaving it by `sys.exit()` with success is a normal end."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return Ending.STOPPED, ""
    return Ending.FAILED, _class_name(error)


def _class_name(error: Any) -> str:
    kind = error if isinstance(error, type) else type(error)
    return "" if error is None else kind.__name__[:128]


def _renew_after_fork() -> None:
    for heartbeat in list(_all):
        heartbeat._after_fork()  # noqa: SLF001  the module's own hook


def _goodbye_at_exit() -> None:
    """Says goodbye with the process; one that an exception ended has failed."""
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    for heartbeat in list(_running):
        if isinstance(error, Exception):  # not Ctrl-C, by which it was told to stop
            heartbeat.fail(error, _EXIT_TIMEOUT)
        else:
            heartbeat.stop(_EXIT_TIMEOUT)


atexit.register(_goodbye_at_exit)  # after the senders' own: what registers later is called earlier
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
