"""The one background thread of a `Heartbeat`: a beat an interval, in an even rhythm.

It holds its owner weakly, and ends with it.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any, Protocol


class _Owner(Protocol):
    def _beat(self) -> Any: ...


class Beater:
    """Calls the owner's `_beat` once an interval."""

    def __init__(self, owner: _Owner, interval: float) -> None:
        """Args: owner: held weakly. interval: seconds."""
        self._owner = weakref.ref(owner, self._forget)
        self._interval = interval
        self._ended = threading.Event()

    def start(self) -> bool:
        """Starts the thread; False when the system has none to give."""
        try:
            threading.Thread(target=_run, args=(self,), name="atmost-heartbeat", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def stop(self) -> None:
        """Ends the thread at its next turn."""
        self._ended.set()

    def wait(self, seconds: float) -> bool:
        """Waits; True when it is over."""
        return self._ended.wait(seconds)

    def turn(self) -> bool:
        """One beat; False when there is nobody whose heart could beat."""
        owner = self._owner()
        if owner is None or self._ended.is_set():
            return False
        owner._beat()  # noqa: SLF001  the two are one component
        return True

    @property
    def interval(self) -> float:
        """Seconds."""
        return self._interval

    def _forget(self, _reference: object) -> None:
        self._ended.set()


def next_due(due: float, interval: float, now: float) -> float:
    """When the next beat is due: after a pause there is one beat for all of it, and the rhythm of before."""
    return due + interval * (1 + max(0.0, now - due) // interval)


def _run(beater: Beater) -> None:
    due = time.monotonic() + beater.interval
    while not beater.wait(max(0.0, due - time.monotonic())):
        if not beater.turn():
            return
        due = next_due(due, beater.interval, time.monotonic())
