"""Signals whose handlers raise, as Ctrl-C, `signal.alarm` and soft time limits do: an exception comes out of a chosen line of a core.

What must hold afterwards is R9: a datagram is either not counted at all or booked completely, and what may have been transmitted is
never transmitted again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

from atmost import core

_CORE: Final = str(Path(core.__file__).parent)


class Signal(BaseException):
    """What a signal handler raised: no `except Exception` catches it."""


class Interruption:
    """Raises once, at the given line of the cores; a `with` block says where it may come."""

    def __init__(self, line: int) -> None:
        """Args: line: how many lines of the cores run before it, over all blocks; 0 or less for never."""
        self._left = line
        self._before: Any = None

    def __enter__(self) -> Self:
        """Begins to count."""
        if self._left > 0:
            self._before = sys.gettrace()
            sys.settrace(self._call)
        return self

    def __exit__(self, *_error: object) -> None:
        """Gives the tracer of a debugger back."""
        if sys.gettrace() is not self._before:
            sys.settrace(self._before)

    def _call(self, frame: FrameType, _event: str, _argument: object) -> Any:
        return self._line if frame.f_code.co_filename.startswith(_CORE) else None

    def _line(self, _frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            self._left -= 1
            if self._left == 0:
                raise Signal
        return self._line


NEVER: Final = Interruption(0)
"""For work that nothing interrupts."""
