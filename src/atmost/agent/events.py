"""Decides what a follower of log files tells its operator, and how often: each trouble once, everything counted.

Facts only: no I/O, no clock. See `atmost.agent.follow` for when each happens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from atmost.agent.lines import Line


class FollowEventKind(StrEnum):
    """What happened to the followed path, or to the stream of its lines."""

    WAITING = "waiting"
    """Nothing is at the path; it will be read from its start when it appears. Once per episode."""
    UNREADABLE = "unreadable"
    """Something is at the path that cannot be read; `detail` says why. Once per episode."""
    FOUND = "found"
    """A file is readable at the path (again), after WAITING or UNREADABLE."""
    ROTATED = "rotated"
    """The lines that follow come from another file; the one before was read to its end."""
    TRUNCATED = "truncated"
    """The file was cut or rewritten in place; the lines that follow come from its start."""
    MISSED = "missed"
    """A whole generation of the file came and went between two polls; `detail` names what is left of it."""
    LEFT_UNREAD = "left_unread"
    """A file was given up before its end; `lost_bytes` says how much was left."""
    RELEASED = "released"
    """A deleted file, silent since, is no longer held open."""


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
class FollowStatistics:
    """What one follower counted since it was made."""

    lines_total: int
    """Lines returned."""
    bytes_total: int
    """Bytes read."""
    truncated_lines_total: int
    """Lines returned with their head only."""
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

    def take(self) -> list[Line | FollowEvent]:
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
            source: Where the trouble was met, for two places can have one each.
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
        """Return whether the trouble met there lasts."""
        return source in self._troubles

    def read(self, size: int) -> None:
        """Count bytes read."""
        self._counts["bytes"] += size

    def statistics(self) -> FollowStatistics:
        """Return what was counted so far."""
        return FollowStatistics(
            lines_total=self._counts["lines"],
            bytes_total=self._counts["bytes"],
            truncated_lines_total=self._counts["truncated"],
            incomplete_lines_total=self._counts["incomplete"],
            lost_bytes_total=self._counts["lost"],
            events_total=dict(self._events),
        )
