"""Decides where each line of a byte stream ends, in memory that stays bounded whatever the stream holds.

Bytes in, lines out: no file, no clock, no thread. One splitter serves one thread at a time.

The promise: every byte fed ends up in exactly one line, in order. A line longer than the bound keeps only its head; it is marked
`truncated`, and carries its whole length. The bytes beyond the head are counted and dropped as they arrive, so a stream without
a single newline takes no more memory than one with many.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

MAX_LINE_BYTES = 64 * 1024
"""Longest line kept whole, in bytes, unless told otherwise: the largest text one UDP datagram could ever carry."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a followed file."""

    text: str
    """The line without its ending (LF or CRLF), decoded as UTF-8.

    Bytes that are not UTF-8 become U+FFFD, so the text encodes to at most three times the bytes kept; NUL stays NUL.
    """
    offset: int
    """Where the line begins in its file, in bytes."""
    original_bytes: int
    """Length in the file in bytes, without the line ending; more than was kept when `truncated`."""
    truncated: bool = False
    """Whether only the head of the line was kept, because it was longer than the bound."""
    complete: bool = True
    """Whether its line ending was seen; False for an unfinished last line of a file that was rotated away, cut or closed."""


class LineSplitter:
    """Cuts chunks of bytes into lines, one at a time, so that the caller decides how many it takes.

    Feed a chunk, take lines until there is none, feed the next. It holds at most one chunk and one line's head.

    Args:
        max_line_bytes: Bytes of a line kept; a longer line is truncated to its head.
    """

    __slots__ = (
        "_at",
        "_chunk",
        "_chunk_offset",
        "_flushed",
        "_head",
        "_last",
        "_length",
        "_max",
        "_skip_nul",
        "_start",
    )

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self.restart()

    def restart(self, *, skip_leading_nul: bool = False) -> None:
        """Forget everything held: the next chunk is the beginning of another stream.

        Args:
            skip_leading_nul: Drop NUL bytes before the first other byte. They are the hole that a writer without O_APPEND leaves
                when its file is cut, because it goes on writing at its old position.
        """
        self._chunk = b""
        self._chunk_offset = 0
        self._at = 0
        self._head = bytearray()
        self._length = 0
        self._last = 0
        self._start = 0
        self._flushed = False
        self._skip_nul = skip_leading_nul

    @property
    def held_bytes(self) -> int:
        """Bytes held in memory: the chunk not yet consumed and the head of the line begun."""
        return len(self._chunk) + len(self._head)

    @property
    def waiting_bytes(self) -> int:
        """Bytes fed and not yet consumed by `next_line()`."""
        return len(self._chunk) - self._at

    @property
    def in_line(self) -> bool:
        """Whether a line was begun whose ending has not been seen."""
        return self._length > 0

    def feed(self, chunk: bytes, offset: int) -> None:
        """Hand over the next bytes; the previous chunk must have been consumed.

        Args:
            chunk: The bytes that follow those fed before.
            offset: Where the chunk begins in its file, in bytes.
        """
        assert self._at == len(self._chunk), "feed() before next_line() returned None"
        if self._skip_nul:
            stripped = chunk.lstrip(b"\0")
            offset += len(chunk) - len(stripped)
            chunk = stripped
            self._skip_nul = not chunk
        self._chunk = chunk
        self._chunk_offset = offset
        self._at = 0

    def next_line(self) -> Line | None:
        """Return the next whole line, or None when the chunk holds no further line ending."""
        while self._at < len(self._chunk):
            end = self._chunk.find(b"\n", self._at)
            self._take(end if end >= 0 else len(self._chunk))
            if end < 0:
                break
            self._at = end + 1
            line = self._finish(complete=True)
            self._flushed = False
            if line is not None:
                return line
        self._chunk = b""
        self._at = 0
        return None

    def flush(self) -> Line | None:
        """Return the line begun, without waiting for its ending; None when there is none.

        Bytes that follow later become a line of their own, except a line ending alone, which merely ends this one.
        """
        if not self.in_line:
            return None
        line = self._finish(complete=False)
        self._flushed = True
        return line

    def _take(self, end: int) -> None:
        """Add the chunk's bytes up to `end` to the line begun, keeping its head only."""
        if self._length == 0:
            self._start = self._chunk_offset + self._at
        if end > self._at:
            room = self._max - len(self._head)
            self._head += self._chunk[self._at : min(end, self._at + room)]
            self._length += end - self._at
            self._last = self._chunk[end - 1]
        self._at = end

    def _finish(self, *, complete: bool) -> Line | None:
        """Make the line held, and forget it; None when it only ends a line that was flushed before."""
        length = self._length - 1 if self._length and self._last == ord("\r") else self._length
        head = bytes(self._head[: min(length, self._max)])
        self._head = bytearray()
        self._length = 0
        if length == 0 and self._flushed:
            return None
        truncated = length > self._max
        # A character cut in two is our doing, not junk in the file: decoding that is not final leaves the piece out.
        text, _ = codecs.utf_8_decode(head, "replace", not truncated)
        return Line(text, self._start, length, truncated, complete)
