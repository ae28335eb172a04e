"""The instruments for this interpreter: as they are, or with a lock around each step where nothing else makes it one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from atmost.metrics.instruments import Counter, Gauge, Histogram, Instrument
from atmost.metrics.numbers import Number

LOCK_FREE: Final = sys.implementation.name == "cpython" and bool(getattr(sys, "_is_gil_enabled", lambda: True)())
"""Whether the interpreter's global lock makes a step without a jump one that other threads see as a whole."""


def guarded(kind: type[Instrument]) -> type[Instrument]:
    """The same instrument with a lock around each step, for an interpreter that has none of its own."""
    verbs = {"inc", "set", "dec", "observe"} & set(dir(kind))
    methods: dict[str, Any] = {verb: _locked(getattr(kind, verb)) for verb in verbs}
    return type(kind.__name__, (kind,), {"__slots__": (), "__doc__": kind.__doc__, **methods})


def kinds() -> tuple[type[Counter], type[Gauge], type[Histogram]]:
    """The instruments for this interpreter."""
    if LOCK_FREE:
        return Counter, Gauge, Histogram
    return guarded(Counter), guarded(Gauge), guarded(Histogram)  # type: ignore[return-value]


def _locked(method: Callable[..., None]) -> Callable[..., None]:
    def locked(self: Instrument, *amount: Number) -> None:
        with self.owner.guard:
            method(self, *amount)

    locked.__doc__ = method.__doc__
    return locked
