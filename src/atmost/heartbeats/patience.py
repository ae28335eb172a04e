"""How long a silence means what, for one sender: from its interval, its measured loss, and how often we may be wrong.

Of beats a second a share p is lost, and after a lost one the next with probability c: about 86,400 p cᵏ⁻¹ times a day k
in a row. For at most `target` false alarms a day, k = 1 + ln(target · T / 86,400 p) / ln(c), at least 3, and more than the
longest run seen so far; where losses are independent c is p, and k = ln(target · T / 86,400) / ln(p). Half an interval is added for beats that are under way.

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
class Patience:
    """What a silence means, in seconds since the last sign of life."""

    late: float
    suspect: float
    lossy: float
    """From here to `down` nothing can be said, for this much loss hides deaths; the same as `down` where it does not."""
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
) -> Patience:
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
        return Patience(
            min(late, timeout), min(suspect, timeout), timeout, timeout, max(1, int(timeout / interval - SLACK))
        )
    needed = misses_needed(interval, loss, burst, target, continuation)
    misses = min(cap, needed)
    lossy = (misses + SLACK) * interval
    down = lossy if needed <= cap else (2 * cap + SLACK) * interval
    return Patience(late, suspect, lossy, down, misses)
