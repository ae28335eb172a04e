"""The child process of `Workers`: one incarnation on one of the shared sockets, its own clock reading, floor and table (R17).

The handler runs in the main thread; another one answers the keeper, so that a slow handler does not keep the account back.
It ends when the keeper asks, on SIGTERM, or when the keeper is gone; Ctrl-C is the keeper's business.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import Final, NoReturn

from atmost.endpoint.checking import ReceiverArguments
from atmost.endpoint.intake import Intake
from atmost.endpoint.reports import Ask, Said, WorkerEnd
from atmost.endpoint.serving import Handler, Serving
from atmost.transport.sockets import SocketInlet
from atmost.transport.steering import SharedPort

ENDING_SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM})
"""Blocked while a worker is made: one that came before it has handlers of its own would be the keeper's, run here."""

_ORPHAN_PATIENCE: Final = 5.0
"""How long a handler may go on when the keeper is gone, seconds."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker does, and every incarnation of it."""

    handler: Handler
    subjects: tuple[str, ...]
    options: ReceiverArguments
    count: int
    """Workers."""


def work(job: Job, shard: int, port: SharedPort, copies: tuple[socket.socket, socket.socket]) -> NoReturn:
    """Is a worker until the process ends; called in a forked child, with the ending signals blocked.

    Args:
        job: the same for all.
        shard: its number.
        port: what it has a share of; this process's copy of it is closed.
        copies: a copy of the socket to receive on, and the one to the keeper.

    The exit status is 0, what the handler gave to `sys.exit`, or 1.
    Nothing of the parent's is run on the way out: neither its `finally` clauses nor its exit functions.
    """
    status = 1
    try:
        _serve(job, shard, port.inlet(copies[0]), WorkerEnd(copies[1]))
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001  whatever it is, it must not unwind into the parent's code
        with contextlib.suppress(Exception):
            traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            _leave()
        os._exit(status & 0xFF)


def _serve(job: Job, shard: int, inlet: SocketInlet, keeper: WorkerEnd) -> None:
    intake = Intake(inlet=inlet, shard=(shard, job.count), **job.options)
    serving = Serving(intake, job.handler, job.subjects)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: serving.end())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
    threading.Thread(target=_answer, args=(keeper, intake, serving), name="atmost-worker", daemon=True).start()
    try:
        serving.start()
        keeper.say(Said.READY, intake.ledger())
        serving.run()
    finally:
        intake.close()
        keeper.say(Said.CLOSED, intake.ledger())


def _answer(keeper: WorkerEnd, intake: Intake, serving: Serving) -> None:
    """Answers until the keeper is gone; then nothing more is processed, and the address is let go."""
    while (asked := keeper.asked()) is not None:
        if asked is Ask.REPORT:
            keeper.say(Said.REPORT, intake.ledger())
        else:
            serving.end()
    intake.close()
    threading.Event().wait(_ORPHAN_PATIENCE)  # the process ends by itself, unless its handler does not return
    os._exit(1)


def _leave() -> None:
    """What an exiting process owes to others: the goodbyes of senders its handler used, and what it printed."""
    sender = sys.modules.get("atmost.endpoint.sender")
    if sender is not None:
        sender.close_senders()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
