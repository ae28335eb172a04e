"""A background thread that sleeps until something is due or it is woken; senders, snapshots, beats and marks use it.

It holds its owner weakly and ends with it. Nothing is started before the first `wake_at`.

Theory of operation. `comes_at` is when the thread will look at its owner next: infinity while it sleeps without a deadline or does not exist,
0 while it is at work. A caller whose work is due earlier lowers it and rings; any other need not, so most wake-ups cost one comparison.
A turn looks twice: after the first look it announces when it will come again, and the second look finds what came in between.

The bell is a lock that the sleeping thread waits for, made together with the thread and never before it.
A program that `gevent` or `eventlet` patches late then gets a green thread with a green lock; a native one would stop the whole process.
The bell is also the thread's right to go on: a thread whose bell is no longer the current one ends at its next turn.
A thread that ends while its bell is the current one was ended from outside, by an exception that is not its own; another one takes over at once,
because callers may rely on its next turn.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Generic, TypeVar

from atmost.lifecycle import ThreadArguments, may_start_threads

NEVER: Final = float("inf")
_LONGEST_WAIT: Final = 3600.0
_AFTER_ERROR: Final = 0.05
"""When a turn that raised is taken again, seconds."""

Owner = TypeVar("Owner")


class Background(Generic[Owner]):
    """Takes the owner's turn whenever it is due."""

    __slots__ = ("__weakref__", "_bell", "_name", "_owner", "_stopped", "_thread", "_turn_of", "comes_at")

    def __init__(self, owner: Owner, turn: Callable[[Owner], float | None], name: str) -> None:
        """Prepares it.

        Args:
            owner: held weakly.
            turn: the owner's method, not bound. It does what is due, and returns when it is to be called again (monotonic, seconds),
                or None to sleep until somebody wakes the thread.
            name: of the thread.
        """
        self._owner = weakref.ref(owner, self._end_with_owner)
        self._turn_of = turn
        self._name = name
        self._bell: Any = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self.comes_at = NEVER
        """When it looks next by itself, monotonic seconds; 0 while it is at work."""

    def wake_at(self, when: float | None) -> bool:
        """Makes sure that a turn comes at `when` (monotonic, seconds) or before; cheap when one is coming anyway.

        Returns:
            False when no thread could be started, so that the next call tries again, or when it was stopped.
        """
        if self._stopped:
            return False
        if when is None or when >= self.comes_at:
            return True
        if self._bell is None and not self._start():
            return False
        self.comes_at = when
        self._ring(self._bell)
        return True

    def rest(self) -> None:
        """Ends the thread; the next `wake_at` starts another."""
        bell, self._bell = self._bell, None
        self.comes_at = NEVER
        self._ring(bell)

    def stop(self) -> None:
        """Ends the thread for good."""
        self._stopped = True
        self.rest()

    def ending(self, until: float) -> Iterator[float]:
        """Waits for the thread's end after `rest` or `stop`; yields pauses in seconds, for `lifecycle.run`.

        Args:
            until: when to give up waiting, monotonic seconds.
        """
        thread = self._thread
        while thread is not None and thread is not threading.current_thread() and thread.is_alive():
            if time.monotonic() >= until:
                return
            yield 0.0005

    def _start(self) -> bool:
        """Starts the thread; a signal handler may come in between, and then finds the bell of the thread that is being started."""
        if sys.is_finalizing():  # the new thread would never run, and CPython 3.11 would wait for it
            return False
        if not may_start_threads():
            return False
        bell = threading.Lock()
        bell.acquire()
        thread = threading.Thread(
            target=_run,
            args=ThreadArguments((self, bell), partial(self._replace, bell)),
            name=self._name,
            daemon=True,
        )
        try:
            self._bell = bell
            thread.start()
        except BaseException as error:
            self._bell = None  # if it runs nevertheless, it ends at its first turn
            self.comes_at = NEVER
            if not isinstance(error, RuntimeError):
                raise
            return False  # the interpreter is ending, or threads have run out
        if self._bell is bell:  # else it has ended already, and another one is there
            self._thread = thread
        return True

    def _replace(self, bell: object) -> None:
        """Starts another thread in the place of one that was ended from outside."""
        if self._bell is bell:
            self.rest()
            self.wake_at(time.monotonic())

    def _end_with_owner(self, _reference: object) -> None:
        self.stop()

    @staticmethod
    def _ring(bell: Any) -> None:
        if bell is not None:
            try:  # noqa: SIM105  an owner may die while the interpreter ends, when this module's globals are gone
                bell.release()
            except RuntimeError:  # it has been rung already
                pass

    def _turn(self, bell: object) -> float | None:
        """One turn; returns seconds to wait, or None when it is over."""
        owner = self._owner()
        if owner is None or self._bell is not bell:
            return None
        self.comes_at = 0.0  # at work: no caller need ring
        deadline = self._turn_of(owner)
        self.comes_at = NEVER if deadline is None else deadline
        # A caller that read `comes_at` before this line may rely on a turn to come.
        again = self._turn_of(owner)
        if self._bell is not bell:  # it was told to rest meanwhile
            self.comes_at = NEVER
            return None
        self.comes_at = min(self.comes_at, NEVER if again is None else again)
        return max(0.0, min(_LONGEST_WAIT, self.comes_at - time.monotonic()))


def _run(background: Background[Any], bell: Any) -> None:
    while True:
        try:
            wait = background._turn(bell)  # noqa: SLF001  the two are one component
        except Exception:  # noqa: BLE001  an exception from outside, as another thread can raise here: the owner's own turns raise nothing
            wait = _AFTER_ERROR
        if wait is None:
            return
        bell.acquire(timeout=wait)


class Rhythm(Generic[Owner]):
    """Takes the owner's turn once an interval, in an even rhythm."""

    def __init__(self, owner: Owner, turn: Callable[[Owner], object], interval: float, name: str) -> None:
        """Prepares it.

        Args:
            owner: held weakly.
            turn: the owner's method, not bound; must not raise.
            interval: seconds.
            name: of the thread.
        """
        self._turn = turn
        self._interval = interval
        self._due = NEVER
        self._background = Background(owner, self._tick, name)

    def start(self) -> bool:
        """Starts the thread, once; False when the system has none to give, and the next call tries again."""
        if self._due == NEVER:
            self._due = time.monotonic() + self._interval
        return self._background.wake_at(self._due)

    def stop(self) -> None:
        """Ends the thread for good."""
        self._background.stop()

    def ending(self, until: float) -> Iterator[float]:
        """Waits for the thread's end, as `Background.ending` does."""
        return self._background.ending(until)

    def _tick(self, owner: Owner) -> float:
        now = time.monotonic()
        if now >= self._due:
            self._turn(owner)
            self._due = next_due(self._due, self._interval, time.monotonic())
        return self._due


def next_due(due: float, interval: float, now: float) -> float:
    """When the next turn is due: after a pause one turn makes up for all that were missed, and the rhythm stays.

    Args:
        due: when this one was, seconds.
        interval: seconds.
        now: seconds.
    """
    return due + interval * (1 + max(0.0, now - due) // interval)
