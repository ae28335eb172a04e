"""Something happens at a chosen place of the code: wherever CPython looks for signals, or at every line.

CPython runs signal handlers after calls of C code, at jumps back, and where a function begins; between these nothing can come in (Python/ceval.c,
CHECK_EVAL_BREAKER). `places="signals"` are those, `places="lines"` is before every line, which no signal can do but a tracer.
"""

from __future__ import annotations

import dis
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, NamedTuple, Self

import atmost

HOME = str(Path(atmost.__file__).parent)
_LOOKS = {dis.opmap[name] for name in ("CALL", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME") if name in dis.opmap}


class Interruption(Exception):
    """What a signal handler raised."""


class Where(NamedTuple):
    """A place as it is told apart from others: the step, and the line from which its function was called."""

    code: int
    step: int
    """The line, or the offset of the instruction."""
    caller: int
    line: int


class Place(NamedTuple):
    """One of the times that a place is come to."""

    where: Where
    turn: int
    """From 1."""


def where(frame: FrameType, step: int) -> Where:
    """Return where a frame is."""
    back = frame.f_back
    return Where(id(frame.f_code), step, *((0, 0) if back is None else (id(back.f_code), back.f_lineno)))


def chosen(passed: Mapping[str, Sequence[Where]], most: int, seed: str) -> list[tuple[str, Place]]:
    """Return so many of the times that some walks come to each place, at most, drawn by the seed; in the order in which they come.

    A loop comes to one place a hundred times, and what an interruption does there depends on little more than the place and its caller.

    Args:
        passed: what each walk came to, by its name.
        most: times a place, over all walks.
        seed: of the draw.
    """
    times: dict[Where, list[tuple[str, Place]]] = {}
    for walk, wheres in passed.items():
        turns = Counter[Where]()
        for each in wheres:
            turns[each] += 1
            times.setdefault(each, []).append((walk, Place(each, turns[each])))
    random = Random(seed)
    return [one for each in times.values() for one in random.sample(each, min(most, len(each)))]


class At:
    """Calls `action` at one place of what runs under it; with a number that is never reached it notes them all."""

    def __init__(
        self,
        place: int | Place,
        action: Callable[[], object] = lambda: None,
        *,
        files: str = HOME,
        places: str = "signals",
        within: str = "",
    ) -> None:
        """Args: place: its number, from 1, or one that was chosen. action: may raise. files: paths that begin so are watched. places: which. within: functions whose names end so."""
        self.passed: list[Where] = []
        """The places come to so far."""
        self.where = ""
        self._at = place
        self._turns = 0
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
            self._place(frame, frame.f_lineno)
        elif event == "opcode":
            code = frame.f_code.co_code
            last = self._last.get(id(frame))
            self._last[id(frame)] = code[frame.f_lasti]
            if last in _LOOKS:
                self._place(frame, frame.f_lasti)
        return self._local

    def _place(self, frame: FrameType, step: int) -> None:
        here, at = where(frame, step), self._at
        if isinstance(at, Place):
            self._turns += here == at.where
            reached = self._turns == at.turn
        else:
            self.passed.append(here)
            reached = len(self.passed) == at
        if reached:
            sys.settrace(None)
            self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_qualname}"
            self._action()


def places_of(walk: Callable[[], object], **how: Any) -> list[Where]:
    """Return the places that a walk comes to."""
    with At(0, **how) as counting:
        walk()
    return counting.passed
