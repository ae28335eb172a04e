"""Ctrl-C and SIGTERM end a program cleanly: the first asks, a second Ctrl-C insists."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM calls `end`, a second Ctrl-C raises KeyboardInterrupt; for the main thread.

    A signal that is ignored stays ignored: whoever starts a program so means it to outlive a Ctrl-C.

    Raises:
        ValueError: this is not the main thread.
    """
    asked = False

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        end()

    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
