"""Ends a command cleanly at Ctrl-C, SIGTERM or a closed terminal; a second Ctrl-C ends it at once."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from atmost.endpoint.serving import ended_by_signals

_PATIENCE: Final = 2.0
"""How long a reader of the output may take to read on after a stop was asked for (seconds)."""


class Stop:
    """Whether somebody asked to stop."""

    asked = False


@contextmanager
def stopping() -> Iterator[Stop]:
    """Turns the first SIGINT, SIGTERM or SIGHUP into `asked`; to be called from the main thread.

    A signal that was ignored at the start stays ignored: a command started that way is meant to outlive a Ctrl-C.
    """
    stop = Stop()

    def ask() -> None:
        stop.asked = True
        _let_go_of_output()

    with ended_by_signals(ask, hang_up=True):
        yield stop


def _let_go_of_output() -> None:
    """Sends what nobody reads to nowhere, or a command that waits to write would never end.

    A handler runs before the interrupted write is tried again, which then succeeds.
    """
    if sys.platform == "win32":
        return
    for descriptor in (1, 2):
        with suppress(OSError, ValueError):  # closed
            _, writable, _ = select.select([], [descriptor], [], _PATIENCE)
            if not writable:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
