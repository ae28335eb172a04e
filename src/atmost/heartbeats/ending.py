"""Decides how something ended that a heartbeat stands for: `stopped`, because it was done or was told to stop, or `failed`.

A block (`with`) sees its exception. The end of a process has to be found out, because by the time the last words are said the
exception that ended it is gone:

* an exception that nobody caught is in `sys.last_value`;
* a process that `multiprocessing` or `billiard` started runs its finalizers while the exception is still being handled;
* `sys.exit(status)` is told by the exception it raises: one that is caught dies inside of a running function, and one that ends
  the process dies when no function runs any more. `sys.exit` is wrapped for that, when the first heartbeat begins. One that
  something still holds, as asyncio's tasks do, is judged by the last frame that handled it: it returned, or let it go on;
* `exit(status)` and `quit(status)`, which Python adds for its prompt, are wrapped too;
* `raise SystemExit(1)` leaves no object that Python code could find. Where the main module's own code raises it with a constant,
  the last instruction that the module ran shows the constant.

Any other `raise SystemExit(status)`, as in a function or with a computed status, leaves no trace and reads as `stopped`: there a
`with` block is exact, and `atmost run` is.
"""

from __future__ import annotations

import builtins
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from functools import wraps
from opcode import opname
from types import FrameType
from typing import Any, Final, NoReturn

from atmost.heartbeats.beat import MAX_REASON, HeartbeatEnding

How = tuple[HeartbeatEnding, str]
"""The ending, and the reason where it failed."""

STOPPED: Final[How] = (HeartbeatEnding.STOPPED, "")
_STOP_SIGNALS: Final = frozenset(
    int(getattr(signal, name)) for name in ("SIGHUP", "SIGINT", "SIGTERM") if hasattr(signal, name)
)
_TOLD_TO_STOP: Final = (KeyboardInterrupt, GeneratorExit)
_BESIDES: Final = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL"})
"""Instructions that only some versions of Python have between those of `raise SystemExit(constant)`."""
_CONSTANTS: Final = frozenset({"LOAD_CONST", "LOAD_SMALL_INT"})
_FIRST: Final = 1_000_000
"""The priority of our finalizer in a pool's process: before those that close anything."""


def ending_of(error: object) -> How:
    """Returns how a block ended that left with this exception, or with none.

    Args:
        error: an exception, its class, or None.
    """
    kind = error if isinstance(error, type) else type(error)
    if error is None or issubclass(kind, _TOLD_TO_STOP) or _is_cancelled(kind):
        return STOPPED
    if isinstance(error, SystemExit):
        return ending_of_status(error.code)
    return HeartbeatEnding.FAILED, _cut(kind.__name__)


def ending_of_status(status: object) -> How:
    """Returns how a process ended that exits with this, as `sys.exit` takes it.

    Args:
        status: None or 0 is success. 128 and more is a signal: one that means "please stop" is no failure. Any other number is a
            failure, also one below 0, which is no signal here. A text is a failure and its own reason.
    """
    if status is None:
        return STOPPED
    if not isinstance(status, int):
        try:
            text = str(status).strip().splitlines()
        except Exception:  # noqa: BLE001  its own affair
            text = []
        return HeartbeatEnding.FAILED, _cut(text[0] if text else "exit status 1")
    number = int(status)
    if number == 0 or number - 128 in _STOP_SIGNALS:
        return STOPPED
    return HeartbeatEnding.FAILED, f"exit status {number}"


def ending_of_child(status: int) -> How:
    """Returns how a process ended whose parent got this, as `os.waitstatus_to_exitcode` has it: below 0 is a signal."""
    if status >= 0:
        return ending_of_status(status)
    return STOPPED if -status in _STOP_SIGNALS else (HeartbeatEnding.FAILED, name_of_signal(-status))


def name_of_signal(number: int) -> str:
    """Returns the name of a signal, as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def how_the_process_ends() -> How:
    """Returns how this process ends, as far as that can be known when its last words are said."""
    if _noted is not None and _noted[0] == os.getpid():
        return _noted[1]
    if hasattr(sys, "ps1"):  # at a prompt every mistake leaves its exception behind
        return STOPPED
    held = _latest() if _latest is not None else None
    if held is not None and held.raised_in == os.getpid() and _has_left_the_program(held):
        return ending_of(held)
    error = getattr(sys, "last_value", None)
    return ending_of(error) if error is not None else ending_of_status(_status_raised_by(_main_module))


def watch_the_exit() -> None:
    """Sees to it that the end of this process can be told; called when a heartbeat begins, and cheap when repeated."""
    global _watches, _exit_before, _watched_in, _main_module  # noqa: PLW0603  there is one `sys.exit` in a process
    if not _watches:  # once: where a library has wrapped ours meanwhile, to wrap that again would go in circles
        _watches, _exit_before, sys.exit = True, sys.exit, _exit
        _watch_quitters()
    if _main_module is None:
        _main_module = _frame_of_main()
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _watched_in != os.getpid():
        _watched_in = os.getpid()
        util.Finalize(None, _note_a_pool_process, exitpriority=_FIRST)


_noted: tuple[int, How] | None = None
"""The process that ends, and how."""
_latest: weakref.ref[_Exit] | None = None
"""The latest exception of `sys.exit`, while anybody holds it."""
_watches = False
_exit_before: Any = sys.exit
_watched_in = 0
_main_module: FrameType | None = None
"""The frame that runs the main module, which stays at the last instruction that it has run."""


class _Exit(SystemExit):
    """What `sys.exit` raises in the main thread once a heartbeat has begun."""

    raised_in = 0

    def __del__(self) -> None:
        # Nothing runs that could have caught it: it ends the process.
        if sys is not None and not sys.is_finalizing() and sys._getframe().f_back is None:  # noqa: SLF001  as documented
            _note(ending_of(self))


_Exit.__name__ = _Exit.__qualname__ = "SystemExit"


def _exit(status: object = None, /) -> NoReturn:
    """Exit the interpreter by raising SystemExit(status)."""
    if threading.current_thread() is not threading.main_thread():
        _exit_before(status)  # ends its thread only
    try:
        _exit_before(status)
    except SystemExit as error:
        if type(error) is not SystemExit:  # somebody else's wrapper has a kind of its own
            raise
        raise _remembered(_Exit(*error.args)) from None
    raise _remembered(_Exit(status))


def _watch_quitters() -> None:
    """Has `exit(status)` and `quit(status)` leave by our `sys.exit`; not where something has replaced them, as IPython does."""
    kinds = {type(getattr(builtins, name, None)) for name in ("exit", "quit")}
    for kind in kinds:
        if kind.__module__ == "_sitebuiltins":
            kind.__call__ = _quitting(kind.__call__)  # type: ignore[method-assign]


def _quitting(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def quit_by_exit(self: object, code: object = None) -> None:
        try:
            call(self, code)
        except SystemExit as error:
            _exit(error.code)

    return quit_by_exit


def _frame_of_main() -> FrameType | None:
    """Returns the frame of the main module, if this thread runs in it."""
    main = sys.modules.get("__main__")
    frame: FrameType | None = sys._getframe()  # noqa: SLF001  as documented
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is getattr(main, "__dict__", None):
            return frame
        frame = frame.f_back
    return None


def _status_raised_by(frame: FrameType | None) -> object:
    """Returns the constant of `raise SystemExit(constant)` if that is what a frame did last; None, which is success, otherwise."""
    if frame is None or opname[frame.f_code.co_code[frame.f_lasti]] != "RAISE_VARARGS":
        return None
    import dis

    ran = [each for each in dis.get_instructions(frame.f_code) if each.offset <= frame.f_lasti]
    *before, raising = [each for each in ran if each.opname not in _BESIDES]
    if raising.arg == len(("exception", "cause")):  # `from None` or `from error`: one more thing was loaded
        before = before[:-1] if before and before[-1].opname.startswith("LOAD_") else []
    last = before[-3:]
    if len(last) < len(("name", "constant", "call")):
        return None
    name, value, call = last
    if (name.argval, call.opname, call.arg) != ("SystemExit", "CALL", 1):
        return None
    return value.argval if value.opname in _CONSTANTS else None


def _remembered(error: _Exit) -> _Exit:
    global _latest  # noqa: PLW0603  see above
    error.raised_in = os.getpid()
    _latest = weakref.ref(error)
    return error


def _has_left_the_program(error: BaseException) -> bool:
    """Whether the last frame that handled an exception let it go on, as its last instruction shows; for when nothing runs any more."""
    traceback = error.__traceback__
    if traceback is None:
        return True
    frame = traceback.tb_frame
    return not opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN")


def _note(how: How) -> None:
    global _noted  # noqa: PLW0603  see above
    if _noted is None or _noted[0] != os.getpid():  # a pool's process that was told the reason exits with a mere number
        _noted = os.getpid(), how


def _note_a_pool_process() -> None:
    """Called in the main thread of such a process while the exception that ends it is being handled."""
    error = sys.exc_info()[1]
    if error is not None:
        _note(ending_of(error))


def _is_cancelled(kind: type) -> bool:
    """Whether a task was cancelled: only where an event loop has been loaded, which is not done for this."""
    loaded = sys.modules.get("asyncio.exceptions")
    return loaded is not None and issubclass(kind, loaded.CancelledError)


def _cut(text: str) -> str:
    return text.encode(errors="replace").decode()[:MAX_REASON]
