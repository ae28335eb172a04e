"""A fork that Python does not see, as C code makes it: daemon(3), uWSGI, a library of the user's.

CPython does not survive such a fork in every moment: when another thread waits for the global lock, the child inherits a condition
variable with a waiter that it does not have, and stands still in one of its next releases of the lock, whatever runs in it. This is
not a fault of the code under test, so the child goes on only where no other thread waited or ran in the moment of the fork.
"""

import ctypes
import os
import signal
import threading
import time
from pathlib import Path

_BOUND = 30.0
_LOCKS = 1 << 16
"""Bytes from the start of CPython's own state in which its global lock is found."""


def c_fork() -> int:
    """Fork by C in a moment that CPython survives; return what fork(2) does.

    The calls below keep the global lock, so that no other thread of the parent goes on in between.
    """
    c, mine = ctypes.PyDLL(None), threading.get_native_id()
    deadline = time.monotonic() + _BOUND
    while True:
        others = [int(task.name) for task in Path("/proc/self/task").iterdir() if int(task.name) != mine]
        before = _asleep(c, others)
        if before is not None:
            reading, writing = os.pipe()
            again = _asleep(c, others)
            child = int(c.fork())
            if not child:
                c.close(writing)
                if c.read(reading, ctypes.create_string_buffer(1), 1) != 1:
                    c._exit(0)
                c.close(reading)
                return 0
            good = again is not None and _asleep(c, others) == again
            c.write(writing, b"+", 1) if good else c.kill(child, signal.SIGKILL)
            os.close(reading)
            os.close(writing)
            if good:
                return child
            os.waitpid(child, 0)
        assert time.monotonic() < deadline, f"no moment without a waiting thread in {_BOUND:g} s"
        time.sleep(0.001)


def _asleep(c: ctypes.PyDLL, threads: list[int]) -> list[bytes] | None:
    """Return how often each thread gave up its processor; None when one runs, or waits for the global lock."""
    switches = []
    state = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
    for thread in threads:
        call = _read(c, f"/proc/self/task/{thread}/syscall").split()
        if call == [b"running"]:
            return None
        if len(call) > 1 and state <= int(call[1], 16) < state + _LOCKS:
            return None
        switches.append(_read(c, f"/proc/self/task/{thread}/status").partition(b"ctxt_switches:")[2])
    return switches


def _read(c: ctypes.PyDLL, path: str) -> bytes:
    """Return the beginning of a file; nothing when the thread it is about has just ended."""
    file = c.open(path.encode(), os.O_RDONLY)
    if file < 0:
        return b""
    buffer = ctypes.create_string_buffer(4096)
    size = c.read(file, buffer, len(buffer))
    c.close(file)
    return buffer.raw[: max(size, 0)]
