"""The one background thread of an `Invalidator`: a mark an interval, in an even rhythm.

It holds its owner weakly, and ends with it.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any, Protocol


class _Owner(Protocol):
    def _mark(self) -> Any: ...


class Marker:
    """Calls the owner's `_mark` once an interval."""

    def __init__(self, owner: _Owner, interval: float) -> None:
        """Args: owner: held weakly. interval: seconds."""
        self._owner = weakref.ref(owner, self._forget)
        self.interval = interval
        self.ended = threading.Event()

    def start(self) -> None:
        """Starts the thread; where the system has none to give readers go blind, which is safe."""
        try:
            threading.Thread(target=_run, args=(self,), name="atmost-marks", daemon=True).start()
        except RuntimeError:
            return

    def stop(self) -> None:
        """Ends the thread at its next turn."""
        self.ended.set()

    def turn(self) -> bool:
        """One mark; False when there is nobody to make it."""
        owner = self._owner()
        if owner is None or self.ended.is_set():
            return False
        owner._mark()  # noqa: SLF001  the two are one component
        return True

    def _forget(self, _reference: object) -> None:
        self.ended.set()


def _run(marker: Marker) -> None:
    interval = marker.interval
    due = time.monotonic() + interval
    while not marker.ended.wait(max(0.0, due - time.monotonic())):
        if not marker.turn():
            return
        # After a pause one mark for all of it, and the rhythm of before.
        due += interval * (1 + max(0.0, time.monotonic() - due) // interval)
