"""The demo's child processes: started in sessions of their own, so that Ctrl-C reaches only the demo, which ends them in order."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

_PATIENCE: Final = 15.0
"""Longest wait for a line (s): starting Python on a busy machine takes a while."""


class ChildError(Exception):
    """A child process ended early or did not answer."""


class Child:
    """A Python process that speaks JSON lines on its standard output, and ends when its standard input does."""

    def __init__(self, name: str, module: str, arguments: Sequence[str]) -> None:
        """Args: name: for messages. module: run as `python -m module`. arguments: its command line."""
        self._name = name
        self._process = subprocess.Popen(  # noqa: S603  our own modules
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, name=f"demo-{name}", daemon=True).start()

    def line(self, timeout: float = _PATIENCE) -> dict[str, Any]:
        """The next line of its output.

        Raises:
            ChildError: the process ended, or wrote nothing in time.
        """
        try:
            text = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise ChildError(f"the {self._name} process did not answer within {timeout:g} s") from None
        if not text:
            raise ChildError(f"the {self._name} process ended with status {self._process.wait()}")
        result: dict[str, Any] = json.loads(text)
        return result

    def has_line(self) -> bool:
        """Whether `line` would return or fail without waiting."""
        return not self._lines.empty()

    def tell(self, text: str) -> None:
        """Writes a line to its standard input; does nothing if it has ended."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{text}\n")
            self._process.stdin.flush()

    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def ask_to_end(self) -> None:
        """Sends SIGTERM; `line` returns its last output."""
        if self.running():
            self._process.terminate()

    def end_input(self, timeout: float = 5.0) -> None:
        """Closes its standard input and waits until it has ended, `timeout` seconds at most."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    def kill(self) -> None:
        """Kills it and reaps it."""
        if self.running():
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for text in self._process.stdout:
                self._lines.put(text)
        except ValueError:  # closed by `kill`
            pass
        self._lines.put("")
