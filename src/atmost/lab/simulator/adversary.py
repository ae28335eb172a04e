"""An adversary with a tape of everything ever sent, who plays it at the worst moments.

It needs no key and no luck: it sees when a receiver starts, what it evicts and where its windows stand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from atmost.core.limits import VICTIM_SILENCE
from atmost.lab.simulator import coverage
from atmost.lab.simulator.forger import Forger
from atmost.lab.simulator.operations import Operations
from atmost.lab.simulator.parameters import RECEIVER, STRANGER, WORKER
from atmost.lab.simulator.stage import Stage
from atmost.lab.simulator.steps import Deliver, StartReceiver
from atmost.lab.simulator.tape import Entry

_MAX_REPLAYS: Final = 600
"""Steps of one run; the last word, after everything has settled, comes on top."""


class Adversary:
    """Replays and forges."""

    def __init__(self, stage: Stage, operations: Operations) -> None:
        """Args: stage: the run's. operations: the receiver it is after."""
        self._stage = stage
        self._operations = operations
        self._chance = stage.parameters.chances.replay
        self._forger = Forger(stage, operations)
        stage.after_step.append(self._react)
        operations.after_start.append(self._after_start)

    def begin(self) -> None:
        """Starts the receiver of another audience, and comes back now and then."""
        stage = self._stage
        wall_us = self._operations.clock.read(stage.now_us)
        stage.do(StartReceiver(STRANGER, stage.now_us, wall_us))
        if stage.parameters.workers:
            stage.do(StartReceiver(WORKER, stage.now_us, wall_us))
        self._next_moment()

    def play_all(self) -> None:
        """The whole tape, in the order in which it was sent; to both workers where there are two."""
        self._play("whole tape", self._tape(), budget=False)
        if self._stage.parameters.workers:
            self._play("whole tape", self._tape(), budget=False, astray=True)

    def _next_moment(self) -> None:
        stage = self._stage
        stage.after(stage.random.expovariate(1 / (10 * stage.parameters.pause)), self._moment)

    def _moment(self) -> None:
        """Any moment: something from the tape, or something made up."""
        stage, random = self._stage, self._stage.random
        self._next_moment()
        if stage.chance(stage.parameters.chances.silence):
            stage.skip(VICTIM_SILENCE + 1)
        if stage.chance(stage.parameters.chances.forge * 4):
            self._forger.forge(list(stage.world.tape.entries.values()))
        tape = self._tape()
        if not tape or not stage.chance(self._chance):
            return
        kind = random.random()
        if kind < 0.1:
            self._play("whole tape", tape)
        elif kind < 0.3:
            self._play_to_stranger(random.choices(tape, k=3))
        elif kind < 0.5 and stage.parameters.workers:
            self._play("at another worker", random.choices(tape, k=5), astray=True)
        else:
            self._play("any", random.choices(tape, k=5))

    def _after_start(self) -> None:
        """Just after a start, and again while the clock passes the new floor."""
        stage = self._stage
        if not stage.chance(self._chance):
            return
        tape = self._tape()
        floor_us = self._operations.clock.read(stage.now_us)
        incarnation = stage.world.receivers.newest(RECEIVER)
        if incarnation is not None:
            floor_us = incarnation.core.floor_us
        nearest = sorted(tape, key=lambda entry: abs(_stamp(entry) - floor_us))[:12]
        whole = stage.random.random() < 0.3
        stage.at(stage.now_us, lambda: self._play("just after restart", tape if whole else nearest))
        future_us = incarnation.witness.future_us if incarnation is not None else 0
        until_floor = floor_us - self._operations.clock.read(stage.now_us)
        above = sorted(tape, key=_stamp)[-12:]
        for wait_us in (until_floor - future_us, until_floor, until_floor + 1):
            stage.at(stage.now_us + wait_us, lambda: self._play("as the floor passes", above))

    def _react(self) -> None:
        """Plays what was just evicted, and what is just leaving a window."""
        stage = self._stage
        receivers = stage.world.receivers
        for key in receivers.evicted:
            if stage.chance(self._chance):
                session = stage.world.tape.sessions.get(key, {})
                last = [entry for _, entry in sorted(session.items())[-4:]]
                self._soon("just after eviction", last)
        for entry in receivers.accepted:
            if entry.facts is not None and entry.honest and stage.chance(self._chance / 2):
                self._soon("at the window's edge", self._at_the_edge(entry))

    def _at_the_edge(self, entry: Entry) -> list[Entry]:
        """What is about to leave the window, and what filled a gap: only there R11.7 leaves room for a second time."""
        assert entry.facts is not None
        incarnation = self._stage.world.receivers.newest(RECEIVER)
        resident = incarnation.witness.sessions.get(entry.facts.key) if incarnation is not None else None
        if resident is None:
            return []
        edge = resident.highest - self._stage.parameters.receiver.window
        numbers = [edge - 1, edge, edge + 1, *resident.late[-3:]]
        found = [self._stage.world.tape.at(entry.facts.key, number) for number in numbers]
        return [candidate for candidate in found if candidate is not None and candidate.transmitted]

    def _soon(self, moment: str, entries: list[Entry]) -> None:
        if entries:
            self._stage.at(self._stage.now_us, lambda: self._play(moment, entries))

    def _play(self, moment: str, entries: Iterable[Entry], *, budget: bool = True, astray: bool = False) -> None:
        stage = self._stage
        many = 1000 if stage.chance(0.002) else 3
        for entry in entries:
            if budget and stage.replays >= _MAX_REPLAYS:
                return
            if not entry.transmitted:
                continue
            stage.hit(coverage.MOMENT, moment)
            copies = many if stage.chance(0.1) else 1
            self._operations.arrive(entry, copies=copies, replay=True, astray=astray)

    def _play_to_stranger(self, entries: Iterable[Entry]) -> None:
        stage = self._stage
        stage.hit(coverage.MOMENT, "at another receiver")
        wall_us = self._operations.clock.read(stage.now_us)
        for entry in entries:
            stage.do(Deliver(STRANGER, entry.name, stage.now_us, wall_us, replay=True))

    def _tape(self) -> list[Entry]:
        """Everything that could have been overheard."""
        return [entry for entry in self._stage.world.tape.entries.values() if entry.transmitted]


def _stamp(entry: Entry) -> int:
    return entry.facts.sent_us if entry.facts is not None else 0
