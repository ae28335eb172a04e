"""The background thread of whoever has something to send once an interval: snapshots, beats, marks.

It holds its owner weakly and ends with it; a forked child has none until it starts one of its own.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

Owner = TypeVar("Owner")


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
        ended = self._ended = threading.Event()
        self._owner = weakref.ref(owner, lambda _reference: ended.set())
        self._turn = turn
        self._interval = interval
        self._name = name
        self._started = False

    def start(self) -> bool:
        """Starts the thread, once; False when the system has none to give, and the next call tries again."""
        if self._started or self._ended.is_set():
            return True
        self._started = True
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:  # the interpreter is ending, or threads have run out
            self._started = False
        return self._started

    def stop(self) -> None:
        """Ends the thread at its next turn."""
        self._ended.set()

    def turn(self) -> bool:
        """One turn; False when it is over, or nobody is there to take it."""
        owner = self._owner()
        if owner is None or self._ended.is_set():
            return False
        self._turn(owner)
        return True

    def _run(self) -> None:
        due = time.monotonic() + self._interval
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            if not self.turn():
                return
            due = next_due(due, self._interval, time.monotonic())


def next_due(due: float, interval: float, now: float) -> float:
    """When the next turn is due: after a pause there is one turn for all of it, and the rhythm of before.

    Args:
        due: when this one was, seconds.
        interval: seconds.
        now: seconds.
    """
    return due + interval * (1 + max(0.0, now - due) // interval)
