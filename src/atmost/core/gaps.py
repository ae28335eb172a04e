"""The gaps of one session: which numbers are missing, how many messages they held, and since when (R19).

A gap is noticed at the first higher number, is pending for a grace, then lost; until it leaves the window a late datagram may fill it.
`prior` on both sides of a gap gives its messages exactly, although nobody knows how they were spread over its datagrams.
The sum of all room, forgotten gaps included, is the session's `missing`: a late datagram is accepted only where it fits (R11.7).

A `Gap` never changes, so that a copy of `Gaps` costs no more than its list: the booking works on a copy and replaces the original at once.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from operator import attrgetter

from atmost.core.limits import MAX_COUNT, MAX_GAPS

_FIRST = attrgetter("first")


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing datagrams `first`…`last`, which held the session's messages `start`…`end - 1`."""

    first: int
    """Datagram number."""
    last: int
    """Datagram number."""
    start: int
    """Message number."""
    end: int
    """Message number after the last."""
    noticed: float
    """Monotonic, seconds."""
    room: int
    """Messages that have not arrived."""
    lost: bool = False
    """Whether they are booked as lost."""


def crowded(messages: int, datagrams: int) -> bool:
    """Whether so many messages cannot have been in so many datagrams, or their number is negative (R11.7).

    What no sender can have numbered is refused, so that a forged datagram can invent only as many messages as its distance allows.
    """
    return not 0 <= messages <= MAX_COUNT * datagrams


class Gaps:
    """The gaps of one session, oldest first; at most `MAX_GAPS`."""

    __slots__ = ("_gaps",)

    def __init__(self) -> None:
        """Begins without a gap."""
        self._gaps: list[Gap] = []

    def __len__(self) -> int:
        return len(self._gaps)

    def remember(self, gap: Gap) -> None:
        """Remembers a gap; it may lie below the others when a late datagram extends the session downwards."""
        if not self._gaps or gap.first > self._gaps[-1].first:
            self._gaps.append(gap)
        else:
            self._gaps.insert(bisect_right(self._gaps, gap.first, key=_FIRST), gap)

    def copy(self) -> Gaps:
        """Another list of the same gaps."""
        other = Gaps()
        other._gaps = self._gaps.copy()
        return other

    def lowest(self) -> Gap:
        """The oldest of at least one."""
        return self._gaps[0]

    def find(self, sequence: int) -> Gap | None:
        """The gap that datagram `sequence` belongs to."""
        position = self._position(sequence)
        return None if position is None else self._gaps[position]

    def fits(self, sequence: int, prior: int, count: int) -> bool:
        """Whether a late datagram's messages fit the gap it claims to come from; outside every gap only none do.

        They must leave enough for the other datagrams of the gap, and not more than those can hold.
        """
        gap = self.find(sequence)
        if gap is None:
            return count == 0
        if count > gap.room or crowded(prior - gap.start, sequence - gap.first):
            return False
        return not crowded(gap.end - prior - count, gap.last - sequence)

    def fill(self, sequence: int, count: int) -> bool:
        """Subtracts `count` messages from the gap of `sequence`; True when they had been booked as lost."""
        position = self._position(sequence)
        if position is None:
            return False
        gap = self._gaps[position]
        self._gaps[position] = replace(gap, room=gap.room - count)
        return gap.lost

    def settle(self, now: float, grace: float) -> list[Gap]:
        """Declares lost what was noticed a grace ago or longer (monotonic, seconds) and returns those gaps."""
        settled = []
        for position, gap in enumerate(self._gaps):
            if not gap.lost and gap.noticed + grace <= now:
                self._gaps[position] = replace(gap, lost=True)
                settled.append(gap)
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
        noticed, room = min(older.noticed, newer.noticed), older.room + newer.room
        lost = older.lost or newer.lost
        self._gaps[:2] = [Gap(older.first, newer.last, older.start, newer.end, noticed, room, lost)]
        return early

    def over_limit(self) -> bool:
        """Whether there are more than one session may keep."""
        return len(self._gaps) > MAX_GAPS

    def pending(self) -> bool:
        """Whether any gap is not yet declared lost."""
        return any(not gap.lost for gap in self._gaps)

    def _position(self, sequence: int) -> int | None:
        """Where the gap stands that datagram `sequence` belongs to."""
        position = bisect_right(self._gaps, sequence, key=_FIRST) - 1
        return position if position >= 0 and sequence <= self._gaps[position].last else None
