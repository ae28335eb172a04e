"""The one background thread of a `Metrics`: one snapshot an interval, in an even rhythm.

It holds its owner weakly and ends with it.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any, Protocol


class _Owner(Protocol):
    def _send(self) -> Any: ...


class Ticker:
    """Calls the owner's `_send` once an interval."""

    def __init__(self, owner: _Owner, interval: float) -> None:
        """Args: owner: held weakly. interval: seconds."""
        self._owner = weakref.ref(owner, self._forget)
        self._interval = interval
        self._ended = threading.Event()
        self._started = False

    def start(self) -> None:
        """Starts the thread, once."""
        if self._started or self._ended.is_set():
            return
        self._started = True
        try:
            threading.Thread(target=_run, args=(self,), name="atmost-metrics", daemon=True).start()
        except RuntimeError:  # the interpreter is ending, or threads have run out: the next declaration tries again
            self._started = False

    def stop(self) -> None:
        """Ends the thread at its next turn."""
        self._ended.set()

    def _forget(self, _reference: object) -> None:
        self._ended.set()

    def turn(self) -> bool:
        """One snapshot; False when there is nobody to take it of."""
        owner = self._owner()
        if owner is None or self._ended.is_set():
            return False
        owner._send()  # noqa: SLF001  the two are one component
        return True


def _run(ticker: Ticker) -> None:
    interval = ticker._interval  # noqa: SLF001
    due = time.monotonic() + interval
    while not ticker._ended.wait(max(0.0, due - time.monotonic())):  # noqa: SLF001
        if not ticker.turn():
            return
        # After a pause one snapshot for all of it, and the rhythm of before.
        due += interval * (1 + max(0.0, time.monotonic() - due) // interval)
