"""Ctrl-C, SIGTERM and a terminal that is closed end a command cleanly: the first asks, a second Ctrl-C insists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from atmost.endpoint.serving import ended_by_signals


class Stop:
    """Whether somebody asked to stop."""

    asked = False


@contextmanager
def stopping() -> Iterator[Stop]:
    """Turns the first SIGINT, SIGTERM or SIGHUP into `asked`; from the main thread.

    A signal that is ignored stays ignored: whoever starts a command so means it to outlive a Ctrl-C.
    """
    stop = Stop()

    def ask() -> None:
        stop.asked = True

    with ended_by_signals(ask, hang_up=True):
        yield stop
