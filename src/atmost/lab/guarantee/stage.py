"""The stage of a run: its virtual time in whole microseconds, and the record of the steps that happened."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from atmost.lab.guarantee.cast import Cast
from atmost.lab.guarantee.parameters import Hypotheses, Parameters
from atmost.lab.guarantee.steps import Deliver, Recorded, Step
from atmost.lab.world import Agenda

Action = Callable[[], None]


class Stage:
    """The state shared by everything that drives a run."""

    def __init__(self, cast: Cast, parameters: Parameters, hypotheses: Hypotheses, random: Random) -> None:
        """Args: cast: applies the steps. parameters, hypotheses: the run's. random: source of all randomness."""
        self.cast = cast
        self.parameters = parameters
        self.hypotheses = hypotheses
        self.random = random
        self.steps: list[Recorded] = []
        self.replays = 0
        """Steps that the adversary caused."""
        self.after_step: list[Action] = []
        self._agenda = Agenda(0)

    @property
    def now_us(self) -> int:
        """Virtual time (µs)."""
        return self._agenda.now

    def do(self, step: Step) -> None:
        """Applies a step and lets everything that watches react to it."""
        number = len(self.steps)
        self.steps.append((number, step))
        self.replays += isinstance(step, Deliver) and step.replay
        self.cast.apply(number, step)
        for react in self.after_step:
            react()

    def at(self, when_us: int, action: Action) -> None:
        """Puts a call on the agenda; calls for the same time run in the order of their scheduling."""
        self._agenda.at(when_us, action)

    def after(self, seconds: float, action: Action) -> None:
        """Puts a call on the agenda, some time from now."""
        self._agenda.after(round(seconds * 1e6), action)

    def run(self, limit: int) -> None:
        """Works through the agenda until so many steps were taken, without counting the adversary's."""
        self._agenda.run_while(lambda: len(self.steps) - self.replays < limit)

    def skip_us(self, skipped_us: int) -> None:
        """Lets time pass without running the agenda; the clocks go on."""
        self._agenda.postpone(skipped_us)

    def clear(self) -> None:
        """Forgets the agenda."""
        self._agenda.clear()

    def chance(self, probability: float) -> bool:
        """Draws whether an event happens; a probability of 0 uses no random number."""
        return probability > 0 and self.random.random() < probability

    def hit(self, group: str, name: str) -> None:
        """Counts that a goal was reached."""
        self.cast.findings.hit(group, name)


def round_up_us(seconds: float) -> int:
    """The first µs of virtual time that is not before `seconds`."""
    rounded = round(seconds * 1e6)
    return rounded if rounded / 1e6 >= seconds else rounded + 1
