"""The thread that feeds a `HintedCache` from a receiver of its own; it holds the cache weakly, and ends with it."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any, Final, Protocol

from atmost.core.events import Event
from atmost.endpoint.checking import check_receiver
from atmost.endpoint.receiver import Receiver

_TURN: Final = 0.25
"""Seconds between two looks at whether it is over."""


class _Owner(Protocol):
    def feed(self, event: Event, now: float | None = None) -> Any: ...


def feeder_of(owner: _Owner, receiver: Receiver | str | None) -> Feeder | None:
    """The feeder of what was given: a receiver, the address of one, or nothing."""
    if receiver is None:
        return None
    if isinstance(receiver, str):
        return Feeder(owner, Receiver(receiver), owned=True)
    return Feeder(owner, check_receiver(receiver), owned=False)


class Feeder:
    """Hands every event of a receiver to its owner."""

    def __init__(self, owner: _Owner, receiver: Receiver, *, owned: bool) -> None:
        """Args: owner: held weakly. receiver: consumed here alone. owned: whether to close it at the end."""
        self._owner = weakref.ref(owner, self._forget)
        self._receiver = receiver
        self._owned = owned
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="atmost-hints", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, and waits for it unless it is the caller."""
        self._ended.set()
        if self._owned:
            self._receiver.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(10.0)

    def _forget(self, _reference: object) -> None:
        self._ended.set()

    def _run(self) -> None:
        receiver = self._receiver
        try:
            while not self._ended.is_set() and not receiver.closed:
                event = receiver.next_event(_TURN)
                owner = self._owner()
                if owner is None:
                    return
                if event is not None:
                    owner.feed(event)
                elif receiver.closed:
                    return
                else:
                    time.sleep(0)
                del owner
        finally:
            if self._owned:
                receiver.close()
