"""Sees to it that what a process leaves open is closed when it ends, also in one that multiprocessing started.

Such a process ends without the functions that atexit was given: multiprocessing runs finalizers of its own there, and forgets those that
were set up before its work began. What is to be run after a fork it remembers, under every start method.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

_LAST: Final = -1_000
"""A finalizer's priority: those of others may still send."""


class _Ending:
    """What is to be done; multiprocessing wants an object, which it holds weakly."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end

    def register(self) -> None:
        """Has it done in this process if multiprocessing has started it, or is about to begin its work."""
        util = sys.modules.get("multiprocessing.util")
        if util is None:
            return
        util.register_after_fork(self, _Ending.finalize)
        process = sys.modules["multiprocessing.process"]
        if process.parent_process() is not None:  # its work has begun
            self.finalize()

    def finalize(self) -> None:
        """Has it done when the work is over."""
        sys.modules["multiprocessing.util"].Finalize(None, self._end_last, exitpriority=_LAST)

    def _end_last(self) -> None:
        """Ends at once, or after the threads that the process will wait for: they may still send, and some end only when it begins to wait."""
        current = threading.current_thread()
        others = [thread for thread in threading.enumerate() if not thread.daemon and thread is not current]
        if others:
            threading.Thread(target=self._end_after, args=(others,), name="atmost-ending").start()
        else:
            self.end()

    def _end_after(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            thread.join()
        self.end()


_endings: Final[list[_Ending]] = []


def at_end(end: Callable[[], None]) -> None:
    """Has `end` called when this process ends, or one that is forked from it; not when it is killed, or ends by `os._exit`."""
    ending = _Ending(end)
    _endings.append(ending)
    atexit.register(end)
    ending.register()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=ending.register)
