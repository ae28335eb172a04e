"""What counts as a number: finite, and of any type that has a value; text never does."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from atmost.metrics.wire import MAX_INTEGER

Number = int | float


def portable(value: Number) -> Number:
    """A whole number beyond 64 bits as a float, which MessagePack can carry."""
    return value if isinstance(value, float) or -MAX_INTEGER <= value <= MAX_INTEGER else float(value)


def finite(value: Any) -> Number | None:
    """The number that a value is, or None: text is none, however it reads."""
    if type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER:
        return value
    if isinstance(value, str | bytes | bytearray):
        return None
    try:
        number = float(value)  # numpy's numbers, Decimal, Fraction: whatever has a value
    except Exception:  # noqa: BLE001  a stranger's __float__ may raise anything
        return None
    return number if math.isfinite(number) else None


def called(callback: Callable[[], Number], failed: Callable[[], None]) -> Number | None:
    """What a callback answers; None when it fails, after telling so."""
    try:
        number = finite(callback())
    except BaseException as error:  # the user's own function; what it leaves by must not end the snapshots
        interrupt = isinstance(error, KeyboardInterrupt | SystemExit)
        if interrupt and threading.current_thread() is threading.main_thread():
            raise  # a signal handler's, which run there only
        number = None
    if number is None:
        failed()
    return number
