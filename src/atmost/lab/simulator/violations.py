"""What may never happen, by name: Jepsen's `total-queue` turned round (valid: no duplicate, nothing unexpected, all loss counted)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
