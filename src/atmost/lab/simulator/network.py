"""The link between senders and receiver: the lab's own, with its rules and its account, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from atmost.lab.faults import FaultRules, Judge, Verdict
from atmost.lab.forwarding import Carried, LinkAccount, LinkCore
from atmost.lab.simulator import coverage
from atmost.lab.simulator.stage import Stage, round_up_us
from atmost.lab.simulator.tape import Entry

Arrive = Callable[[Entry, int | None, int], None]
"""What to do with a datagram, the bit damaged, and so many copies of it."""


class Network:
    """Carries what senders transmit."""

    def __init__(self, stage: Stage, arrive: Arrive) -> None:
        """Args: stage: the run's. arrive: where the link ends."""
        self._stage = stage
        self._arrive = arrive
        rules = FaultRules(stage.parameters.faults, Random(stage.random.getrandbits(64)))
        self._link = LinkCore(_Watched(rules, stage))
        self._carried: list[Entry] = []
        self._due_us: int | None = None
        self._overtaken = 0
        self._calm = False
        stage.after_step.append(self._carry)

    def partition(self, seconds: float) -> None:
        """Cuts the link for a while."""
        self._link.partition(on=True)
        self._stage.hit(coverage.LINK, "partition")
        self._stage.after(seconds, lambda: self._link.partition(on=False))

    def calm(self) -> None:
        """Ends all faults: what is held arrives now, and from now on everything arrives at once."""
        self._link.partition(on=False)
        self._calm = True
        self._take(float("inf"))

    def account(self) -> LinkAccount:
        """What the link did so far."""
        return self._link.account()

    def _carry(self) -> None:
        for entry in list(self._stage.world.senders.sent):
            if self._calm:
                self._arrive(entry, None, 1)
            else:
                self._carried.append(entry)
                self._link.receive(entry.data, self._stage.now_us / 1e6)
        self._watch()

    def _watch(self) -> None:
        deadline = self._link.next_deadline()
        if deadline is None:
            return
        due_us = round_up_us(deadline)
        if self._due_us is None or due_us < self._due_us:
            self._due_us = due_us
            self._stage.at(due_us, self._come_due)

    def _come_due(self) -> None:
        self._due_us = None
        self._take(self._stage.now_us / 1e6)
        self._watch()

    def _take(self, now: float) -> None:
        """Lets arrive what is due, copies that come together as one step."""
        batch: list[tuple[Carried, int]] = []
        while (carried := self._link.take_due(now)) is not None:
            self._link.sent(carried)
            if batch and batch[-1][0] is carried:
                batch[-1] = (carried, batch[-1][1] + 1)
            else:
                batch.append((carried, 1))
        overtaken = self._link.account().reordered_datagrams
        if overtaken > self._overtaken:
            self._overtaken = overtaken
            self._stage.hit(coverage.LINK, "overtaken")
        for carried, copies in batch:
            entry = self._carried[carried.number]
            self._arrive(entry, _difference(entry.data, carried.content), copies)


class _Watched:
    """Rules whose verdicts are counted for the coverage."""

    def __init__(self, rules: Judge, stage: Stage) -> None:
        self._rules = rules
        self._stage = stage
        self._lost_before = False

    def judge(self) -> Verdict:
        verdict = self._rules.judge()
        copies = len(verdict.delays)
        if verdict.dropped:
            self._stage.hit(coverage.LINK, "loss in bursts" if self._lost_before else "loss alone")
        elif copies > 1:
            kind = "copied 3 to 99 times" if copies < 100 else "copied 100 to 1000 times"
            self._stage.hit(coverage.LINK, "doubled" if copies == 2 else kind)
        if any(verdict.delays):
            self._stage.hit(coverage.LINK, "delayed")
        self._lost_before = verdict.dropped
        return verdict


def _difference(original: bytes, arrived: bytes) -> int | None:
    """Which bit was flipped, counted as `corrupted_copy` does; None when none was."""
    differing = int.from_bytes(original, "little") ^ int.from_bytes(arrived, "little")
    return differing.bit_length() - 1 if differing else None
