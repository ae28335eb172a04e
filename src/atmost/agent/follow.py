"""Follows a log file through rotation, truncation and deletion, like `tail -F`.

Promise: every line of the followed path is returned once, in order, whole, in bounded memory. Data that could not be read
is reported in its place, as an event. Nothing is logged, printed, raised or waited for: `poll(now)` does a bounded
amount of work and returns. One follower serves one thread at a time.

What it goes through:

* Rotation by rename and create. The old file is read to its end first. It is read on while the new one is still empty, because
  the writer has then not reopened its log, and for `settle` seconds after that, because some writers reopen late.
* Copy and truncate, recognised by a shorter file or by other bytes before the position. Reading resumes at the start.
* Deletion. The file is held and read while another process may still write it. It is closed `release_after` seconds after its
  last sign of life, so that its disk space is freed.
* A symbolic link at the path is followed within its directory; out of it only with `follow_links`.
* A file that is absent, a directory, forbidden or unreadable: reported once, tried again at every poll.

Known limits:

* Lines written between the copy and the truncation are lost by the rotation itself. `lost_bytes` counts bytes that were
  seen but not yet read, never those that appeared and vanished between two polls.
* A file cut and regrown beyond the position, with the same 64 bytes before it, looks as if it had only grown.
* Two rotations between two polls: the file in the middle was never held. It is reported (`MISSED`) when it left
  evidence: a younger uncompressed sibling named with a number or date. A file also deleted in between leaves none,
  and neither does one that came and went while no file was held at all.
* Lines that a process writes to the old file more than `settle` seconds after the new one has data are not read.
* A followed file put back under its name after another took its place is read again from its start.
* Without inode numbers (some Windows file systems) a replacement is noticed by creation time or a shorter file only.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from atmost.agent import files
from atmost.agent.lines import MAX_LINE_BYTES, Line, LineSplitter


class FollowEventKind(StrEnum):
    """What happened to the followed path, or to the stream of its lines."""

    WAITING = "waiting"
    """Nothing is at the path; it will be read from its start when it appears. Once per episode."""
    UNREADABLE = "unreadable"
    """The path exists but cannot be read; `detail` says why. Once per episode."""
    FOUND = "found"
    """A file is readable at the path (again), after WAITING or UNREADABLE."""
    ROTATED = "rotated"
    """The lines that follow come from another file; the one before was read to its end."""
    TRUNCATED = "truncated"
    """The file was cut or rewritten in place; the lines that follow come from its start."""
    MISSED = "missed"
    """A whole generation of the file came and went between two polls; `detail` names the files left of it."""
    LEFT_UNREAD = "left_unread"
    """A file was given up before its end; `lost_bytes` says how much was left."""
    RELEASED = "released"
    """A deleted file that stayed silent was closed."""


@dataclass(frozen=True, slots=True)
class FollowEvent:
    """A fact about the followed path, for the operator."""

    kind: FollowEventKind
    path: str
    """The followed path, absolute."""
    detail: str = ""
    """The reason, or names of files; for people."""
    lost_bytes: int = 0
    """Bytes known to have been written and never read."""


@dataclass(frozen=True, slots=True)
class FollowStats:
    """What one follower counted since it was made."""

    lines_total: int
    """Lines returned."""
    bytes_total: int
    """Bytes read."""
    truncated_lines_total: int
    """Lines of which only the head was returned."""
    incomplete_lines_total: int
    """Lines returned without their line ending having been seen."""
    lost_bytes_total: int
    """Bytes known to have been written and never read."""
    events_total: Mapping[str, int]
    """Events by kind."""


class Findings:
    """What one follower found and has not handed over yet, in order, and its counters.

    Args:
        path: The followed path, for the events.
    """

    __slots__ = ("_counts", "_events", "_found", "_path", "_troubles")

    def __init__(self, path: str) -> None:
        self._path = path
        self._found: list[Line | FollowEvent] = []
        self._troubles: dict[str, FollowEvent] = {}
        self._counts: Counter[str] = Counter()
        self._events: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many lines and events wait to be taken."""
        return len(self._found)

    def drain(self) -> list[Line | FollowEvent]:
        """Return everything found since it was last called."""
        found, self._found = self._found, []
        return found

    def line(self, line: Line | None) -> None:
        """Add a line, when there is one."""
        if line is not None:
            self._counts["lines"] += 1
            self._counts["truncated"] += line.truncated
            self._counts["incomplete"] += not line.complete
            self._found.append(line)

    def event(self, kind: FollowEventKind, detail: str = "", lost_bytes: int = 0) -> None:
        """Add an event."""
        self._events[kind.value] += 1
        self._counts["lost"] += lost_bytes
        self._found.append(FollowEvent(kind, self._path, detail, lost_bytes))

    def trouble(self, source: str, kind: FollowEventKind, detail: str = "") -> None:
        """Add an event when this trouble begins or changes, not while it lasts.

        Args:
            source: Where the trouble was met, because two places can have one each.
            kind: What it is.
            detail: Why, for people.
        """
        trouble = FollowEvent(kind, self._path, detail)
        if trouble not in self._troubles.values():
            self.event(kind, detail)
        self._troubles[source] = trouble

    def no_trouble(self, source: str) -> None:
        """Add FOUND when this ends the last trouble."""
        if self._troubles.pop(source, None) is not None and not self._troubles:
            self.event(FollowEventKind.FOUND)

    def has_trouble(self, source: str) -> bool:
        """Return whether the trouble met there still lasts."""
        return source in self._troubles

    def read(self, size: int) -> None:
        """Count bytes read."""
        self._counts["bytes"] += size

    def stats(self) -> FollowStats:
        """Return what was counted so far."""
        return FollowStats(
            lines_total=self._counts["lines"],
            bytes_total=self._counts["bytes"],
            truncated_lines_total=self._counts["truncated"],
            incomplete_lines_total=self._counts["incomplete"],
            lost_bytes_total=self._counts["lost"],
            events_total=dict(self._events),
        )


MAX_LINES_PER_POLL = 1000
"""At five polls a second, 5,000 lines a second; a backlog cannot hold up the agent's loop."""

MAX_BYTES_PER_POLL = 1024 * 1024
"""Bytes read in one poll, of one file."""

CHUNK_BYTES = 64 * 1024
"""Bytes asked for in one read."""


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """How one file is followed."""

    from_start: bool = False
    """Whether the file that exists at the start is read from its start; False begins at its end."""
    max_line_bytes: int = MAX_LINE_BYTES
    """Bytes kept of a line; longer lines keep their head. Bounds memory, beside two chunks of 64 KiB."""
    partial_after: float | None = None
    """Seconds without growth after which a line without ending is returned as it is; None waits for its ending.

    A bound shows the last words of a process that died in mid-line, but splits lines of programs that write whole
    buffers.
    """
    settle: float = 1.0
    """Seconds the old file is still read after the new one has data, for writers that reopen late.

    The lines of the new file are delayed by as much.
    """
    release_after: float = 60.0
    """Seconds after which a deleted file that stays silent is closed."""
    follow_links: bool = False
    """Whether a symbolic link at the path may lead out of its directory.

    Off, because a program that may write the directory must not choose what the agent reads with its own rights.
    """
    max_held_files: int = 8
    """Generations held open while older ones are read; beyond this number the oldest is given up (LEFT_UNREAD)."""

    def __post_init__(self) -> None:
        """Refuse bounds that could not work."""
        if self.max_line_bytes < 1 or self.max_held_files <= 1:
            raise ValueError("max_line_bytes must be at least 1, and max_held_files at least 2")
        if min(self.settle, self.release_after, self.partial_after or 0.0) < 0:
            raise ValueError("settle, release_after and partial_after are seconds, and cannot be negative")


class Follower:
    """Follows one log file; see the module for what it promises.

    A file that exists now is read from its end (or start, by option), one that appears later from its start.

    Args:
        path: The file; it need not exist.
        options: Bounds and delays.
    """

    def __init__(self, path: str | os.PathLike[str], options: FollowOptions | None = None) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self.options = options or FollowOptions()
        self._splitter = LineSplitter(self.options.max_line_bytes)
        self._held: list[_Generation] = []
        self._found = Findings(self.path)
        self._closed = False
        self._grew_at: float | None = None
        self._existed: tuple[files.Identity, int] | None = None
        if not self.options.from_start:
            with suppress(
                OSError
            ):  # A file that appears later is read from its start; `_look` reports why none is there.
                status = os.stat(self.path)
                self._existed = files.identity_of(status), status.st_size
        self._look()

    def poll(
        self, now: float, *, max_lines: int = MAX_LINES_PER_POLL, max_bytes: int = MAX_BYTES_PER_POLL
    ) -> list[Line | FollowEvent]:
        """Return the lines written and the events since the last poll, in order; never waits.

        Args:
            now: Monotonic time in seconds.
            max_lines: The most lines to return; the rest comes at the next polls.
            max_bytes: The most to read, in bytes.

        Returns:
            Lines and events; empty when nothing happened, or after `close()`.
        """
        if self._closed:
            return []
        end = len(self._found) + max_lines
        self._grew_at = now if self._grew_at is None else self._grew_at
        self._look()
        self._mark_superseded(now)
        if self._read(now, self.options.settle, end, max_bytes):
            self._age(now)
        return self._found.drain()

    def flush(self) -> list[Line | FollowEvent]:
        """Return what was read and not returned yet, an unfinished line as it is; reads nothing."""
        while (line := self._splitter.next_line()) is not None:
            self._found.line(line)
        self._found.line(self._splitter.flush())
        return self._found.drain()

    def close(self, *, max_bytes: int = MAX_BYTES_PER_POLL) -> list[Line | FollowEvent]:
        """Read what is left up to a bound, return it with an unfinished line as it is, and close all files.

        Args:
            max_bytes: The most to read, in bytes; the rest is reported as LEFT_UNREAD.
        """
        if self._closed:
            return []
        self._closed = True
        self._look()
        self._mark_superseded(0.0)
        self._read(0.0, float("-inf"), sys.maxsize, max_bytes)
        self._found.line(self._splitter.flush())
        lost = sum(max(0, generation.file.size() - generation.file.offset) for generation in self._held)
        if lost:
            self._found.event(FollowEventKind.LEFT_UNREAD, "closed before the end", lost)
        for generation in self._held:
            generation.file.close()
        self._held.clear()
        return self._found.drain()

    def stats(self) -> FollowStats:
        """Return what was counted so far."""
        return self._found.stats()

    def _look(self) -> None:
        """See what is at the path now, and hold it when it is a new file."""
        try:
            status = os.stat(files.locate(self.path, anywhere=self.options.follow_links))
            files.check_regular(status)
            if self._is_new(status):
                self._adopt()
            elif self._found.has_trouble("reading"):
                self._held[0].file.reopen(self.path, anywhere=self.options.follow_links)
        except FileNotFoundError:
            self._existed = None
            self._found.trouble("path", FollowEventKind.WAITING)
        except OSError as error:
            self._found.trouble("path", FollowEventKind.UNREADABLE, _reason(error))
        else:
            self._found.no_trouble("path")

    def _is_new(self, status: os.stat_result) -> bool:
        """Return whether the file at the path is not among those held."""
        identity = files.identity_of(status)
        if all(generation.file.identity != identity for generation in self._held):
            return True
        if identity[1] != 0:
            return False
        # No inode number: shorter at the path than what we hold means that they are two files, not one that was cut.
        newest = self._held[-1].file
        return status.st_size < newest.offset <= newest.size()

    def _adopt(self) -> None:
        """Hold the file at the path, to be read after those held."""
        file = files.OpenFile(self.path, anywhere=self.options.follow_links)
        if self._existed is not None and self._existed[0] == file.identity:
            try:
                file.start_near(self._existed[1], self.options.max_line_bytes)
            except OSError:
                file.close()
                raise
        self._existed = None
        generation = _Generation(file)
        if self._held:
            known = {older.file.identity for older in self._held} | {file.identity}
            generation.missed = files.written_since(self.path, self._held[-1].file.modified_ns(), known)
            if len(self._held) >= self.options.max_held_files:
                self._give_up("too many files rotated away while older ones were read")
        self._held.append(generation)

    def _mark_superseded(self, now: float) -> None:
        """Note for each file held since when it has a successor with data, seen or missed: its writer has then moved on."""
        written = False
        for generation in reversed(self._held):
            if written and generation.superseded_at is None:
                generation.superseded_at = now
            written = written or bool(generation.missed) or generation.file.size() > 0

    def _read(self, now: float, settle: float, end: int, max_bytes: int) -> bool:
        """Read the files held, oldest first, up to `end` findings or `max_bytes`; return whether nothing is left."""
        while True:
            while len(self._found) < end and (line := self._splitter.next_line()) is not None:
                self._found.line(line)
            if len(self._found) >= end or max_bytes <= 0 or not self._held:
                return False
            head = self._held[0]
            position = head.file.offset
            # Decided before reading: an end of file seen after the writer has moved on is final.
            final = head.superseded_at is not None and now - head.superseded_at >= settle
            try:
                chunk = head.file.read(min(CHUNK_BYTES, max_bytes))
            except OSError as error:
                if len(self._held) > 1:
                    self._give_up(_reason(error))
                    continue
                self._found.trouble("reading", FollowEventKind.UNREADABLE, _reason(error))
                return False
            self._found.no_trouble("reading")
            if chunk is None:
                self._found.line(self._splitter.flush())
                self._splitter.restart(skip_leading_nul=True)
                self._found.event(FollowEventKind.TRUNCATED, "", max(0, head.file.seen_size - position))
            elif chunk:
                self._found.read(len(chunk))
                max_bytes -= len(chunk)
                self._grew_at = now
                self._splitter.feed(chunk, head.file.offset - len(chunk))
            elif final:
                self._leave()
            else:
                return True

    def _age(self, now: float) -> None:
        """Stop waiting for overdue line endings and files, once all data has been read."""
        head = self._held[0]
        quiet_since = now if self._grew_at is None else self._grew_at
        after = self.options.partial_after
        if after is not None and now - quiet_since >= after:
            self._found.line(self._splitter.flush())
        if head.file.deleted():
            head.deleted_at = now if head.deleted_at is None else head.deleted_at
            if now - max(head.deleted_at, quiet_since) >= self.options.release_after:
                self._leave()

    def _give_up(self, reason: str) -> None:
        """Leave the oldest file before its end."""
        file = self._held[0].file
        lost = max(0, file.size() - file.offset) + self._splitter.waiting_bytes
        self._leave(reason, lost)

    def _leave(self, reason: str = "", lost: int = 0) -> None:
        """Close the oldest file and turn to the next."""
        self._found.line(self._splitter.flush())
        self._splitter.restart()
        if reason:
            self._found.event(FollowEventKind.LEFT_UNREAD, reason, lost)
        self._held.pop(0).file.close()
        if not self._held:
            self._found.event(FollowEventKind.RELEASED)
            return
        if self._held[0].missed:
            self._found.event(FollowEventKind.MISSED, ", ".join(self._held[0].missed))
        self._found.event(FollowEventKind.ROTATED)


@dataclass(slots=True)
class _Generation:
    """One file that was at the path, held until it is read."""

    file: files.OpenFile
    missed: list[str] = field(default_factory=list)
    superseded_at: float | None = None
    deleted_at: float | None = None


def _reason(error: OSError) -> str:
    """Return what the system says about an error, without the path."""
    return error.strerror or str(error)
