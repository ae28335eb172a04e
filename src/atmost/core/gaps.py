"""The gaps of one session: which numbers are missing, how many messages they held, and since when (R19).

A gap is noticed at the first higher number, is pending for a grace, then lost; until it leaves the window a late datagram may fill it.
`prior` on both sides of a gap gives its messages exactly, although nobody knows how they were spread over its datagrams.
The sum of all room, forgotten gaps included, is the session's `missing`: a late datagram is accepted only where it fits (R11.7).
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from atmost.core.limits import MAX_GAPS

_FIRST = attrgetter("first")


class Gap:
    """Missing datagrams `first`…`last`, which held the session's messages `start`…`end - 1`."""

    __slots__ = ("end", "first", "last", "lost", "noticed", "room", "start")

    def __init__(self, first: int, last: int, start: int, end: int, noticed: float) -> None:
        """Args: first, last: datagram numbers. start, end: message numbers. noticed: monotonic, seconds."""
        self.first = first
        self.last = last
        self.start = start
        self.end = end
        self.room = end - start
        self.noticed = noticed
        self.lost = False


class Gaps:
    """The gaps of one session, oldest first; at most `MAX_GAPS`."""

    __slots__ = ("_gaps",)

    def __init__(self) -> None:
        """Begins without a gap."""
        self._gaps: list[Gap] = []

    def __len__(self) -> int:
        """Gaps remembered."""
        return len(self._gaps)

    def add(self, gap: Gap) -> None:
        """Remembers a gap; it may lie below the others when a late datagram extends the session downwards."""
        if not self._gaps or gap.first > self._gaps[-1].first:
            self._gaps.append(gap)
        else:
            self._gaps.insert(bisect_right(self._gaps, gap.first, key=_FIRST), gap)

    def find(self, sequence: int) -> Gap | None:
        """The gap that datagram `sequence` belongs to."""
        position = bisect_right(self._gaps, sequence, key=_FIRST) - 1
        if position < 0:
            return None
        gap = self._gaps[position]
        return gap if sequence <= gap.last else None

    def fits(self, sequence: int, prior: int, count: int) -> bool:
        """Whether a late datagram's messages fit the gap it claims to come from; outside every gap only none do."""
        gap = self.find(sequence)
        if gap is None:
            return count == 0
        return gap.start <= prior and prior + count <= gap.end and count <= gap.room

    def fill(self, sequence: int, count: int) -> bool:
        """Takes `count` messages out of the gap of `sequence`; True when they had been booked as lost."""
        gap = self.find(sequence)
        if gap is None:
            return False
        gap.room -= count
        return gap.lost

    def settle(self, now: float, grace: float) -> list[Gap]:
        """Declares lost what was noticed a grace ago or longer (monotonic, seconds) and returns those gaps."""
        settled = [gap for gap in self._gaps if not gap.lost and gap.noticed + grace <= now]
        for gap in settled:
            gap.lost = True
        return settled

    def forget_below(self, lowest: int) -> list[Gap]:
        """Drops gaps that left the window entirely, below `lowest`; returns those that were still pending."""
        leaving = 0
        while leaving < len(self._gaps) and self._gaps[leaving].last < lowest:
            leaving += 1
        gone = self._gaps[:leaving]
        del self._gaps[:leaving]
        return [gap for gap in gone if not gap.lost]

    def join_oldest(self) -> Gap | None:
        """Joins the oldest two into one, which keeps the sum of room; returns a gap that became lost by it.

        The joined gap is due when the first of the two is; where one is lost already the other is lost now.
        That may be the older one: a late datagram below the join point leaves a gap noticed after those above it.
        """
        older, newer = self._gaps[:2]
        early = None if older.lost == newer.lost else newer if older.lost else older
        joined = Gap(older.first, newer.last, older.start, newer.end, min(older.noticed, newer.noticed))
        joined.room = older.room + newer.room
        joined.lost = older.lost or newer.lost
        self._gaps[:2] = [joined]
        if early is not None:
            early.lost = True
        return early

    def over_limit(self) -> bool:
        """Whether there are more than one session may keep."""
        return len(self._gaps) > MAX_GAPS

    def pending(self) -> bool:
        """Whether any gap is not yet declared lost."""
        return any(not gap.lost for gap in self._gaps)
