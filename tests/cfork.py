"""A fork that Python does not see, as C code makes it: daemon(3), uWSGI, a library of the user's.

CPython does not survive such a fork in every moment: when another thread waits for the global lock, the child inherits a condition
variable with a waiter that it does not have, and stands still in one of its next releases of the lock, whatever runs in it. This is
not a fault of the code under test, so the other threads are stopped for the fork, where they sleep in something else.
"""

import ctypes
import os
import signal
import threading
import time

_BOUND = 30.0
_LOCKS = 1 << 16
"""Bytes from the start of CPython's own state in which its global lock is found."""
_STOP, _GO_ON = signal.SIGRTMIN + 5, signal.SIGRTMIN + 6


def c_fork() -> int:
    """Fork by C in a moment that CPython survives; return what fork(2) does."""
    c = ctypes.PyDLL(None)  # its calls keep the global lock, so that no other thread goes on in between
    c.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    c.tgkill.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
    deadline = time.monotonic() + _BOUND
    while True:
        child = _fork_while_all_sleep(c)
        if child is not None:
            return child
        assert time.monotonic() < deadline, f"no moment without a waiting thread in {_BOUND:g} s"
        time.sleep(0.001)


def _fork_while_all_sleep(c: ctypes.PyDLL) -> int | None:
    """Fork, unless another thread runs or waits for the global lock; return None then."""
    others = [each for each in _tasks(c) if each != threading.get_native_id()]
    before = {each: _sleeps(c, each) for each in others}
    if None in before.values():
        return None
    # A thread that takes this signal sleeps in pause(2) until it takes the other: no thread wakes up while the kernel forks.
    c.signal(_STOP, ctypes.cast(c.pause, ctypes.c_void_p))
    c.signal(_GO_ON, ctypes.cast(c.getpid, ctypes.c_void_p))
    for each in others:
        c.tgkill(os.getpid(), each, _STOP)
    stopped = {each: _next_sleep(c, each, asleep) for each, asleep in before.items() if asleep is not None}
    # Woken by the signal, and by nothing before it.
    child = int(c.fork()) if all(stopped[each] == (before[each] or 0) + 1 for each in others) else None
    if child != 0:
        for each in others:
            c.tgkill(os.getpid(), each, _GO_ON)
            _next_sleep(c, each, stopped[each])
    c.signal(_STOP, int(signal.SIG_DFL))
    c.signal(_GO_ON, int(signal.SIG_DFL))
    return child


def _tasks(c: ctypes.PyDLL) -> list[int]:
    """Return this process's threads, also those that `threading` does not know; not those without signals, which run no Python."""
    found = []
    for task in map(int, os.listdir("/proc/self/task")):  # noqa: PTH208  pathlib would only be slower
        blocked = _status(c, task, b"SigBlk")
        if blocked and not int(blocked, 16) >> (_STOP - 1) & 1:
            found.append(task)
    return found


def _next_sleep(c: ctypes.PyDLL, task: int, before: int) -> int:
    """Wait until a thread sleeps anew; return its number of sleeps."""
    for _ in range(int(_BOUND / 0.0002)):
        now = _sleeps(c, task, anywhere=True)
        if now is not None and now > before:
            return now
        c.usleep(200)
    raise AssertionError(f"thread {task} did not take a signal in {_BOUND:g} s")


def _sleeps(c: ctypes.PyDLL, task: int, *, anywhere: bool = False) -> int | None:
    """Return how often a thread has gone to sleep; None when it does not sleep, or waits for the global lock."""
    call = _read(c, f"/proc/self/task/{task}/syscall").split()
    if len(call) < 2:  # "running"
        return None
    state = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
    if state <= int(call[1], 16) < state + _LOCKS and not anywhere:
        return None
    sleeps = _status(c, task, b"voluntary_ctxt_switches")
    return int(sleeps) if sleeps else None


def _status(c: ctypes.PyDLL, task: int, name: bytes) -> bytes:
    """Return a line of a thread's status; empty when the thread has ended."""
    status = _read(c, f"/proc/self/task/{task}/status")
    return status.partition(b"\n" + name + b":")[2].partition(b"\n")[0].strip()


def _read(c: ctypes.PyDLL, path: str) -> bytes:
    """Return the beginning of a file."""
    file = c.open(path.encode(), os.O_RDONLY)
    if file < 0:
        return b""
    buffer = ctypes.create_string_buffer(4096)
    size = c.read(file, buffer, len(buffer))
    c.close(file)
    return buffer.raw[: max(size, 0)]
