"""Runs the demo: collector here, agent and link as processes of their own, and at the end the account."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from atmost.core.events import Event, Message
from atmost.demo.account import DemoAccount, Tally, balance
from atmost.demo.processes import Child, ChildError
from atmost.endpoint.receiver import Receiver

_TURN: Final = 0.1
_ENDING: Final = 15.0
"""The longest wait for a child to end, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the link does, and for how long; shares are of datagrams, 0 to 1."""

    seconds: float | None = None
    loss: float = 0.05
    duplicate: float = 0.03
    reorder: float = 0.05
    seed: int | None = None


def run_demo(
    options: DemoOptions,
    asked: Callable[[], bool],
    began: Callable[[str, str], None],
    show: Callable[[Event], None],
    tick: Callable[[], None],
) -> DemoAccount:
    """Runs until the time is over or somebody asks to stop.

    Args:
        options: the link's faults.
        asked: whether to stop; looked at every 0.1 s.
        began: told the collector's and the link's address.
        show: given every message and event.
        tick: called about every 0.1 s.

    Raises:
        ChildError: a child process failed.
    """
    tally = Tally()

    def take(until: float, enough: Callable[[], bool] = lambda: False) -> None:
        while (left := until - time.monotonic()) > 0 and not enough():
            event = receiver.next_event(min(left, _TURN))
            if isinstance(event, Message):
                tally.process(event)
            if event is not None:
                show(event)
            tick()

    with tempfile.TemporaryDirectory(prefix="atmost-demo-") as folder, Receiver("udp://127.0.0.1:0") as receiver:
        journal = Path(folder) / "link.log"
        children = [Child("link", "atmost.lab.link", _link_arguments(receiver.url, journal, options))]
        try:
            link = children[0]
            link_url = link.line()["url"]
            source = Child("agent", "atmost.demo.source", [link_url, socket.gethostname(), str(journal)])
            children.append(source)
            source.line()  # from now on SIGTERM asks it to end, and no longer just ends it
            began(receiver.url, link_url)
            end = float("inf") if options.seconds is None else time.monotonic() + options.seconds
            take(end, lambda: asked() or link.has_line() or source.has_line())
            if link.has_line() or source.has_line():
                raise ChildError("a process of the demo ended early; its own message stands above")
            # In order, so that nothing is on its way when its counter is read: sender, link, receiver.
            source.ask_to_end()
            take(time.monotonic() + _ENDING, source.has_line)
            stats = source.line()
            link.ask_to_end()
            take(time.monotonic() + _ENDING, link.has_line)
            link_account = link.line()
            take(time.monotonic() + 2 * _TURN)
            take(time.monotonic() + 5.0, lambda: receiver.ledger().pending == 0)
            return balance(stats, receiver.ledger(), tally, link_account)
        finally:
            for child in reversed(children):
                child.kill()


def _link_arguments(target: str, journal: Path, options: DemoOptions) -> list[str]:
    arguments = ["--target", target, "--journal", str(journal)]
    for name in ("loss", "duplicate", "reorder"):
        arguments += [f"--{name}", str(getattr(options, name))]
    return arguments if options.seed is None else [*arguments, "--seed", str(options.seed)]
