"""A sender as a process of its own: numbered ids at a steady rate until it is told to stop, or its bound is reached.

On standard input: `go` begins, `progress` says how many were accepted, `stop` ends the sending, `close` says goodbye and tells all.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from atmost.endpoint.sender import Sender
from tests.system.processes import commands, say

LONGEST = 120.0
"""Seconds after which it stops by itself."""


def main() -> int:
    """Sends."""
    log, plan = int(sys.argv[1]), json.loads(sys.argv[2])
    say(warm=os.getpid())
    command = commands()
    if command() != "go":
        return 0
    run = Run(plan, log)
    threading.Thread(target=run.send, daemon=True).start()
    while (asked := command()) != "close":
        if asked == "end":
            return 0
        if asked == "stop":
            run.stopped = True
            run.done.wait()
        say(**run.progress())
    run.stopped = True
    run.done.wait()
    run.sender.close(timeout=plan["goodbye"])
    say(**run.report())
    return 0


class Run:
    """What one thread sends while another obeys."""

    def __init__(self, plan: dict[str, Any], log: int) -> None:
        """Args: plan: see `Scene.sender`. log: where an id is written before it is sent, when the plan wants that."""
        self._plan = plan
        self._log = log
        self.sender = Sender(plan["url"], name=plan["label"], **plan["options"])
        self.sender._core.together = 1  # the counters of the network take what leaves together for one packet
        self.stopped = False
        self.done = threading.Event()
        self._accepted = 0
        self._dropped: list[str] = []

    def send(self) -> None:
        """Sends bursts with pauses between them."""
        plan, deadline = self._plan, time.monotonic() + LONGEST
        before: Callable[[str], object] = self._note if plan["log_attempts"] else lambda _id: None
        for number in range(plan["count"]):
            each = f"{plan['label']}{number:07}".ljust(plan["width"], ".")
            before(each)
            if self.sender.send("s", each):
                self._accepted += 1
            else:
                self._dropped.append(each)
            if number % plan["burst"] == plan["burst"] - 1:
                if self.stopped or time.monotonic() > deadline:
                    break
                time.sleep(plan["pause"])
        self.sender.flush()
        self.done.set()

    def progress(self) -> dict[str, Any]:
        """What can be said while it runs."""
        session = self.sender._core.session
        return {
            "accepted": self._accepted,
            "done": self.done.is_set(),
            "session": session and f"{session[1]:016x}",
        }

    def report(self) -> dict[str, Any]:
        """The truth about a session that is over."""
        stats = self.sender.stats()
        return {
            **self.progress(),
            "dropped": self._dropped,
            "numbers": self.sender._core.datagrams,
            "stats": asdict(stats),
        }

    def _note(self, each: str) -> None:
        os.write(self._log, f"attempt {self._plan['label']} {each}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
