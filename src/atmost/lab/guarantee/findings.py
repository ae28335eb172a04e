"""What a run brings to light: violations, what was reached, figures, and the trace if it is wanted.

What may never happen has a name: Jepsen's `total-queue` inverted (valid: no duplicate, nothing unexpected, all loss counted).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from atmost.lab.guarantee.coverage import Hit

_MAX_VIOLATIONS = 100
"""A broken core breaks its promise again and again; the first hundred tell enough."""


class ViolationKind(StrEnum):
    """Which promise was broken."""

    DUPLICATE = "duplicate"
    """A message's handler was started a second time."""
    UNEXPECTED = "unexpected"
    """A handler was started for what nobody sent to this receiver."""
    WRONG_VERDICT = "wrong_verdict"
    """A whole datagram of a sender was refused although R11 accepts it, or for another reason than R11 gives."""
    UNBALANCED = "unbalanced"
    """An identity of R20 does not hold at a receiver."""
    MISCOUNTED = "miscounted"
    """A receiver's figures are not what really happened."""
    UNTOLD = "untold"
    """Events and ledger tell different stories."""
    LOSS_DECREASED = "loss_decreased"
    """`lost_total` went down (R19)."""
    PENDING = "pending"
    """A message is still pending when all graces are over (R19)."""
    SENDER_UNBALANCED = "sender_unbalanced"
    """The sender's identity of R20 does not hold, or its counts are not what really happened."""
    NUMBER_REUSED = "number_reused"
    """Two datagrams of one session bear the same number, which is also the nonce (R5)."""
    SENT_AGAIN = "sent_again"
    """What may have been transmitted was handed over again (R6)."""
    STUCK = "stuck"
    """A deadline that is not over after it was handled."""
    RAISED = "raised"
    """A core raised an exception."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    kind: ViolationKind
    text: str
    step: int
    """The number of the step that showed it."""

    def __str__(self) -> str:
        """For people."""
        return f"{self.kind.value.upper()}: {self.text}"


class Findings:
    """One run's results, written by all parts of the world."""

    def __init__(self, *, trace: bool) -> None:
        """Args: trace: whether to keep what happened as text."""
        self.step = -1
        self.violations: list[Violation] = []
        self.hits: Counter[Hit] = Counter()
        self.figures: Counter[str] = Counter()
        self.trace: list[str] | None = [] if trace else None

    def violate(self, kind: ViolationKind, text: str) -> None:
        """A promise was broken."""
        if len(self.violations) < _MAX_VIOLATIONS:
            violation = Violation(kind, text, self.step)
            self.violations.append(violation)
            self.say(f"!! {violation}")

    def hit(self, group: str, name: str) -> None:
        """Something to be reached was reached."""
        self.hits[group, name] += 1

    def say(self, text: str) -> None:
        """A line of the trace, below its step's."""
        if self.trace is not None:
            self.trace.append(f"             {text}")
