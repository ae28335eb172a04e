"""One incarnation of a worker, as the process that forked it sees it: what it said, and whether it still runs."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress

from atmost.core.ledger import Ledger
from atmost.endpoint.reports import Ask, KeeperEnd, Said
from atmost.endpoint.worker import ENDING_SIGNALS, Job, work
from atmost.transport.steering import SharedPort


class Child:
    """A forked worker; collected by whoever asks `gone` until it is."""

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
            if said is Said.REPORT:
                self._asked -= 1
            else:
                self.ready = True
            if not self.closed:  # a report can be overtaken by the last account
                self.ledger = ledger
                self.closed = said is Said.CLOSED

    def gone(self) -> bool:
        """Whether the process has ended; what it had said is taken in then."""
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
    """Starts an incarnation on one of the port's sockets, which nobody else receives on.

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
