"""What a run finds: violations, goals reached, figures, and the trace on request.

The promises are Jepsen's `total-queue` inverted: no duplicate, nothing unexpected, all loss counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from atmost.lab.guarantee.coverage import Hit

_MAX_VIOLATIONS = 100
"""Violations kept of one run: a broken core breaks its promise again and again, and the first hundred are enough."""


class ViolationKind(StrEnum):
    """Which promise was broken."""

    DUPLICATE = "duplicate"
    """A message's handler was started a second time."""
    UNEXPECTED = "unexpected"
    """A handler was started for a message that nobody sent to this receiver."""
    WRONG_VERDICT = "wrong_verdict"
    """A whole datagram of a sender was refused although R11 accepts it, or for another reason than R11 gives."""
    UNBALANCED = "unbalanced"
    """An identity of R20 does not hold at a receiver."""
    MISCOUNTED = "miscounted"
    """A receiver's figures differ from what really happened."""
    UNTOLD = "untold"
    """Events and ledger disagree."""
    LOSS_DECREASED = "loss_decreased"
    """`lost_total` went down (R19)."""
    PENDING = "pending"
    """A message is still pending after all graces are over (R19)."""
    SENDER_UNBALANCED = "sender_unbalanced"
    """The sender's identity of R20 does not hold, or its counts differ from what really happened."""
    NUMBER_REUSED = "number_reused"
    """Two datagrams of one session have the same number, which is also the nonce (R5)."""
    SENT_AGAIN = "sent_again"
    """A datagram that may have been transmitted was handed over again (R6)."""
    STUCK = "stuck"
    """A deadline is still due after it was handled."""
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
        return f"{self.kind.value.upper()}: {self.text}"


class Findings:
    """The results of one run, written by all parts of the world."""

    def __init__(self, *, trace: bool) -> None:
        """Args: trace: whether to keep what happened as text."""
        self.step = -1
        self.violations: list[Violation] = []
        self.hits: Counter[Hit] = Counter()
        self.figures: Counter[str] = Counter()
        self.trace: list[str] | None = [] if trace else None

    def violate(self, kind: ViolationKind, text: str) -> None:
        """Records that a promise was broken."""
        if len(self.violations) < _MAX_VIOLATIONS:
            violation = Violation(kind, text, self.step)
            self.violations.append(violation)
            self.say(f"!! {violation}")

    def hit(self, group: str, name: str) -> None:
        """Counts that a goal was reached."""
        self.hits[group, name] += 1

    def say(self, text: str) -> None:
        """Adds a line to the trace, below the step's own line."""
        if self.trace is not None:
            self.trace.append(f"             {text}")
