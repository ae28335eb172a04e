"""Something happens at a chosen place of the code: wherever CPython looks for signals, or at every line.

CPython runs signal handlers after calls of C code, at jumps back, and where a function begins; between these nothing can come in (Python/ceval.c,
CHECK_EVAL_BREAKER). `places="signals"` are those, `places="lines"` is before every line, which no signal can do but a tracer.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

import atmost

HOME = str(Path(atmost.__file__).parent)
_LOOKS = {dis.opmap[name] for name in ("CALL", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME") if name in dis.opmap}


class Interruption(Exception):
    """What a signal handler raised."""


class At:
    """Calls `action` at the `number`-th place of what runs under it; with a number that is never reached it counts them."""

    def __init__(
        self,
        number: int,
        action: Callable[[], object] = lambda: None,
        *,
        files: str = HOME,
        places: str = "signals",
        within: str = "",
    ) -> None:
        """Args: number: from 1. action: may raise. files: paths that begin so are watched. places: which. within: functions whose names end so."""
        self.seen = 0
        self.where = ""
        self._number = number
        self._action = action
        self._files = files
        self._lines = places == "lines"
        self._within = within
        self._last: dict[int, int] = {}
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.settrace(self._before)

    @property
    def reached(self) -> bool:
        """Whether the action was called."""
        return bool(self.where)

    def _call(self, frame: FrameType, _event: str, _arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(self._files) or not frame.f_code.co_qualname.endswith(self._within):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = not self._lines, self._lines
        self._last.pop(id(frame), None)
        return self._local

    def _local(self, frame: FrameType, event: str, _arg: object) -> Any:
        if event == "return":
            self._last.pop(id(frame), None)
            if frame.f_back is not None:  # a call of Python code is not followed by a look
                self._last.pop(id(frame.f_back), None)
        elif event == "line":
            self._place(frame)
        elif event == "opcode":
            code = frame.f_code.co_code
            last = self._last.get(id(frame))
            self._last[id(frame)] = code[frame.f_lasti]
            if last in _LOOKS:
                self._place(frame)
        return self._local

    def _place(self, frame: FrameType) -> None:
        self.seen += 1
        if self.seen == self._number:
            sys.settrace(None)
            self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_qualname}"
            self._action()


def places_of(walk: Callable[[], object], **how: Any) -> int:
    """How many places a walk has."""
    with At(0, **how) as counting:
        walk()
    return counting.seen
