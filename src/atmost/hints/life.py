"""`Life`: what one reader knows of one life of an invalidator: its numbers, what of them is missing, and as of when.

Every number up to the highest is taken, or missing (and then due), or was given up: what is given up has made stale all
that it could have been about. So a hint that comes after that, or twice, needs nothing done.

Pure; time is an argument, seconds on the reader's clock. Not thread-safe.
"""

from __future__ import annotations

from typing import Final

from atmost.hints.wire import Kind, Mark

MISSES: Final = 2
"""Marks in a row that may be lost; a third makes blind."""
MAX_GAPS: Final = 1024
"""Gaps of one life that wait for their grace; beyond it the next is given up at once."""
_DRIFT: Final = 0.0005
"""How much two clocks may drift apart, seconds a second: what the kernel slews at most (adjtimex(2))."""


class Gap:
    """Numbers of one sequence that are missing."""

    __slots__ = ("due", "epoch", "first", "last", "sequence")

    def __init__(self, sequence: int, first: int, last: int, due: float, epoch: int) -> None:
        """Args: sequence: which. first, last: numbers. due: when it is given up. epoch: of the reader, when it was noticed."""
        self.sequence = sequence
        self.first = first
        self.last = last
        self.due = due
        self.epoch = epoch


class Life:
    """One life, known since its first mark."""

    __slots__ = (
        "as_of",
        "began",
        "closed",
        "gaps",
        "heard_at",
        "interval",
        "key_id",
        "left",
        "numbers",
        "offset",
        "origin",
        "session",
        "shards",
    )  # fmt: skip

    def __init__(self, mark: Mark, session: bytes, now: float) -> None:
        """The first mark is the baseline: what it shows is no gap.

        Args:
            mark: the first.
            session: the key of the session that carried it.
            now: seconds.
        """
        self.shards = len(mark.keys)
        self.interval = mark.interval
        self.origin = (mark.name, mark.host, session[:2])
        self.session = session
        self.numbers = [*mark.keys, *mark.tags, mark.prefixes]
        self.gaps: list[Gap] = []
        self.offset = now - mark.uptime
        self.heard_at = now
        self.began = self.offset
        """When it began."""
        self.as_of = now
        """When the latest mark was sent, or a little later: every hint given before is taken, missing or given up."""
        self.left = False
        """Its session said goodbye: its silence is no blindness, but what it said last may be lost."""
        self.closed = mark.closed
        """It said goodbye itself: its numbers are final."""

    def sequence(self, kind: Kind, shard: int) -> int | None:
        """The place of a hint's sequence, or None when there is no such shard."""
        if kind is Kind.PREFIX:
            return 2 * self.shards
        if shard >= self.shards:
            return None
        return shard if kind is Kind.KEY else self.shards + shard

    def deadline(self, grace: float) -> float:
        """When its silence becomes blindness, seconds: `MISSES` marks may be lost, and the next be late by a grace."""
        return self.as_of + (MISSES + 1) * self.interval + grace

    def take(self, sequence: int, number: int) -> bool:
        """Takes a hint's number; returns whether the hint is news."""
        highest = self.numbers[sequence]
        if number == highest + 1:
            self.numbers[sequence] = number
            return True
        if number > highest:
            raise AssertionError("reach the number before it is taken")
        for place, gap in enumerate(self.gaps):
            if gap.sequence == sequence and gap.first <= number <= gap.last:
                parts = (
                    Gap(sequence, gap.first, number - 1, gap.due, gap.epoch),
                    Gap(sequence, number + 1, gap.last, gap.due, gap.epoch),
                )
                self.gaps[place : place + 1] = [part for part in parts if part.first <= part.last]
                return True
        return False

    def reach(self, sequence: int, number: int, now: float, grace: float, epoch: int) -> Gap | None:
        """Learns that numbers up to `number` were given; returns the gap that this leaves.

        A gap waits for a grace, for reordering is no loss; but not beyond the deadline of the life's silence, for the
        hints in it may be as old as the last mark before them.

        Args:
            sequence: which.
            number: the highest given.
            now: seconds.
            grace: seconds.
            epoch: of the reader, for what was loaded from now on has seen what the missing hints are about.
        """
        highest = self.numbers[sequence]
        if number <= highest:
            return None
        self.numbers[sequence] = number
        due = min(now + grace, self.deadline(grace)) if len(self.gaps) < MAX_GAPS else now
        gap = Gap(sequence, highest + 1, number, due, epoch)
        self.gaps.append(gap)
        return gap

    def heard(self, mark: Mark, session: bytes, now: float) -> None:
        """Dates a mark whose numbers were reached.

        When it was sent is known by its uptime and the quickest mark of late, so that one which waited, on the way or
        for the reader itself, does not pass for news.
        """
        sample = now - mark.uptime
        self.offset = min(sample, self.offset + _DRIFT * max(0.0, now - self.heard_at))
        self.heard_at = now
        self.as_of = max(self.as_of, mark.uptime + self.offset)
        if session != self.session:  # the sender has begun another session, as with a new key
            self.session = session
            self.left = False
        self.closed = self.closed or mark.closed

    def give_up(self, now: float) -> list[Gap]:
        """Takes out the gaps that are due."""
        due = [gap for gap in self.gaps if gap.due <= now]
        if due:
            self.gaps = [gap for gap in self.gaps if gap.due > now]
        return due
