"""Ends a command cleanly at Ctrl-C, SIGTERM or a closed terminal; a second Ctrl-C ends it at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from atmost.endpoint.serving import ended_by_signals


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

    with ended_by_signals(ask, hang_up=True):
        yield stop
