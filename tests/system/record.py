"""What is known of one run: the log that the receivers write, what each session numbered, and what each incarnation told."""

from __future__ import annotations

import fcntl
import os
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from tests.system.checker import Handled, Row, Verdict, check
from tests.system.processes import wait_until

_PIPE_SIZE: Final = 1 << 20


class Record:
    """The log is one pipe that all processes share, so that its order is the order of what happened.

    Each line holds a word, who wrote it, and what about: `handled i2 a0000017`.
    """

    def __init__(self) -> None:
        """Opens the log."""
        self._reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._handled: list[Handled] = []
        self._notes: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._marks = 0
        self._reader = threading.Thread(target=self._read, name="reads the log", daemon=True)
        self._reader.start()
        self.sent: dict[str, Sequence[str]] = {}
        """By session, in the order of the numbers."""
        self.told: dict[str, dict[str, Row]] = {}
        """By incarnation and session."""

    def noted(self, what: str, who: str) -> list[str]:
        """What somebody noted under that word so far, as far as the log is read."""
        return self._notes[what, who]

    def handled(self) -> list[Handled]:
        """What all incarnations handled, in order; complete for what they wrote before this is called."""
        self._marks += 1
        os.write(self.writing, f"mark record {self._marks}\n".encode())
        wait_until(lambda: len(self.noted("mark", "record")) == self._marks, "the log is read")
        return self._handled

    def verdict(self) -> Verdict:
        """What the checker says of everything so far."""
        return check(self.sent, self.handled(), self.told)

    def close(self) -> None:
        """Closes the log, which every writer must have done before."""
        os.close(self.writing)
        self._reader.join()
        os.close(self._reading)

    def _read(self) -> None:
        with open(self._reading, encoding="utf-8", closefd=False) as lines:
            for line in lines:
                what, who, about = line.rstrip("\n").split(" ", 2)
                self._notes[what, who].append(about)
                if what == "handled":
                    self._handled.append(Handled(who, about))
