"""The simulated world: applies steps to real cores and reports everything that the guarantee forbids.

It has no randomness and no clock: the same steps give the same trace, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atmost.lab.guarantee.findings import Findings, ViolationKind
from atmost.lab.guarantee.parameters import RECEIVER, Parameters
from atmost.lab.guarantee.receivers import Reception
from atmost.lab.guarantee.senders import Emission
from atmost.lab.guarantee.steps import (
    Check,
    Close,
    CloseSender,
    Crash,
    CrashSender,
    Deliver,
    Elapse,
    Forge,
    Fork,
    Offer,
    StartReceiver,
    StartSender,
    Step,
    Turn,
    Work,
    describe,
)
from atmost.lab.guarantee.tape import Tape


class Cast:
    """Senders, receivers, the tape between them, and the findings."""

    def __init__(self, parameters: Parameters, *, trace: bool = False) -> None:
        """Args: parameters: of this run. trace: whether to keep what happened as text."""
        self.findings = Findings(trace=trace)
        self.tape = Tape()
        self.senders = Emission(parameters, self.tape, self.findings)
        self.receivers = Reception(parameters, self.tape, self.findings, self.senders.socket_refused)
        self._do: dict[type[Any], Callable[[Any], None]] = {
            StartReceiver: self.receivers.start,
            Deliver: self.receivers.deliver,
            Work: self.receivers.work,
            Elapse: self.receivers.elapse,
            Crash: self.receivers.crash,
            Close: self.receivers.close,
            Check: self.receivers.check,
            StartSender: self.senders.start,
            Offer: self.senders.offer,
            Turn: self.senders.turn,
            CloseSender: self.senders.close,
            CrashSender: self.senders.crash,
            Fork: self.senders.fork,
            Forge: self.senders.forge,
        }

    def apply(self, number: int, step: Step) -> None:
        """Applies one step; an exception in a core is a violation, never an error of the run.

        Args:
            number: the step's number in the run it comes from.
            step: the step.
        """
        findings = self.findings
        findings.step = number
        findings.figures["steps"] += 1
        self.senders.sent.clear()
        self.receivers.accepted.clear()
        self.receivers.evicted.clear()
        if findings.trace is not None:
            findings.trace.append(f"{number:5} {describe(step, self.tape)}")
        try:
            self._do[type(step)](step)
        except Exception as error:  # noqa: BLE001  anything a core may raise
            findings.violate(ViolationKind.RAISED, f"{type(error).__name__}: {error}")
        # Generations are counted by the receiver that senders send to.
        for entry in self.senders.sent:
            entry.incarnations = self.receivers.incarnations[RECEIVER]
