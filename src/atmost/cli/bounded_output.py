"""Output that never holds anything up: standard output that nobody reads, a full disk, a pipe that broke.

A thread of its own writes what it is given, straight to the descriptor. What finds more waiting than the bound is dropped and
counted, and the next line that goes out says how many were. Safe from any thread.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from typing import Final, TextIO

import click

MAX_WAITING: Final = 1 << 20
"""Bytes that may wait to be written."""
_told: BoundedOutput | None = None
"""What `tell` writes to, once it has."""
_PAUSE: Final = 1.0
"""Before the next try where the system refuses, as on a full disk, seconds."""
_LINGER: Final = 2.0


class BoundedOutput:
    """Writes lines to one stream."""

    def __init__(self, stream: TextIO, max_waiting: int = MAX_WAITING, linger: float = _LINGER) -> None:
        """Begins to write.

        Args:
            stream: where to; only its descriptor, encoding and kind are used.
            max_waiting: bytes that may wait; further lines are dropped.
            linger: how long `close` waits for what is not written yet, seconds.
        """
        self._stream = stream
        try:
            self._descriptor = stream.fileno()
        except (OSError, ValueError):  # one of Python's own, which takes everything at once
            self._descriptor = -1
        self._encoding = stream.encoding or "utf-8"
        context = click.get_current_context(silent=True)
        self._styled = stream.isatty() and not (context is not None and context.color is False)
        self._max, self._linger = max_waiting, linger
        self.dropped = 0
        """Lines that were not written."""
        self._begin()

    def _begin(self) -> None:
        """Starts empty in this process: a forked one has no thread, and what waits is its parent's to write."""
        self._pid = os.getpid()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._unsaid = 0
        """Lines dropped since one went out."""
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def writes_to(self, stream: TextIO) -> bool:
        """Whether this is the stream, and it still takes lines."""
        return stream is self._stream and not self._closing

    def line(self, text: str) -> None:
        """Writes a line as soon as it is taken, or counts it."""
        shown = text if self._styled else click.unstyle(text)
        if self._descriptor < 0:
            self._stream.write(f"{shown}\n")
            return
        content = f"{shown}\n".encode(self._encoding, "backslashreplace")
        if os.getpid() != self._pid:
            self._begin()
        with self._changed:
            if self._size + len(content) > self._max and self._waiting:
                self.dropped += 1
                self._unsaid += 1
                return
            if self._unsaid:
                content = f"... {self._unsaid:,} lines before this one were not written\n".encode() + content
                self._unsaid = 0
            self._waiting.append(content)
            self._size += len(content)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="atmost-output", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """Waits a little for what is not written yet, and ends."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None and os.getpid() == self._pid:
            self._thread.join(self._linger)

    def _run(self) -> None:
        while (content := self._next()) is not None:
            while content:
                try:
                    content = content[os.write(self._descriptor, content) :]
                except BlockingIOError:
                    self._pause()
                except OSError:  # broken, or full: this line is lost, and the next one may find it mended
                    with self._changed:
                        self.dropped += 1
                        self._unsaid += 1
                    self._pause()
                    break

    def _next(self) -> bytes | None:
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return None
                self._changed.wait()
            content = self._waiting.popleft()
            self._size -= len(content)
            return content

    def _pause(self) -> None:
        with self._changed:
            if not self._closing:
                self._changed.wait(_PAUSE)


def tell(text: str) -> None:
    """Writes a line to standard error, or drops it: a full disk, or a pipe that nobody reads, ends no command and holds none up."""
    global _told  # noqa: PLW0603  one for the process, as its stream is
    if _told is None or not _told.writes_to(sys.stderr):
        _told = BoundedOutput(sys.stderr)
    _told.line(text)


def tell_the_rest() -> None:
    """Waits a little for what was told and is not written yet; before the process ends."""
    if _told is not None:
        _told.close()


class TellingHandler(logging.Handler):
    """Logs to standard error by `tell`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        tell(self.format(record))
