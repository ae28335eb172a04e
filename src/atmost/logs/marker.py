"""The one background thread for the marks of all handlers of a process: it sleeps while nothing is logged.

It holds the handlers' writers weakly, and is started by the first record of any of them.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from typing import Final, Protocol

_LONGEST_WAIT: Final = 3600.0


class _Writer(Protocol):
    def _tick(self, now: float) -> float | None: ...


class Marker:
    """Calls the writers' `_tick` when something is due."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._writers: list[weakref.ref[_Writer]] = []
        self._signal = threading.Lock()  # held while there is nothing to wake for
        self._signal.acquire()
        self._comes_at = math.inf
        self._started = False

    def add(self, writer: _Writer) -> None:
        """Makes a writer known."""
        self._writers.append(weakref.ref(writer))

    def wake_at(self, when: float) -> bool:
        """Makes sure that a turn comes at `when` (monotonic, seconds) or before; False when there is no thread to be had."""
        if when >= self._comes_at:
            return True
        self._comes_at = when
        if not self._started:
            self._started = True
            try:
                threading.Thread(target=_run, args=(self,), name="atmost-logs", daemon=True).start()
            except RuntimeError:  # the interpreter is ending, or threads have run out: the next record tries again
                self._started = False
                self._comes_at = math.inf
                return False
        with contextlib.suppress(RuntimeError):  # already rung
            self._signal.release()
        return True

    def turn(self) -> float:
        """One turn; returns seconds to wait."""
        self._comes_at = -math.inf  # awake: nobody need ring
        due = self._ask_all()
        self._comes_at = due
        # Whoever looked before this line may have relied on a turn to come; look once more.
        self._comes_at = due = min(due, self._ask_all())
        return max(0.0, min(_LONGEST_WAIT, due - time.monotonic()))

    def _ask_all(self) -> float:
        due = math.inf
        for reference in tuple(self._writers):
            writer = reference()
            if writer is None:
                self._writers.remove(reference)
                continue
            at = writer._tick(time.monotonic())  # noqa: SLF001  the two are one component
            due = min(due, math.inf if at is None else at)
        return due


def _run(marker: Marker) -> None:
    while True:
        marker._signal.acquire(timeout=marker.turn())  # noqa: SLF001


marker = Marker()


def the_marker() -> Marker:
    """The one of this process."""
    return marker


def _renew_after_fork() -> None:
    global marker  # noqa: PLW0603  the child has another thread, so it needs another one
    marker = Marker()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
