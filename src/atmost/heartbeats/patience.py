"""How long a silence means what, for one sender: from its interval, its measured loss, and how often we may be wrong.

Of beats a second a share p is lost, and after a lost one the next with probability c: about 86,400 p cᵏ⁻¹ times a day k
in a row. For at most `target` false alarms a day, k = 1 + ln(target · T / 86,400 p) / ln(c), at least 3, and more than the
longest run seen so far; where losses are independent c is p, and k = ln(target · T / 86,400) / ln(p). Half an interval is
added for beats that are under way.

Pure functions, safe from any thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

TARGET: Final = 0.01
"""False alarms a sender-day."""
LEAST: Final = 3
"""Missed beats, at least; silence of so many intervals is suspect."""
CAP: Final = 10
"""Missed beats, at most; the verdict is `unknown` until twice this where it would take more to meet the target."""
SLACK: Final = 0.5
"""Intervals a beat may be under way."""
_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class HeartbeatPatience:
    """What a silence means, in seconds since the last sign of life."""

    late: float
    suspect: float
    lossy: float
    """From here to `down` nothing can be said, because this much loss hides deaths; the same as `down` where it does not."""
    down: float
    misses: int
    """Beats in a row that must be missed before `lossy`, and before `down` where the two are the same."""


def misses_needed(
    interval: float, loss: float, burst: int, target: float = TARGET, continuation: float | None = None
) -> int:
    """k: beats in a row whose absence means more than loss; not capped.

    Args:
        interval: seconds.
        loss: share of beats lost, 0 to 1.
        burst: the longest run of lost beats so far.
        target: false alarms a sender-day.
        continuation: share of lost beats after which the next is lost too; None where losses are independent.
    """
    if loss <= 0.0:
        return max(LEAST, burst + 1)
    again = loss if continuation is None else continuation
    rare = math.log(min(0.5, target * interval / _DAY)) - math.log(loss)
    # Near 1 no number is enough; the logarithm is 0 there.
    needed = 1 + math.ceil(min(1e6, rare / min(-1e-9, math.log(again))) - 1e-9)
    return max(LEAST, burst + 1, needed)


def patience(
    interval: float,
    loss: float,
    burst: int,
    *,
    continuation: float | None = None,
    target: float = TARGET,
    cap: int = CAP,
    timeout: float | None = None,
) -> HeartbeatPatience:
    """What silences mean for a sender.

    Args:
        interval: seconds between its beats.
        loss: share of its beats lost, 0 to 1.
        burst: its longest run of lost beats so far.
        continuation: share of its lost beats after which the next is lost too; None where losses are independent.
        target: false alarms a sender-day.
        cap: missed beats, at most.
        timeout: seconds that mean `down` whatever is lost; None to follow the loss.
    """
    late, suspect = (1 + SLACK) * interval, LEAST * interval
    if timeout is not None:
        return HeartbeatPatience(
            min(late, timeout),
            min(suspect, timeout),
            timeout,
            timeout,
            max(1, int(min(1e9, timeout / interval - SLACK))),
        )
    needed = misses_needed(interval, loss, burst, target, continuation)
    misses = min(cap, needed)
    lossy = (misses + SLACK) * interval
    down = lossy if needed <= cap else (2 * cap + SLACK) * interval
    return HeartbeatPatience(late, suspect, lossy, down, misses)


LONG: Final = 16_384
"""Beats in each half of the long memory: 4½ to 9 hours at one a second."""
RECENT: Final = 64
"""Beats in each half of the recent memory."""
_SAFE: Final = 1.0
"""Standard deviations above the long memory's figure."""
_SURE: Final = 2.0
"""Standard deviations below the recent memory's figure that must still be above the long one's."""
_INDEPENDENT: Final = 2.0
"""Lost beats' worth of belief that losses are independent, until this sender's own show that they come in bursts."""


class Span:
    """A memory of the last `size` to 2 × `size` beats, in two halves."""

    __slots__ = (
        "_burst",
        "_burst_before",
        "_lost",
        "_lost_before",
        "_runs",
        "_runs_before",
        "_seen",
        "_seen_before",
        "_size",
    )

    def __init__(self, size: int) -> None:
        """Args: size: beats in each half."""
        self._size = size
        self._seen = self._lost = self._burst = self._runs = 0
        self._seen_before = self._lost_before = self._burst_before = self._runs_before = 0

    @property
    def seen(self) -> int:
        """Beats, lost ones included."""
        return self._seen + self._seen_before

    @property
    def lost(self) -> int:
        """Those of them that were lost."""
        return self._lost + self._lost_before

    @property
    def burst(self) -> int:
        """The longest run of lost beats."""
        return max(self._burst, self._burst_before)

    @property
    def continued(self) -> int:
        """Lost beats that followed a lost one."""
        return max(0, self.lost - self._runs - self._runs_before)

    def record(self, received: int, lost: int, burst: int) -> None:
        """Records lost beats, at most `burst` of them in a row, and those received after them."""
        self._seen += lost
        self._lost += lost
        self._runs += -(-lost // burst) if lost else 0
        self._burst = max(self._burst, burst)
        while received >= (room := max(0, self._size - self._seen)):
            received -= room
            self._seen_before, self._lost_before = self._seen + room, self._lost
            self._burst_before, self._runs_before = self._burst, self._runs
            self._seen = self._lost = self._burst = self._runs = 0
        self._seen += received

    def found_one(self) -> None:
        """Takes one beat off again: it had been called lost, and came after all."""
        if self._lost:
            self._lost -= 1
        elif self._lost_before:
            self._lost_before -= 1

    def bound(self, deviations: float) -> float:
        """The Wilson bound of the share lost: above it by so many standard deviations, below it when negative."""
        seen, lost = self.seen, self.lost
        square = deviations * deviations
        spread = math.sqrt(max(0.0, lost - lost * lost / seen) + square / 4) if seen else abs(deviations) / 2
        return min(1.0, max(0.0, (lost + square / 2 + deviations * spread) / (seen + square)))


class LossMeter:
    """How much of one sender's beats is lost, from the numbers of those that came. Not thread-safe.

    Two memories: a long one for a precise figure, and a recent one, which takes over when things got worse.
    Figures err to the safe side: of few beats the upper end of what they allow is taken (E. B. Wilson, *Probable
    inference, the law of succession, and statistical inference*, JASA 22, 1927), so that a newcomer gets more patience,
    not less.
    """

    __slots__ = ("_long", "_recent")

    def __init__(self) -> None:
        self._long = Span(LONG)
        self._recent = Span(RECENT)

    @property
    def burst(self) -> int:
        """The longest run of lost beats that is remembered."""
        return self._long.burst

    def record(self, received: int, lost: int, burst: int) -> None:
        """Records lost beats, at most `burst` of them in a row, and those received after them."""
        self._long.record(received, lost, burst)
        self._recent.record(received, lost, burst)

    def found_one(self) -> None:
        """Takes one beat off again: it had been called lost, and came after all."""
        self._long.found_one()
        self._recent.found_one()

    def share(self) -> float | None:
        """The share lost as it was measured, 0 to 1; None before the first beat."""
        return self._long.lost / self._long.seen if self._long.seen else None

    def figure(self) -> float:
        """The loss to reckon with, 0 to 1; 1 while nothing was measured."""
        figure = self._long.bound(_SAFE)
        recent = self._recent
        if recent.lost and recent.bound(-_SURE) > figure:
            return recent.lost / recent.seen
        return figure

    def continuation(self) -> float:
        """The share of lost beats after which the next is lost too, 0 to 1: the loss itself where losses are independent.

        E. N. Gilbert's channel (Capacity of a burst-noise channel, 1960) has this one number more than independent loss.
        """
        long, loss = self._long, self.figure()
        return max(loss, (long.continued + _INDEPENDENT * loss) / (long.lost + _INDEPENDENT))
