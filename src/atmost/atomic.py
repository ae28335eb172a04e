"""Says whether CPython's global lock makes a short step atomic for other threads, and guards the step with a lock where it does not.

CPython 3.11 switches threads, and calls signal handlers, only at a jump backwards or at a call of a Python function.
A step without either, such as `self.value = self.value + amount`, needs no lock there. Free-threaded builds and other interpreters get one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from typing import Any, Final, TypeVar

Step = TypeVar("Step", bound=Callable[..., Any])

LOCK_FREE: Final = sys.implementation.name == "cpython" and bool(getattr(sys, "_is_gil_enabled", lambda: True)())
"""Whether a step without a jump and without a call is one step for all threads."""


def guarded(step: Step, lock: str) -> Step:
    """The method under a lock of its object; unchanged where `LOCK_FREE`.

    Args:
        step: a method, not bound.
        lock: the attribute of its object that holds the lock, or several names with dots between them.
    """
    return step if LOCK_FREE else locked(step, lock)


def locked(step: Step, lock: str) -> Step:
    """The method under a lock of its object, on every interpreter; see `guarded`."""
    lock_of = attrgetter(lock)

    @wraps(step)
    def under_lock(self: Any, *arguments: Any) -> Any:
        with lock_of(self):
            return step(self, *arguments)

    return under_lock  # type: ignore[return-value]
