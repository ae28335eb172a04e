"""Runs a handler over one incarnation until it is asked to end, and then over what has arrived by that time.

`end` may be called by a signal handler or any thread; everything else belongs to one thread.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from atmost.core.events import Message
from atmost.core.names import matcher
from atmost.endpoint.checking import check_handler
from atmost.endpoint.intake import Intake

Handler = Callable[[Message], object]

_LAST_TURN: Final = 1.0
"""How long `run` may handle what had arrived when the end was asked for, seconds: senders that go on must not keep a receiver alive."""


class Serving:
    """A handler and where its messages come from."""

    def __init__(self, intake: Intake, handler: Handler, subjects: Iterable[str]) -> None:
        """Takes both; nothing is called yet.

        Args:
            intake: not closed by this object.
            handler: called once a message; what it raises is counted and reported, and never redelivered (R14).
            subjects: patterns; messages on other subjects count as delivered.

        Raises:
            OptionError: the handler cannot be called, or is async.
            SubjectError: a pattern is malformed.
        """
        self._intake = intake
        self._handler = check_handler(handler)
        self._matches = matcher(subjects)
        self._asked = False
        self._until = float("inf")

    def start(self) -> None:
        """Waits until what is sent from now on is accepted (R10), or the end is asked for."""
        intake = self._intake
        while not self._asked and (wait := intake.boot_wait()):
            intake.inlet.wait(wait)
            intake.pump()

    def run(self) -> None:
        """Handles what arrives, until the end."""
        intake = self._intake
        while self._advance():
            intake.handle_current(self._handler, self._matches)

    def end(self) -> None:
        """Lets `run` return when it has handled what has arrived, or after a second."""
        if not self._asked:
            self._until = time.monotonic() + _LAST_TURN
            self._asked = True
        self._intake.inlet.wake()

    def _advance(self) -> bool:
        """Makes the next batch current, waiting for it; False when there is nothing more to handle."""
        intake = self._intake
        while not intake.closed and time.monotonic() < self._until:
            if intake.next_batch():
                return True
            more = intake.pump()
            if intake.next_batch():
                return True
            if not more:
                if self._asked:
                    return False
                intake.inlet.wait(intake.next_wait(None))
        return False


# Ctrl-C and SIGTERM end a program cleanly: the first asks, a second Ctrl-C insists.

INSISTS_AFTER: Final = 0.5
"""A second Ctrl-C within this time counts as the first, because timeout(1) sends it to the process and to its group, seconds."""


@contextmanager
def ended_by_signals(end: Callable[[], None], *, hang_up: bool = False) -> Iterator[None]:
    """The first SIGINT or SIGTERM calls `end`, a second Ctrl-C raises KeyboardInterrupt; for the main thread.

    A signal that is ignored stays ignored: a program that was started that way is meant to outlive a Ctrl-C.

    Args:
        end: called by the first signal, and by each one after it.
        hang_up: whether SIGHUP, which comes when the terminal is closed, asks too.

    Raises:
        ValueError: this is not the main thread.
    """
    asked, interrupted = False, -math.inf

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked, interrupted
        if number == signal.SIGINT:
            now = time.monotonic()
            if asked and now - interrupted >= INSISTS_AFTER:
                raise KeyboardInterrupt
            if not asked:
                interrupted = now
        asked = True
        end()

    asking = [signal.SIGINT, signal.SIGTERM]
    if hang_up and hasattr(signal, "SIGHUP"):
        asking.append(signal.SIGHUP)
    heard = [number for number in asking if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
