"""What ends a process of the lab: a signal, or the end of its standard input.

Both are asked for by the loop that works, which has no need to be woken: nothing runs beside it.
"""

import os
import select
import signal
import stat
from collections.abc import Callable
from typing import Self


class StopSignals:
    """Remembers, as long as it is entered, that SIGTERM or SIGINT asked to stop; from the main thread only.

    A signal that is ignored stays ignored: whoever starts a process so means to handle Ctrl-C for the whole group.
    """

    def __init__(self) -> None:
        """Prepare; nothing is caught yet."""
        self.asked = False
        """Whether a signal came."""

    def __enter__(self) -> Self:
        """Catch the signals."""
        numbers = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        self.asked = True


def watch_input() -> Callable[[], bool]:
    """Return a function that tells whether standard input has ended, reading and ignoring what comes.

    Only a pipe or a socket can end, when the process at its other end is gone. A terminal, a file, a device such as
    /dev/null or an input closed from the start never does.
    """
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return lambda: False
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return lambda: False

    def ended() -> bool:
        try:
            return bool(select.select([0], [], [], 0)[0]) and not os.read(0, 4096)
        except OSError:
            return True

    return ended
