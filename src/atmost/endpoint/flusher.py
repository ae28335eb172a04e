"""The one background thread of a sender: it ends lingers, sends beacons, and offers held datagrams again (R7, R9).

It holds its sender weakly and ends with it; it is started by the first message and never before.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from typing import Final, Protocol

_NEVER: Final = float("inf")
_LONGEST_WAIT: Final = 60.0


class _Sender(Protocol):
    def _tick(self) -> float | None: ...


class Flusher:
    """Calls the sender's `_tick` when something is due."""

    def __init__(self, sender: _Sender) -> None:
        """Args: sender: held weakly."""
        self._sender = weakref.ref(sender)
        self._signal = threading.Lock()  # held while there is nothing to wake for
        self._signal.acquire()
        self.comes_at = _NEVER
        """When it comes by itself, monotonic seconds; in the past while it is at work."""
        self._started = False
        self._stopped = False

    def wake_at(self, when: float | None) -> None:
        """Makes sure that a turn comes at `when` (monotonic, seconds) or before; cheap when one is coming anyway."""
        if when is None or when >= self.comes_at or self._stopped:
            return
        self.comes_at = when
        if not self._started:
            self._started = True
            try:
                threading.Thread(target=_run, args=(self,), name="atmost-flusher", daemon=True).start()
            except RuntimeError:  # the interpreter is ending, or threads have run out: the next send tries again
                self._started = False
                self.comes_at = _NEVER
            return
        self._ring()

    def stop(self) -> None:
        """Ends the thread at its next turn."""
        self._stopped = True
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # already rung
            self._signal.release()

    def _turn(self) -> float | None:
        """One turn; returns seconds to wait, or None when it is over."""
        sender = self._sender()
        if sender is None or self._stopped:
            return None
        self.comes_at = 0.0  # awake: nobody need ring
        deadline = sender._tick()  # noqa: SLF001  the two are one component
        self.comes_at = _NEVER if deadline is None else deadline
        # Whoever looked before this line may have relied on a turn to come; look once more.
        again = sender._tick()  # noqa: SLF001
        self.comes_at = min(self.comes_at, _NEVER if again is None else again)
        return max(0.0, min(_LONGEST_WAIT, self.comes_at - time.monotonic()))


def _run(flusher: Flusher) -> None:
    while (wait := flusher._turn()) is not None:  # noqa: SLF001
        flusher._signal.acquire(timeout=wait)  # noqa: SLF001
