"""The anti-replay window of one session: RFC 6479's question, answered from the numbers *not* yet seen.

Bit i of `unseen` is set while number `highest - i` has not arrived.
Kept this way round the usual state (nothing unseen) is the integer 0, and moving on by one costs nothing.
The zero value is not ready by itself: a window begins with the first number accepted.
"""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """What the window says of a number."""

    NEW = "new"
    DUPLICATE = "duplicate"
    STALE = "stale"


class ReplayWindow:
    """Numbers seen among the last `width`; bounded at `width` bits whatever arrives.

    Call `judge` first and `mark` only for a number judged `NEW`: between the two the tag is checked.
    """

    __slots__ = ("highest", "unseen", "width")

    def __init__(self, first: int, width: int) -> None:
        """Args: first: the first number accepted. width: numbers remembered, at least 1."""
        self.highest = first
        self.width = width
        # Numbers below the first have not been seen: a late one is still new.
        self.unseen = ((1 << min(first, width - 1)) - 1) << 1

    def copy(self) -> ReplayWindow:
        """Another window that has seen the same numbers."""
        other = type(self)(self.highest, 1)
        other.width, other.unseen = self.width, self.unseen
        return other

    def judge(self, number: int) -> Verdict:
        """Says whether `number` is new, a duplicate, or too far behind to tell."""
        behind = self.highest - number
        if behind < 0:
            return Verdict.NEW
        if behind >= self.width:  # R11.4, and R13: before any shift by a distance from the wire
            return Verdict.STALE
        return Verdict.NEW if self.unseen >> behind & 1 else Verdict.DUPLICATE

    def mark(self, number: int) -> None:
        """Remembers that `number`, judged `NEW`, was accepted."""
        ahead = number - self.highest
        if ahead <= 0:
            self.unseen &= ~(1 << -ahead)
            return
        self.highest = number
        if ahead == 1:
            if self.unseen:
                self.unseen = self.unseen << 1 & (1 << self.width) - 1
        elif ahead >= self.width:  # R13: nothing of the old window is left
            self.unseen = (1 << self.width) - 2
        else:
            skipped = (1 << ahead) - 2
            self.unseen = (self.unseen << ahead | skipped) & (1 << self.width) - 1
