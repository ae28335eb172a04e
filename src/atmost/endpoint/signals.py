"""Ctrl-C and SIGTERM end a program cleanly: the first asks, a second Ctrl-C insists."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

INSISTS_AFTER: Final = 0.5
"""Seconds: a second Ctrl-C before is the first one told twice, to the process and to its group, as timeout(1) does."""


@contextmanager
def ended_by_signals(end: Callable[[], None], *, hang_up: bool = False) -> Iterator[None]:
    """The first SIGINT or SIGTERM calls `end`, a second Ctrl-C raises KeyboardInterrupt; for the main thread.

    A signal that is ignored stays ignored: whoever starts a program so means it to outlive a Ctrl-C.

    Args:
        end: called by the first signal, and by each one after it.
        hang_up: whether SIGHUP asks too, which comes when the terminal is closed.

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
