"""`Workers`: several processes that receive at one UDP port, each its own share of the sessions (R17).

The process that makes them keeps the sockets and never reads one: a worker that dies leaves its socket, with what waits there, to the next
incarnation on it, and no other worker's share changes. The next incarnation is made only when the system has confirmed that the one before
is gone, and reads its clock after that (H2, R10).

A worker that hangs is treated as one that died, but later: it answers from a thread of its own, however slow its handler is, so one that does not
answer cannot run at all (it is stopped, or code in C holds the interpreter). After 5 s the group is not ready, after 30 s it is killed.

Workers are forked, because a handler may be any function, closures included, and need not be pickled. A fork copies one thread but the
locks of all, so make Workers before you start other threads. Workers starts none: everything happens in `supervise`.

One thread uses a `Workers` object.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Final, Self, Unpack

from atmost.core.accounts import Ledger, MergedLedger, merge_ledgers, retire
from atmost.core.episodes import Episodes
from atmost.core.names import matcher
from atmost.endpoint.checking import ReceiverArguments, check_handler
from atmost.endpoint.intake import Intake, options_of
from atmost.endpoint.serving import Handler
from atmost.endpoint.worker import ENDING_SIGNALS, Ask, Job, KeeperEnd, Said, work
from atmost.errors import BindError, OptionError
from atmost.lifecycle import HERE, Floor, notice_fork, register, unregister
from atmost.transport.base import Address
from atmost.transport.steering import SharedPort, can_share, share_udp
from atmost.transport.url import DEFAULT_URL, parse_url

logger = logging.getLogger("atmost")

MAX_WORKERS: Final = 1024

_REPORT_EVERY: Final = 1.0
"""Between two reports, seconds: what a killed worker did since its last one is unknown."""
_ANSWER_WITHIN: Final = 1.0
"""The longest wait for fresh reports in `ledger`, seconds; a stopped worker counts as it last reported."""
_SAME_AGAIN: Final = 1.0
"""The shortest time from one start of a worker to the next in its place, seconds."""
_SILENT: Final = 5.0
"""How long a worker may leave a question unanswered while the group counts as ready, seconds."""
_HANGS: Final = 30.0
"""How long until it is killed and replaced, seconds."""
_LOOK: Final = 0.01
"""How soon to check again whether a worker that closed its end has ended, seconds."""


class Workers:
    """Processes that share a UDP port; every message goes to one of them, at most once. Linux only."""

    def __init__(
        self,
        handler: Handler,
        url: str | None = None,
        *,
        workers: int,
        subjects: Iterable[str] = (">",),
        **options: Unpack[ReceiverArguments],
    ) -> None:
        """Binds, forks, and waits until what is sent from now on is accepted; afterwards call `supervise` again and again.

        Args:
            handler: called in a worker, once a message; an exception is counted and reported, and the message is never redelivered.
            url: a UDP address; None takes `ATMOST_BIND`, then udp://127.0.0.1:7140. Port 0 lets the system choose, see `url`.
            workers: processes. All messages of one session go to the same worker: with fewer senders than workers, some idle.
            subjects: patterns; messages on other subjects count as delivered.
            options: of `Receiver`, for each worker; a file of keys is read by each incarnation.

        Raises:
            OptionError: an option is outside its range, the handler cannot be called or is async, or workers cannot share
                this kind of address, or any address on this system.
            AddressError: the URL cannot be used.
            AddressInUse: another receiver holds the address.
            BindError: the system refused the address, or to start a process.
            SubjectError: a pattern is malformed.
            InvalidKey: a key cannot be used.
            MissingExtra: a key is for encryption, and the extra `crypto` is not installed.
        """
        chosen = options_of("Workers", options)
        address = _shareable(url, workers)
        patterns = (subjects,) if isinstance(subjects, str) else tuple(subjects)
        matcher(patterns)
        self._job = Job(check_handler(handler), patterns, chosen, workers)
        self._children: dict[int, Child] = {}
        self._vacant: dict[int, float] = {}
        """When to replace each worker that ended, monotonic seconds, by shard."""
        self._past = MergedLedger()
        """The account of workers that are gone, or that have closed."""
        self._replaced = 0
        self._report_at = self._tended = time.monotonic() + _REPORT_EVERY
        self._ends: Episodes[str] = Episodes()
        self.closed = False
        if not HERE[0]:
            notice_fork()
        self._port = share_udp(address, workers)
        register(self, Floor.ENDPOINT)
        try:
            self._start()
        except BaseException:
            self.close(timeout=0)
            raise

    @property
    def url(self) -> str:
        """The address really bound."""
        return self._port.url

    @property
    def pids(self) -> dict[int, int]:
        """The process of each worker, by its number; one that ended and was not replaced yet is missing."""
        return {shard: child.pid for shard, child in sorted(self._children.items())}

    @property
    def ready(self) -> bool:
        """Whether every worker runs, answers, and accepts what is sent from now on; the state as of the last `supervise`."""
        children = self._children.values()
        return len(children) == self._job.count and all(child.ready and child.silent < _SILENT for child in children)

    def supervise(self, timeout: float = 0.0, ended: Callable[[], bool] = lambda: False) -> None:
        """Reads reports, replaces workers that ended, and ends those that hang; call it at least once a second.

        Args:
            timeout: seconds to do so; 0 looks once.
            ended: returns whether the end was asked for; if so, this returns without replacing workers that were asked to end too.
        """
        self._tend_until(time.monotonic() + timeout, ended)

    def ledger(self) -> MergedLedger:
        """The account of all workers, as each reports it now; the final account when closed."""
        for child in self._children.values():
            child.ask_report()
        self._tend_until(
            time.monotonic() + _ANSWER_WITHIN, lambda: not any(child.waiting for child in self._children.values())
        )
        merged = merge_ledgers([self._past, *(child.ledger for child in self._children.values())])
        return replace(
            merged, workers=len(self._children), replaced=self._replaced, kernel_drops=self._port.kernel_drops()
        )

    def close(self, timeout: float = 5.0) -> None:
        """Ends the workers after they have processed what has arrived, and frees the address; may be called twice.

        Args:
            timeout: seconds; workers whose handler has not returned by then are killed.
        """
        if self.closed:
            return
        self.closed = True
        deadline = time.monotonic() + timeout
        try:
            for child in self._children.values():
                child.ask_report()
                child.end.ask(Ask.END)
            while self._running() and (left := deadline - time.monotonic()) > 0:
                self._wait(left)
        finally:
            for child in self._running():
                child.kill()
            self._past = merge_ledgers([self._past, *map(_last_account, self._children.values())])
            self._children.clear()
            self._port.close()
            unregister(self)

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002
        """Closed in a forked child, because the workers are not its own."""
        self.closed = True
        self._children.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self._children)} of {self._job.count}"
        return f"<Workers on {self.url}: {state}>"

    def _start(self) -> None:
        """Forks all workers, after checking here that an incarnation with these options is possible."""
        inlet = self._port.inlet(self._port.copy(0))
        try:
            trial = Intake(self._job.options, inlet=inlet, shard=(0, self._job.count))
            trial.warn()
            trial.close()
        finally:
            inlet.close()
        try:
            for shard in range(self._job.count):
                self._children[shard] = fork_worker(self._job, shard, self._port)
        except OSError as error:
            raise BindError(self.url, f"worker {shard} cannot be started: {error.strerror or error}") from error
        while not self.ready:
            self._wait(_REPORT_EVERY)
            for child in self._children.values():
                child.listen()
                if child.gone():
                    raise BindError(self.url, f"worker {child.shard} {child.how} before it was ready")

    def _tend_until(self, deadline: float, done: Callable[[], bool]) -> None:
        """Handles what happens until the deadline, monotonic seconds, or until `done` returns True."""
        while not self.closed:
            now = time.monotonic()
            self._tend(now)
            if now >= deadline or done():
                return
            self._wait(max(0.0, min(deadline, self._report_at, *self._vacant.values()) - now))
            if done():
                return

    def _tend(self, now: float) -> None:
        if now >= self._report_at:
            self._report_at = now + _REPORT_EVERY
            for child in self._children.values():
                child.ask_report()
        passed = max(0.0, min(now - self._tended, _REPORT_EVERY))  # while nobody supervised, nobody listened either
        self._tended = now
        for child in list(self._children.values()):
            child.listen()
            if child.gone():
                self._lose(child, now)
            elif child.waiting:
                self._endure(child, passed, now)
        for shard in [shard for shard, at in self._vacant.items() if now >= at]:
            self._fill(shard, now)
        for how, count in self._ends.due(now):
            logger.warning("%s: %d more workers %s", self.url, count, how)

    def _endure(self, child: Child, passed: float, now: float) -> None:
        """Notes that a worker still does not answer, and ends it when that has lasted too long."""
        before, child.silent = child.silent, child.silent + passed
        if before < _HANGS <= child.silent:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            said = f"has not answered for {_HANGS:.0f} s and is killed"
        elif before < _SILENT <= child.silent:
            said = "does not answer"
        else:
            return
        if self._ends.note(said, now):
            logger.warning("%s: worker %d (pid %d) %s", self.url, child.shard, child.pid, said)

    def _lose(self, child: Child, now: float) -> None:
        """Books a worker that ended by itself, and makes its place vacant."""
        del self._children[child.shard]
        self._replaced += 1
        self._past = merge_ledgers([self._past, retire(child.ledger, killed=not child.closed)])
        self._vacant[child.shard] = max(now, child.started + _SAME_AGAIN)
        assert child.how is not None
        if self._ends.note(child.how, now):
            logger.warning("%s: worker %d (pid %d) %s; another takes over", self.url, child.shard, child.pid, child.how)

    def _fill(self, shard: int, now: float) -> None:
        try:
            self._children[shard] = fork_worker(self._job, shard, self._port)
            del self._vacant[shard]
        except OSError as error:
            self._vacant[shard] = now + _SAME_AGAIN
            how = f"could not be started: {error.strerror}"
            if self._ends.note(how, now):
                logger.warning("%s: worker %d %s; tried again", self.url, shard, how)

    def _running(self) -> list[Child]:
        """The workers that have not ended; what they have said is taken in."""
        for child in self._children.values():
            child.listen()
        return [child for child in self._children.values() if not child.gone()]

    def _wait(self, timeout: float) -> None:
        """Returns when a worker has said something or ended, or after `timeout` seconds."""
        poll = select.poll()
        for child in self._children.values():
            if not child.end.ended:
                poll.register(child.end, select.POLLIN)
            elif child.how is None:
                timeout = min(timeout, _LOOK)
        poll.poll(timeout * 1000)


class Child:
    """One incarnation of a worker, as the process that forked it sees it: what it said, and whether it still runs.

    Its exit status is collected when `gone` is asked.
    """

    def __init__(self, shard: int, pid: int, end: KeeperEnd) -> None:
        """Args: shard: its number. pid: its process. end: what to ask it by."""
        self.shard = shard
        self.pid = pid
        self.end = end
        self.started = time.monotonic()
        self.ready = False
        """Whether it accepts what is sent from now on."""
        self.closed = False
        """Whether `ledger` is its last account."""
        self.ledger = Ledger()
        """Its account as it was last known."""
        self.how: str | None = None
        """How it ended, for people."""
        self.silent = 0.0
        """How long it has left a question unanswered, seconds in which somebody listened."""
        self._asked = 0

    def ask_report(self) -> None:
        """Asks for the account; see `waiting`."""
        self._asked += self.end.ask(Ask.REPORT)

    @property
    def waiting(self) -> bool:
        """Whether a report that was asked for has not come yet."""
        return self._asked > 0 and not self.end.ended

    def listen(self) -> None:
        """Takes in what it has said."""
        for said, ledger in self.end.records():
            self.silent = 0.0
            if said is Said.REPORT:
                self._asked -= 1
            else:
                self.ready = True
            if not self.closed:  # a report can be overtaken by the last account
                self.ledger = ledger
                self.closed = said is Said.CLOSED

    def gone(self) -> bool:
        """Whether the process has ended; if so, what it had said is taken in."""
        if self.how is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # it was collected by the program, or by the system where SIGCHLD is ignored
                pid, status = self.pid, None
            if pid:
                self._bury(status)
        return self.how is not None

    def kill(self) -> None:
        """Ends it for certain, and waits until it has."""
        if self.how is None:
            status = None
            with suppress(ChildProcessError, ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
                _, status = os.waitpid(self.pid, 0)
            self._bury(status)

    def _bury(self, status: int | None) -> None:
        self.listen()
        self.end.close()
        code = None if status is None else os.waitstatus_to_exitcode(status)
        if code is None:
            self.how = "ended"
        else:
            self.how = f"exited with status {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"


def fork_worker(job: Job, shard: int, port: SharedPort) -> Child:
    """Starts an incarnation on one of the port's sockets, on which no other process receives.

    Raises:
        OSError: the system has no room for another process.
    """
    for stream in (sys.stdout, sys.stderr):  # or what they hold would be printed by both processes
        with suppress(Exception):
            stream.flush()
    ours, theirs = socket.socketpair()
    end, copy = KeeperEnd(ours), port.copy(shard)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        pid = os.fork()
        if not pid:
            work(job, shard, port, (copy, theirs))
    except OSError:
        end.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        copy.close()
        theirs.close()
    return Child(shard, pid, end)


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _shareable(url: str | None, workers: int) -> Address:
    """The address, when so many workers can share it."""
    if not (isinstance(workers, int) and 1 <= workers <= MAX_WORKERS):
        raise OptionError("workers", workers, f"a whole number of processes from 1 to {MAX_WORKERS}")
    if not can_share():
        raise OptionError("workers", workers, "1 on this system: only Linux can give every session to one of several")
    address = parse_url(url or os.environ.get("ATMOST_BIND") or DEFAULT_URL)
    if address.scheme != "udp":
        raise OptionError("workers", workers, f"1 for {address.scheme}://: only a UDP port can be shared")
    return address


def _last_account(child: Child) -> Ledger:
    return child.ledger if child.closed else retire(child.ledger, killed=True)
