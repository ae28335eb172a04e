"""A fork that Python does not see, as C code makes it: daemon(3), uWSGI, a library of the user's.

CPython does not survive such a fork while another thread waits for its global lock: the child inherits the lock's mutex as that
thread had it, and may wait for it for ever, whatever runs in it. This is no fault of the code under test, so the tests fork in a
moment at which every other thread sleeps in the system.
"""

import ctypes
import threading
import time
from pathlib import Path

_SPIN = 0.012
"""Seconds for which the lock is kept: more than twice the 5 ms after which a thread that waits for it wakes up and asks."""
_BOUND = 30.0


def c_fork() -> int:
    """Fork by C, as soon as no other thread waits for the interpreter; return what fork(2) does."""
    fork = ctypes.PyDLL(None).fork
    deadline = time.monotonic() + _BOUND
    while True:
        before = _switches()
        spun = time.monotonic() + _SPIN
        while time.monotonic() < spun:
            pass
        if _switches() == before:
            return int(fork())
        assert time.monotonic() < deadline, f"the other threads of this process were never asleep in {_BOUND:g} s"
        time.sleep(0.002)


def _switches() -> dict[str, str]:
    """Return how often each other thread has given up its processor."""
    mine = str(threading.get_native_id())
    found = {}
    for task in Path("/proc/self/task").iterdir():
        if task.name != mine:
            try:
                found[task.name] = (task / "status").read_text().partition("ctxt_switches:")[2]
            except OSError:  # a thread that has just ended
                continue
    return found
