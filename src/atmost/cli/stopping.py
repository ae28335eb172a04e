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
    """Turns the first SIGINT or SIGTERM into `asked`; from the main thread."""
    stop = Stop()

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
