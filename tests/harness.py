"""The every-line harness: work is interrupted at each line of the product, by an exception, a call, a fork or a close.

A tracer counts the lines that the work executes in the files under test, and does something at one of them.
An exception that it raises comes out of that line, as one that a signal handler raises would.
What it calls runs inside that line, as a signal handler does, and is not traced itself.

    every_line(lambda at: scene(at))    # all lines; sampled(..., 20) for every twentieth

`Interruption` knows nothing of senders or receivers; what must hold afterwards is the test's.
"""

import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import atmost
from tests.cfork import c_fork
from tests.interrupting import Place, Where, chosen, where

_LIFE = 60
"""A forked child that hangs is ended after so many seconds."""
SOURCES = Path(atmost.__file__).parent


class Interrupted(BaseException):
    """What a signal handler raises: no `except Exception` catches it."""


def raises() -> None:
    """Interrupt by an exception."""
    raise Interrupted


class Interruption:
    """Does something at one line of the files under test."""

    def __init__(
        self, at: int | Place, do: Callable[[], object], files: Iterable[str], *, at_latest: int | None = None
    ) -> None:
        """Prepare.

        Args:
            at: the number of the line, from 1, in the order in which they are executed; or one of the places that were chosen.
            do: what to do there.
            files: below src/atmost, as `endpoint/sender.py`; a folder is all files below it.
            at_latest: the number of the line at which it is done where the chosen place did not come.
        """
        self._at = at
        self._at_latest = at_latest
        self._do = do
        self._files = tuple(str(SOURCES / file) for file in files)
        self._known: dict[str, bool] = {}
        self._turns = 0
        self.waits = False
        """Whether nothing is counted yet."""
        self.passed: list[Where] = []
        """The lines that were come to before."""
        self.where: str | None = None
        """The line at which it was done; None while it was not."""
        self.is_over = False
        """Whether it was done, and had an end."""

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """Count the lines of everything that is called in the block, in this thread."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    @contextmanager
    def tracing_threads(self) -> Iterator[None]:
        """Count the lines of threads that are started in the block."""
        threading.settrace(self._enter)
        try:
            yield
        finally:
            threading.settrace(None)  # type: ignore[arg-type]

    def run(self, work: Callable[[], object]) -> object:
        """Do the work; return what it returned, or the `Interrupted` that came out of it."""
        try:
            with self.tracing():
                return work()
        except Interrupted as error:
            return error

    def _enter(self, frame: FrameType, event: str, _argument: object) -> Any:
        name = frame.f_code.co_filename
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = name.startswith(self._files)
        if not known or self.where is not None:
            return None
        return self._line

    def _line(self, frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line" and self.where is None and not self.waits and self._is_there(where(frame, frame.f_lineno)):
            self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} ({frame.f_code.co_name})"
            tracer = sys.gettrace()
            sys.settrace(None)
            try:
                self._do()
            finally:
                sys.settrace(tracer)
                self.is_over = True
        return self._line

    def _is_there(self, here: Where) -> bool:
        self.passed.append(here)
        at, number = self._at, len(self.passed)
        if isinstance(at, Place):
            self._turns += here == at.where
            return (here == at.where and self._turns == at.turn) or number == self._at_latest
        return number == at


Scenes = Callable[[int | Place], Interruption]
"""Plays a scene that is interrupted at a line, by its number or chosen; with 0 at none."""


def every_line(scene: Scenes, most: int = 2) -> int:
    """Play a scene at each of its lines, so many times at most where it comes to one again and again; return how many were interrupted."""
    places = [place for _, place in chosen({"": scene(0).passed}, most, "")]
    count = sum(scene(place).where is not None for place in places)
    print(f"{count} places interrupted")  # noqa: T201  shown by `pytest -rP`
    assert count > len(places) * 0.7  # some come only when threads meet
    return count


def sampled(scene: Scenes, step: int) -> int:
    """Play a scene at every `step`-th line only; return how many were interrupted."""
    count = 0
    while scene(1 + count * step).where is not None:
        count += 1
    return count


def forked(child: Callable[[], object], *, past_the_hook: bool = False) -> "Forked":
    """Something to do at a line: fork. The child comes back into the line like its parent, see `Forked`."""
    return Forked(child, past_the_hook=past_the_hook)


def raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise an exception in a thread, at the next step that it takes."""
    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert set_exception(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(error)) == 1


class Forked:
    """A fork at a line, and what its child has to say in the end."""

    def __init__(self, child: Callable[[], object], *, past_the_hook: bool) -> None:
        """Args: child: what a child tells when its work is over. past_the_hook: whether C code forks."""
        self._tell = child
        self._fork: Callable[[], int] = c_fork if past_the_hook else os.fork
        self._reading, self._writing = os.pipe()
        self.pid: int | None = None
        """The child's; 0 in the child; None before the fork."""

    def __call__(self) -> None:
        """Fork."""
        self.pid = self._fork()
        if not self.pid:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_LIFE)

    @contextmanager
    def keeping(self, *expected: type[BaseException]) -> Iterator[None]:
        """Keep a child from leaving the block by an exception, into the tests; some may be expected of it."""
        try:
            yield
        except BaseException as error:
            if self.pid != 0:
                raise
            if not isinstance(error, expected):
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
                os._exit(1)

    def finish(self) -> Any:
        """End a child with what it has to say; return that in the parent, None where there was no fork."""
        if self.pid == 0:
            status = 1
            try:
                told = json.dumps(self._tell()).encode()
                os.write(self._writing, told)
                status = 0
            except BaseException:  # noqa: BLE001  the child must not come back into the tests
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            finally:
                os._exit(status)
        os.close(self._writing)
        with os.fdopen(self._reading, "rb") as pipe:
            told = pipe.read()
        if self.pid is None:
            return None
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, f"the child ended with {status}"
        return json.loads(told)
