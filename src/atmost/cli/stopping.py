"""Ctrl-C and SIGTERM end a command cleanly: the first asks, a second Ctrl-C insists."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether somebody asked to stop."""

    asked = False


@contextmanager
def stopping() -> Iterator[Stop]:
    """Turns the first SIGINT or SIGTERM into `asked`; from the main thread.

    A signal that is ignored stays ignored: whoever starts a command so means it to outlive a Ctrl-C.
    """
    stop = Stop()

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.asked = True

    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
