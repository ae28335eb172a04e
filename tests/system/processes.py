"""Child processes that speak JSON lines: started, told, waited for with a bound, and ended by their own id."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import atmost

ROOT: Final = Path(__file__).parent.parent.parent
BOUND: Final = 60.0
"""The longest wait for anything, seconds: never reached but when something is wrong."""


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`; fails by name when there is none within the bound."""
    deadline = time.monotonic() + BOUND
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {BOUND:g} s in vain until {what}"
        time.sleep(0.005)
    return value


class Child:
    """A Python module that runs as a process of its own; ends by itself when its standard input does."""

    def __init__(
        self, module: str, *arguments: str, prefix: Sequence[str] = (), descriptors: Sequence[int] = ()
    ) -> None:
        """Starts it.

        Args:
            module: what is run, as `python -m` takes it.
            arguments: its command line.
            prefix: what stands before the command, such as the way into a network namespace.
            descriptors: file descriptors it inherits.
        """
        self.module = module
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple(descriptors),
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=f"reads {module}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id, the same whatever the prefix, for each part of it executes the next."""
        return self._process.pid

    def line(self) -> dict[str, Any]:
        """The next line it says."""
        try:
            text = self._lines.get(timeout=BOUND)
        except queue.Empty:
            raise AssertionError(f"{self.module} said nothing for {BOUND:g} s") from None
        assert text, f"{self.module} ended with status {self._process.wait(BOUND)} and said nothing more"
        result: dict[str, Any] = json.loads(text)
        return result

    def tell(self, command: str) -> None:
        """Gives it a command, one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def ask(self, command: str) -> dict[str, Any]:
        """Gives it a command and returns its answer."""
        self.tell(command)
        return self.line()

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal; SIGSTOP has taken effect when this returns."""
        self._process.send_signal(number)
        if number == signal.SIGSTOP:
            state = Path(f"/proc/{self.pid}/stat")
            wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", f"{self.module} is stopped")

    def wait(self) -> int:
        """Waits for its end; its status, negative for a signal."""
        return self._process.wait(BOUND)

    def kill(self) -> None:
        """SIGKILL, and its funeral: when this returns the process is gone, and its sockets with it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(BOUND)
        self._reader.join(BOUND)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # a command it did not live to read
                    stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            self._lines.put(text)
        self._lines.put("")


def _environment() -> dict[str, str]:
    """The environment of a child: it finds the package that this process has, and nothing is set for it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ATMOST_")}
    return kept | {"PYTHONPATH": str(Path(atmost.__file__).parents[1])}


_saying = threading.Lock()


def say(**facts: Any) -> None:
    """Says one line, in a child; from any thread."""
    with _saying:
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()


def commands() -> Callable[[], str]:
    """In a child: a function that waits for the next command and returns it; `end` when nobody is left to give any."""
    return lambda: sys.stdin.readline().strip() or "end"
