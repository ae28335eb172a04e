"""Decides what every living object does when its process forks and when it ends: one registry, one order, one deadline.

Theory of operation.

*Objects.* An object that holds a session, a count, a thread or a socket registers itself: `register(self, Floor.USE)`.
The registry holds it weakly, so registering does not keep it alive.
Floors give the order: at a fork from the bottom up (a sender is renewed before the objects that send over it),
at the end from the top down (metrics say their last words over senders that are still open).

*Fork.* A child begins with nothing of its parent's: every object's `renew` is called once in it.
`os.fork()` calls our hook. C code can fork past the hook (uWSGI, `daemon(3)`), so code that counts checks first: `if not HERE[0]: notice_fork()`.
`HERE` is a page of memory that the kernel wipes in a child (MADV_WIPEONFORK, Linux 4.14): reading it costs 40 ns where `getpid(2)` can cost 450.
In a process that is not freshly forked it holds the process's number in its line of forks, from 1. Code that a fork may interrupt remembers
the number and compares. Where the kernel cannot wipe pages, `HERE` compares process ids behind the same brackets.
A renewal that an exception interrupts is resumed by the next caller, at the object it had reached.

*End.* An object's `last_words` is a generator: it yields how many seconds it wants to wait before it goes on.
So a thousand objects share one deadline, their repeats lie side by side, and the same steps serve `close()` (which sleeps),
`aclose()` (which awaits) and the end of the process. One that raises ends alone, and is reported.
After its last words an object still works: used again, it begins anew (another session, another life). So the end may be run
more than once:

1. by `atexit`, when the functions that were registered after `import atmost` have run;
2. by `multiprocessing` and `billiard`, in the processes they start: those run finalizers of their own instead of atexit's functions;
3. once more when the interpreter is torn down, because exit functions that were registered *before* `import atmost` may still have sent;
4. by `close_all()`, from programs whose processes end in another way.

*Threads of ours* do work on which others rely, so each is started with `ThreadArguments`: however it ends, somebody notices.

*uWSGI* loads the program in a process of its own, from which it forks its workers in C. CPython may never go on in a child that was forked so
while another thread waited for the interpreter's lock, so no thread of ours runs in the process that loads (`may_start_threads`).
That process runs no Python later, so it says its last words right before each fork. Its first worker takes over what waits for a thread (`resume`).
Its workers end past `atexit` where they run green threads; uWSGI's own hook is used besides.

Threads: everything here may be called from any thread and from signal handlers. Nothing here waits for a lock whose holder may itself
be waiting.
"""

from __future__ import annotations

import atexit
import heapq
import mmap
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import IntEnum
from types import BuiltinFunctionType
from typing import Any, Final, Protocol, Self, SupportsIndex

from atmost.errors import OptionError

LONGEST_CLOSE: Final = 86_400.0
"""The longest timeout that a caller may give for a close (seconds)."""
_EXIT_TIMEOUT: Final = 0.1
"""How long the last words of all objects may take when the process ends (seconds)."""
_WIPE_ON_FORK: Final = 18
"""MADV_WIPEONFORK (linux/mman.h); the mmap module does not name it."""
_LOCKED_BY_FORK: Final = (3, 13)
"""Since this version CPython aborts when the locks that it gives back in a child have not been taken before the fork."""
_POLITE: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals by which programs are asked to end."""
_LAST: Final = -1_000
"""The priority of our finalizer in multiprocessing: the last, because the others may still send."""


class Floor(IntEnum):
    """Where an object stands: renewed from the bottom up, ended from the top down."""

    TRANSPORT = 0
    """Outlets, inlets, and other sockets that a process keeps for itself."""
    ENDPOINT = 1
    """Senders, receivers and workers."""
    USE = 2
    """Objects that send over a sender (metrics, log handlers, heartbeats, invalidators) or listen to a receiver."""


class Living(Protocol):
    """What the registry asks of an object.

    An object that sends something at the end also has `last_words`, see `register`.
    One that holds a socket also has `release()`, which closes it when the interpreter is torn down, and sends nothing.
    One that needs a thread before it is used again also has `resume()`, which is called in a worker of uWSGI when threads may start.
    """

    def renew(self, *, seen: bool) -> None:
        """In a forked child, once, before anything else of the object: begin with nothing of the parent's; never wait.

        Args:
            seen: whether this is called at the fork itself; otherwise the child may have used the object before the fork was noticed.
        """
        ...


def _page() -> mmap.mmap | None:
    """A page that reads 1 here, and 0 in every forked child until the child writes to it."""
    if sys.platform != "linux":
        return None
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(_WIPE_ON_FORK)
    except OSError:  # an old kernel
        page.close()
        return None
    page[0] = 1
    return page


class _ByProcessId:
    """Stands in for the page where the kernel does not wipe pages."""

    def __init__(self) -> None:
        self._known = (os.getpid(), 1)

    def __getitem__(self, _index: SupportsIndex) -> int:
        pid, number = self._known
        return number if pid == os.getpid() else 0

    def __setitem__(self, _index: SupportsIndex, value: int) -> None:
        self._known = (os.getpid(), value)


HERE: Final[Any] = _page() or _ByProcessId()
"""`HERE[0]` is 0 in a forked child until everything was renewed there; otherwise the number of the process in its line of forks, 1 to 255."""

_living: Final[dict[int, tuple[Floor, weakref.ref[Any]]]] = {}
"""By the object's id. Each step on it is one call in C, so that threads, signal handlers and finalizers need no lock."""


def register(living: Living, floor: Floor) -> None:
    """Has `living.renew` called in every forked child, and its `last_words`, where it has them, when the process ends.

    `last_words(until)` is a generator function. It sends its last messages, yields the seconds it wants to wait before it goes on, and spaces its
    repeats so that it is done by `until` (monotonic, seconds). It may be called again: without anything new to send it yields nothing.

    Args:
        living: held weakly.
        floor: where it stands.
    """
    key = id(living)

    def forget(reference: weakref.ref[Any]) -> None:
        known = _living.get(key)
        if known is not None and known[1] is reference:
            _living.pop(key, None)

    _living[key] = (floor, weakref.ref(living, forget))
    _uwsgi.prepare()


def unregister(living: object) -> None:
    """Forgets an object that was closed for good; an unknown one is ignored."""
    _living.pop(id(living), None)


def living(floor: Floor | None = None) -> list[Any]:
    """Everything that is registered and alive, in the order in which it was registered."""
    known = [(at, reference()) for at, reference in list(_living.values())]
    return [each for at, each in known if each is not None and floor in (None, at)]


# Threads.


class ThreadArguments(tuple[Any, ...]):  # noqa: SLOT001  a tuple's child can have no named slots
    """The arguments of a `threading.Thread`; calls a function when the thread has ended, however it ended.

    A `finally` in the thread's own function does not do: an exception that another thread, a tracer or a debugger raises there may come
    before the first `try`, or inside `finally`. `Thread.run` passes a copy of these and lets go of them when the function is over, and CPython
    lets go of a thread that comes to its end without having run.
    """

    _ended: Callable[[], object]
    _process: int

    def __new__(cls, arguments: Iterable[Any], ended: Callable[[], object]) -> Self:
        """Args: arguments: for the thread's function. ended: what to call, mostly in that thread; `forget` it where no thread was started."""
        made = super().__new__(cls, arguments)
        made._ended = ended
        made._process = os.getpid()
        return made

    def forget(self) -> None:
        """Calls nothing any more."""
        self._ended = object

    def __del__(self) -> None:
        # A forked child has none of its parent's threads; and the interpreter may be torn down this far already.
        if sys is not None and not sys.is_finalizing() and self._process == os.getpid():
            self._ended()


# Forks.

_renewals: dict[int, tuple[threading.RLock, list[Any]]] = {}  # type: ignore[name-defined, unused-ignore]  # a class since 3.13
"""By process id: the lock of a renewal and what is still to be renewed. A parent's, which another thread may hold, is never touched."""


_forks = 0
"""How many forks lie between this process and the first one that imported this module."""
_forking = False
"""Whether Python is at a fork. In the child this holds until our hook has run, so also while another library's earlier hook uses our objects."""
_told_in = 0
"""The process in which we have told the interpreter that it is a child."""


def notice_fork() -> None:
    """Renews every registered object, once in a child; to be called when `HERE[0]` is 0."""
    global _told_in  # noqa: PLW0603  a process has one interpreter
    if not HERE[0] and not _forking and _told_in != os.getpid() and _is_single_threaded() and not _sleeps_green():
        # A fork in C code does not tell CPython. Untold, it cannot start threads: the interpreter's lock still counts the parent's
        # threads, and waits for them. The call runs all hooks, ours included. Green threads need none of it, and gevent's hook would miss its
        # other half, which runs before a fork.
        _told_in = os.getpid()
        import ctypes

        if sys.version_info >= _LOCKED_BY_FORK:
            ctypes.pythonapi.PyOS_BeforeFork()
        ctypes.pythonapi.PyOS_AfterFork_Child()
    _renew_all(seen=_forking)


def _is_single_threaded() -> bool:
    """Whether this thread is the only one of the process, and the interpreter is CPython, which can be told of a fork."""
    try:
        return sys.implementation.name == "cpython" and len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    except OSError:
        return False


def _sleeps_green() -> bool:
    """Whether gevent or eventlet has taken the place of `time.sleep`: then threads are green, and a sleep may start a loop."""
    return not isinstance(time.sleep, BuiltinFunctionType)


def _renew_all(*, seen: bool) -> None:
    global _forks  # noqa: PLW0603  a process has one line of forks
    pid = os.getpid()
    known = _renewals.get(pid)
    if known is None:
        order = [each for floor in reversed(Floor) for each in reversed(living(floor))]  # the next one is the last
        known = _renewals.setdefault(pid, (threading.RLock(), order))
    lock, waiting = known
    with lock:
        while waiting and not HERE[0]:
            each = waiting[-1]
            try:
                each.renew(seen=seen)
            except Exception as error:  # noqa: BLE001  one broken object must not leave the others with a parent's session
                _report(each, error, "could not begin anew in a forked process")
            # Only now, because a renewal that a signal interrupts is begun again. A nested one may have come further already.
            if waiting and waiting[-1] is each:
                waiting.pop()
        if not HERE[0]:
            _forks += 1
            HERE[0] = _forks % 255 + 1
    _renewals.pop(pid, None)
    _uwsgi.begin_work()


def _before_fork() -> None:
    global _forking  # noqa: PLW0603  a process forks once at a time
    _forking = True


def _after_fork_in_parent() -> None:
    global _forking  # noqa: PLW0603  see above
    _forking = False


def _after_fork_in_child() -> None:
    global _forking  # noqa: PLW0603  see above
    _forking = False
    if not HERE[0]:  # another hook before this one may have used something of ours
        _renew_all(seen=_told_in != os.getpid())
    _pools.prepare()


# The end.


def run(steps: Iterator[float]) -> None:
    """Runs a generator of last words, sleeping as long as it asks between its steps."""
    for pause in steps:
        time.sleep(max(0.0, pause))


async def run_async(steps: Iterator[float]) -> None:
    """The same in an event loop, which is not blocked meanwhile."""
    import asyncio

    for pause in steps:
        await asyncio.sleep(max(0.0, pause))


def close_all(timeout: float = 0.1) -> None:
    """Sends the last words of everything in this process: snapshots, marks and goodbyes; then the process may end in any way.

    At a normal end this happens by itself. Call it in processes that end by `os._exit` or by a signal: in a worker pool's exit function, in a
    server's shutdown hook, before `os.execv`. An object that is used afterwards begins anew, in another session.

    Args:
        timeout: seconds over which the repeats of all objects are spaced together, at most 86,400; 0 says everything once.

    Raises:
        OptionError: the timeout is longer, negative or not a number.
    """
    if not isinstance(timeout, (int, float)) or not 0 <= timeout <= LONGEST_CLOSE:
        raise OptionError("timeout", timeout, f"seconds from 0 to {LONGEST_CLOSE:g}")
    floors = [floor for floor in reversed(Floor) if _speakers(floor)]
    begun = time.monotonic()
    for number, floor in enumerate(floors, start=1):
        _run_together(_speakers(floor), begun + timeout * number / len(floors))


def _speakers(floor: Floor) -> list[Any]:
    return [each for each in living(floor) if hasattr(type(each), "last_words")]


def _run_together(speakers: list[Any], until: float) -> None:
    """Runs the last words of many objects side by side, always the one whose next step is due first."""
    turns: list[tuple[float, int, Iterator[float] | None]] = [(0.0, number, None) for number in range(len(speakers))]
    while turns:
        due, number, steps = heapq.heappop(turns)
        delay = due - time.monotonic()
        if delay > 0:
            time.sleep(delay)
        try:
            steps = steps or speakers[number].last_words(until)
            pause = next(steps, None)
        except Exception as error:  # noqa: BLE001  one broken object must not take the others' last words
            _report(speakers[number], error, "could not say its last words")
            continue
        if pause is not None:
            heapq.heappush(turns, (time.monotonic() + pause, number, steps))


def _report(living: object, error: Exception, what: str) -> None:
    with suppress(Exception):  # the interpreter may already be torn down this far
        import logging

        logging.getLogger("atmost").warning("%s %s: %r", type(living).__name__, what, error)


class _Pools:
    """Closes everything in processes of multiprocessing and billiard (Celery's copy, with the same registries), where atexit does not run."""

    def __init__(self) -> None:
        self._finalized_in = 0
        self.ended_in = 0
        """The process whose finalizers have come to the end of ours."""

    def prepare(self) -> None:
        """Has everything closed at the end of this process if a pool has started it, or is about to begin its work in it."""
        self._hear_celery()
        util = sys.modules.get("multiprocessing.util")
        if util is None:
            return
        # When its work begins the library forgets the parent's finalizers, and then calls the functions registered for after a fork.
        util.register_after_fork(self, _Pools.finalize)
        if _work_has_begun():
            self.finalize()

    def _hear_celery(self) -> None:
        """Has everything closed in the processes of Celery's pools, at a signal of Celery's: they end by `os._exit`, past all finalizers."""
        signals = sys.modules.get("celery.signals")
        if signals is not None and hasattr(signals, "worker_process_shutdown"):  # it may be in the middle of its import
            signals.worker_process_shutdown.connect(_close_with_celery, weak=False, dispatch_uid="atmost")

    def finalize(self) -> None:
        """Has everything closed when the work is over."""
        if self._finalized_in != os.getpid():
            self._finalized_in = os.getpid()
            sys.modules["multiprocessing.util"].Finalize(None, _close_when_threads_have_ended, exitpriority=_LAST)
            # An exception that a signal raises among the finalizers ends them all; what `threading` runs comes after that.
            again = getattr(threading, "_register_atexit", None)
            if again is not None:
                with suppress(RuntimeError):  # it is too late
                    again(_close_if_cut_short, os.getpid())


def _close_with_celery(**_: object) -> None:
    _close_at_exit()


def _work_has_begun() -> bool:
    if sys.modules["multiprocessing.process"].parent_process() is not None:
        return True
    billiard = sys.modules.get("billiard.process")
    return billiard is not None and billiard.current_process().name != "MainProcess"


def _close_when_threads_have_ended() -> None:
    """Closes everything after the threads that the process will wait for: they may still send, and some end only when it begins to wait."""
    current = threading.current_thread()
    others = [thread for thread in threading.enumerate() if not thread.daemon and thread is not current]
    if not others:
        _close_at_exit()
        _pools.ended_in = os.getpid()
        return

    def close_after() -> None:
        for thread in others:
            thread.join()
        _close_at_exit()

    threading.Thread(target=close_after, name="atmost-ending").start()
    _pools.ended_in = os.getpid()


def _close_if_cut_short(pid: int) -> None:
    """Closes everything in a process of a pool whose finalizers have not come to ours."""
    if pid == os.getpid() != _pools.ended_in:
        _close_at_exit()


def _close_at_exit() -> None:
    with _signals_put_off():
        close_all(_EXIT_TIMEOUT)


@contextmanager
def _signals_put_off() -> Iterator[None]:
    """Puts off the program's own handlers of signals that ask it to end: what they raise would cut the last words short."""
    came: list[int] = []

    def handle() -> None:
        with ExitStack() as each:
            for number in reversed(dict.fromkeys(came)):
                each.callback(signal.raise_signal, number)

    # The stack runs all of its steps, the last one first, whatever a handler raises: all are given back, then those that came are called.
    with ExitStack() as stack:
        stack.callback(handle)
        if threading.current_thread() is threading.main_thread():
            for number in _POLITE:
                handler = signal.getsignal(number)
                if callable(handler):
                    with suppress(ValueError):  # of a subinterpreter, which has no signals
                        signal.signal(number, handler)
                        stack.callback(signal.signal, number, handler)
                        signal.signal(number, lambda number, _frame: came.append(number))
        yield


class _Uwsgi:
    """Follows uWSGI's processes; does nothing anywhere else."""

    def __init__(self) -> None:
        server = sys.modules.get("uwsgi")  # made by the server itself, before any program
        self._server: Any = server if hasattr(server, "worker_id") and hasattr(server, "masterpid") else None
        self._resumed_in = 0
        self._heard_forks: object = None

    def is_loading(self) -> bool:
        """Whether this process loads the program, to fork workers from it or to become one later."""
        server = self._server
        if server is None or server.worker_id() or getattr(server, "i_am_the_spooler", bool)():
            return False
        return server.masterpid() in (0, os.getpid())  # mules and spoolers are no workers either

    def _is_known(self) -> bool:
        """Whether uWSGI has told this process what it is: Python's hooks may run before."""
        server = self._server
        return bool(
            server.worker_id() or getattr(server, "mule_id", int)() or getattr(server, "i_am_the_spooler", bool)()
        )

    def is_first_worker(self) -> bool:
        """Whether this process is the one that takes over what can exist only once."""
        return self._server is not None and self._server.worker_id() == 1

    def prepare(self) -> None:
        """Has uWSGI call us after its forks and at its ends; again and again, because programs set the same hooks."""
        if self._server is None:
            return
        _chain(self._server, "post_fork_hook", self.begin_work, first=True)
        _chain(self._server, "atexit", self._end_work, first=False)
        if self._heard_forks is None and self.is_loading():
            self._heard_forks = _before_forks_in_c(self._before_fork)

    def begin_work(self) -> None:
        """A worker begins its work, after uWSGI's fork or without one."""
        if self._server is None:
            return
        if not HERE[0]:
            notice_fork()
        if self._resumed_in == os.getpid() or not self._is_known():
            return
        self._resumed_in = os.getpid()
        self.prepare()
        for each in living():
            if hasattr(type(each), "resume"):
                try:
                    each.resume()
                except Exception as error:  # noqa: BLE001  one broken object must not keep the others from their threads
                    _report(each, error, "could not begin its work")

    def _end_work(self) -> None:
        # A worker that is recycled while the server stops is told to end once more; uWSGI's own signal handler would leave these lines.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _POLITE)
        try:
            close_all(_EXIT_TIMEOUT)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _before_fork(self) -> None:
        if HERE[0] and self.is_loading():
            close_all(
                0.0 if _sleeps_green() else _EXIT_TIMEOUT
            )  # a loop that began here would be shared by all workers


def may_start_threads() -> bool:
    """Whether a thread may be started in this process: not while uWSGI loads the program in a process from which it forks its workers."""
    return not _uwsgi.is_loading()


def is_first_worker() -> bool:
    """Whether this process is uWSGI's first worker, which takes over what its loading process could not do."""
    return _uwsgi.is_first_worker()


def _chain(server: Any, name: str, ours: Callable[[], None], *, first: bool) -> None:
    """Has a hook of uWSGI, which holds one function, call ours beside the one that is there."""
    before = getattr(server, name, None)
    if getattr(before, "calls_atmost", False):
        return

    def hook() -> None:
        if first:
            ours()
        try:
            if before is not None:
                before()
        finally:
            if not first:
                ours()

    hook.calls_atmost = True  # type: ignore[attr-defined]
    setattr(server, name, hook)


def _before_forks_in_c(function: Callable[[], None]) -> object:
    """Has a function called before each fork of this process and its children, also one by C; returns what must be kept for that."""
    import ctypes

    called = ctypes.CFUNCTYPE(None)(function)
    libc = ctypes.CDLL(None)
    try:
        libc["__register_atfork"](called, None, None, None)  # glibc's way to `pthread_atfork`
    except AttributeError:
        with suppress(AttributeError):
            libc.pthread_atfork(called, None, None)
    return called


class _Teardown(str):
    """Dies when the interpreter is torn down, after all functions of atexit: CPython begins by emptying a few attributes of `sys`.

    An exit function that was registered before `import atmost` runs after ours; the sessions in which it sends are closed here.
    Where an interpreter is never torn down (as in uWSGI), only their last words are lost.
    Of those attributes `ps2` is the only one that nothing but an interactive prompt reads; this object is its usual text.
    """

    __slots__ = ()

    def __del__(self) -> None:
        if sys is not None and sys.is_finalizing():
            with suppress(Exception):
                _close_at_exit()
                for floor in reversed(Floor):
                    for each in living(floor):
                        if hasattr(type(each), "release"):
                            each.release()


_pools: Final = _Pools()
_pools.prepare()
_uwsgi: Final = _Uwsgi()
_uwsgi.prepare()
atexit.register(_close_at_exit)
if not hasattr(sys, "ps2"):
    sys.ps2 = _Teardown("... ")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
