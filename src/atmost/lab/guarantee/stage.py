"""Virtual time: an agenda of what is to happen, and the record of the steps that did."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from atmost.lab.guarantee.parameters import Hypotheses, Parameters
from atmost.lab.guarantee.steps import Deliver, Recorded, Step
from atmost.lab.guarantee.world import World

Action = Callable[[], None]


class Stage:
    """What all who drive a run have in common."""

    def __init__(self, world: World, parameters: Parameters, hypotheses: Hypotheses, random: Random) -> None:
        """Args: world: where steps happen. parameters, hypotheses: the run's. random: where all chance comes from."""
        self.world = world
        self.parameters = parameters
        self.hypotheses = hypotheses
        self.random = random
        self.now_us = 0
        self.steps: list[Recorded] = []
        self.replays = 0
        """Steps of the adversary's."""
        self.after_step: list[Action] = []
        self._agenda: list[tuple[int, int, Action]] = []
        self._order = 0

    def do(self, step: Step) -> None:
        """Lets a step happen, and everybody react to it."""
        number = len(self.steps)
        self.steps.append((number, step))
        self.replays += isinstance(step, Deliver) and step.replay
        self.world.apply(number, step)
        for react in self.after_step:
            react()

    def at(self, when_us: int, action: Action) -> None:
        """Puts something on the agenda; what was put there first comes first."""
        heappush(self._agenda, (max(when_us, self.now_us), self._order, action))
        self._order += 1

    def after(self, seconds: float, action: Action) -> None:
        """The same, some time from now."""
        self.at(self.now_us + round(seconds * 1e6), action)

    def run(self, limit: int) -> None:
        """Works the agenda off, until so many steps were taken, the adversary's not counted."""
        while self._agenda and len(self.steps) - self.replays < limit:
            when_us, _, action = heappop(self._agenda)
            self.now_us = when_us
            action()

    def skip(self, seconds: float) -> None:
        """Lets time pass in which nothing happens, whatever is on the agenda; the clocks go on."""
        skipped_us = round(seconds * 1e6)
        self.now_us += skipped_us
        self._agenda = [(when_us + skipped_us, order, action) for when_us, order, action in self._agenda]

    def clear(self) -> None:
        """Forgets the agenda."""
        self._agenda.clear()

    def chance(self, probability: float) -> bool:
        """Draws; what has no chance draws nothing."""
        return probability > 0 and self.random.random() < probability

    def hit(self, group: str, name: str) -> None:
        """Something to be reached was reached."""
        self.world.findings.hit(group, name)


def round_up_us(seconds: float) -> int:
    """The first µs of virtual time that is not before `seconds`."""
    rounded = round(seconds * 1e6)
    return rounded if rounded / 1e6 >= seconds else rounded + 1
