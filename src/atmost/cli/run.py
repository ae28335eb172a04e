"""`atmost run`: a command with a heartbeat around it, and a log record of its start and of its end.

The command is started as it would be without us: our standard input, environment, folder and process group, with the same
signals blocked. Its output goes through us where its tail is kept. Signals that are sent to us are passed on; what the
terminal sends (Ctrl-C), the command has got itself. Its exit status is ours.

Theory of operation: the signals are blocked, and the main thread waits for one of them, SIGCHLD included. So nothing happens
inside of a signal handler, and no signal comes between two steps. Two threads copy the output; one beats.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import PurePath
from typing import Final

import click

from atmost.cli.bounded_output import tell
from atmost.cli.options import Number, audience_option, key_file_option, url_option, utf8
from atmost.core.names import MAX_SUBJECT
from atmost.endpoint.must_deliver import check_lossy
from atmost.endpoint.sender import Sender
from atmost.heartbeats.beat import (
    MAX_INTERVAL,
    MAX_TIMEOUT,
    MIN_INTERVAL,
    SUBJECT,
    HeartbeatEnding,
    check_rhythm,
    subject_of,
)
from atmost.heartbeats.ending import How, ending_of_child
from atmost.heartbeats.heartbeat import Heartbeat
from atmost.logs.writer import LogWriter

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
"""As shells and env(1) have them."""
_BY_SIGNAL: Final = 128
"""Plus the signal's number, as shells have it."""
_PASSED_ON: Final = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
        signal.SIGALRM,
    }
)
_OF_TERMINAL: Final = 0x80
"""`si_code` SI_KERNEL: the terminal sends it to its whole foreground group."""
_CHUNK: Final = 65_536
_TAIL_BYTES: Final = 16_384
_LINGER: Final = 0.2
"""Seconds that output may still come after the command's end; what it started in the background may hold the pipe for ever."""
_NOT_IN_NAME: Final = re.compile(r"[\s\x00-\x20\x7f-\x9f\ud800-\udfff*>]")


@click.command(
    short_help="Run a command with a heartbeat that fails with it.",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--name", callback=utf8, metavar="NAME", help="The heartbeat's, and the sender's.  [default: the program's name]"
)
@click.option(
    "--interval",
    type=Number(min=MIN_INTERVAL, max=MAX_INTERVAL),
    default=5.0,
    metavar="S",
    show_default=True,
    help="Seconds between two beats.",
)
@click.option("--timeout", type=Number(max=MAX_TIMEOUT), metavar="S", help="Seconds of silence that mean 'down'.")
@click.option(
    "--tail",
    type=click.IntRange(0, 1000),
    default=20,
    metavar="LINES",
    show_default=True,
    help="Lines of output sent at the end; with 0 none is sent, and the command writes to the terminal itself.",
)
@url_option
@audience_option
@key_file_option
def run(
    command: tuple[str, ...],
    name: str | None,
    interval: float,
    timeout: float | None,
    tail: int,
    url: str | None,
    audience: str,
    key_file: str | None,
) -> int:
    """Run COMMAND, and report that it runs, and how it ended.

    A heartbeat lasts as long as the command, and is 'failed' when the command fails. A log record reports the start, another
    one the duration, the exit status and the end of the output; of the command line only the program's name is sent.
    Signals are passed on, and the exit status is the command's: 127 if there is no such program, 126 if it cannot be
    executed, 128 plus the signal's number if a signal ended it. A network that is down changes none of this.

    \b
    Examples:
      atmost run -- /usr/local/bin/backup --all
      atmost run --name nightly --tail 50 -- sh -c 'dump | gzip > dump.gz'
      0 3 * * * atmost run --url udp://collector:7140 -- report
    """
    if name is None:
        program = PurePath(command[0]).name.encode(errors="replace").decode()
        name = _NOT_IN_NAME.sub("_", program)[: MAX_SUBJECT // 4].strip(".") or "command"
    interval, timeout = check_rhythm(interval, timeout)
    check_lossy(subject_of(SUBJECT, name))
    sender = Sender(url, name=name, audience=audience, key_file=key_file)
    heartbeat = Heartbeat(sender, name, interval, timeout=timeout)
    log = LogWriter(sender)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, the command's status would be nobody's
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON | {signal.SIGCHLD})
    try:
        heartbeat.start()
        job = _Job(command, tail, before)
        _log(log, "INFO", 20, name, f"{name} started", {"command": job.program, "pid": job.pid})
        sender.flush()
        began = time.monotonic()
        status, reason = job.wait()
        took = time.monotonic() - began
        how: How = (HeartbeatEnding.FAILED, reason) if reason else ending_of_child(status)
        _log_end(log, name, job, status, how, took)
        if how[0] is HeartbeatEnding.FAILED:
            heartbeat.fail(how[1])
        else:
            heartbeat.stop()
        log.close()
        sender.close()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return status if status >= 0 else _BY_SIGNAL - status


class _Job:
    """The command, its output and its end."""

    def __init__(self, command: tuple[str, ...], tail: int, mask: Iterable[int]) -> None:
        self.program = PurePath(command[0]).name
        self.pid = 0
        self._refused: OSError | None = None
        self._outputs: list[_Output] = []
        self._tail = _Tail(tail)
        pipes = [os.pipe() for _ in range(2)] if tail else []
        actions = [(os.POSIX_SPAWN_DUP2, pipe[1], number) for number, pipe in zip((1, 2), pipes, strict=False)]
        sys.stdout.flush()
        try:
            self.pid = os.posix_spawnp(
                command[0], command, os.environ, file_actions=actions, setsigmask=mask, setsigdef=_defaults()
            )
        except OSError as error:
            self._refused = error
        for number, pipe in zip((1, 2), pipes, strict=False):
            os.close(pipe[1])
            self._outputs.append(_Output(pipe[0], number, self._tail))

    @property
    def tail(self) -> str:
        """The end of what it said."""
        return self._tail.text()

    def wait(self) -> tuple[int, str]:
        """Passes signals on until it has ended; returns its status, negative for a signal, and why it could not start."""
        if self._refused is not None:
            missing = self._refused.errno in (errno.ENOENT, errno.ENOTDIR)
            why = f"{self.program}: {self._refused.strerror}"
            tell(f"atmost: cannot run {why}")
            self._end_outputs()
            return (NOT_FOUND if missing else NOT_EXECUTABLE), why
        while True:
            found = signal.sigwaitinfo(_PASSED_ON | {signal.SIGCHLD})
            if found.si_signo == signal.SIGCHLD:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                if ended:
                    break
            elif found.si_code != _OF_TERMINAL:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, found.si_signo)
        self._end_outputs()
        return os.waitstatus_to_exitcode(status), ""

    def _end_outputs(self) -> None:
        until = time.monotonic() + _LINGER
        for output in self._outputs:
            output.end(until)


def _defaults() -> set[signal.Signals]:
    """Signals that Python ignores and a command should not."""
    return {signal.SIGPIPE, signal.SIGXFSZ}


class _Output:
    """One stream of the command: passed on as it comes, its end kept."""

    def __init__(self, source: int, target: int, tail: _Tail) -> None:
        self._source, self._target, self._tail = source, target, tail
        self._thread = threading.Thread(target=self._copy, name=f"output-{target}", daemon=True)
        self._thread.start()

    def end(self, until: float) -> None:
        """Waits until everything is copied, or until that moment."""
        self._thread.join(max(0.0, until - time.monotonic()))

    def _copy(self) -> None:
        passing = True
        while True:
            try:
                chunk = os.read(self._source, _CHUNK)
            except OSError:
                return
            if not chunk:
                return
            self._tail.feed(chunk, self._source)
            while chunk and passing:
                try:
                    chunk = chunk[os.write(self._target, chunk) :]
                except (
                    OSError
                ):  # nobody reads ours any more: the command is not to be ended by that, and its tail is kept
                    passing = False


class _Tail:
    """The last lines of both outputs, whole, and at most so many bytes of them."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._lock = threading.Lock()
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._open: dict[int, bytes] = {}
        """The beginning of a line of each output, which a chunk of the other must not go on with."""

    def feed(self, chunk: bytes, source: int) -> None:
        """Takes what comes next from one of the outputs."""
        with self._lock:
            text = self._open.get(source, b"") + chunk
            end = text.rfind(b"\n") + 1
            self._open[source] = text[end:][-_TAIL_BYTES:]
            if end:
                self._kept.append(text[:end])
                self._size += end
            while self._kept and self._size - len(self._kept[0]) >= _TAIL_BYTES:
                self._size -= len(self._kept.popleft())

    def text(self) -> str:
        """The last lines as text."""
        with self._lock:
            content = b"".join([*self._kept, *(rest + b"\n" for rest in self._open.values() if rest)])[-_TAIL_BYTES:]
        lines = content.decode(errors="replace").splitlines()
        return "\n".join(lines[-self._lines :]) if self._lines else ""


def _log_end(log: LogWriter, name: str, job: _Job, status: int, how: How, took: float) -> None:
    failed = how[0] is HeartbeatEnding.FAILED
    fields: dict[str, object] = {"command": job.program, "duration": round(took, 3), "status": status}
    if tail := job.tail:
        fields["tail"] = tail
    said = how[1] if failed else "exit status 0" if status == 0 else "told to stop"
    level, rank = ("ERROR", 40) if failed else ("INFO", 20)
    _log(log, level, rank, name, f"{name} {'failed' if failed else 'ended'} after {took:.3g} s: {said}", fields)


def _log(log: LogWriter, level: str, rank: int, name: str, message: str, fields: dict[str, object]) -> None:
    log.write(level, rank, f"run.{name}", message, at=time.time(), fields=fields)
