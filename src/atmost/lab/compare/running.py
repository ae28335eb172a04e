"""Runs the arms side by side over networks with the same fates, and stops cleanly when asked to.

The arms take turns of a few hundred messages, so that a comparison that is stopped early compares the same messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from atmost.core.limits import GRACE
from atmost.lab.compare.at_least_once import AtLeastOnce
from atmost.lab.compare.at_most_once import AtMostOnce
from atmost.lab.compare.closed_forms import Check, checks
from atmost.lab.compare.exactly_once import ExactlyOnce
from atmost.lab.compare.faults import RandomFates
from atmost.lab.compare.measures import ArmReport, report
from atmost.lab.compare.network import SimulatedNetwork
from atmost.lab.compare.options import CompareOptions
from atmost.lab.compare.tally import Tally
from atmost.lab.compare.uses import GroundTruth

Arm = AtMostOnce | AtLeastOnce
"""Exactly-once is the second with more."""
ARMS: Final[tuple[type[Arm], ...]] = (AtMostOnce, AtLeastOnce, ExactlyOnce)
_TURN: Final = 250
"""Messages an arm is offered before it is the next one's turn."""
_TURN_SECONDS: Final = 5_000
"""Of virtual time, the most in one turn: beacons and graces take work too, and somebody may ask to stop."""

Watch = Callable[[int], None]
"""Called with how many messages were offered, to all arms together, since it was last called."""
Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The arms over one set of faults."""

    options: CompareOptions
    offered: int
    """Messages to each arm; fewer than the options say when it was stopped early."""
    complete: bool
    """All messages were offered, and all retries came to their end."""
    real: bool
    """Over sockets, in real time."""
    arms: tuple[ArmReport, ...]
    checks: tuple[Check, ...]
    """Simulation beside theory, wherever there is one."""

    @property
    def agrees(self) -> bool:
        """Whether every figure lies within what theory allows."""
        return all(check.inside for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "options": self.options.as_dict(),
            "real": self.real,
            "offered": self.offered,
            "complete": self.complete,
            "arms": [arm.as_dict() for arm in self.arms],
            "checks": [check.as_dict() for check in self.checks],
        }


class _SimulatedArm:
    def __init__(self, kind: type[Arm], options: CompareOptions) -> None:
        self.options = options
        self.tally = Tally()
        self.network = SimulatedNetwork(RandomFates(options))
        self.arm = kind(options, self.network, self.tally)

    def offer(self, first: int, last: int) -> None:
        """Offers the messages from `first` up to `last`, each at its time."""
        network, tally, options = self.network, self.tally, self.options
        for message in range(first, last):
            network.run_until(options.ready_after + message * options.interval)
            tally.offered.append(network.now)
            self.arm.send(message)

    def finish(self) -> None:
        """Lets all retries, copies and graces come to their end."""
        self.network.run_until(self.network.now + self.options.interval)
        self.arm.finish()
        self.network.run_while(lambda: self.arm.busy)
        self.network.run_until(self.network.now + self.options.round_trip + 3 * GRACE)


def compare(options: CompareOptions, watch: Watch = lambda _count: None, stop: Stop = lambda: False) -> Comparison:
    """Offers the same messages to all three arms, over the same faults, under virtual time.

    Args:
        options: faults, traffic and seed; the same ones give the same comparison.
        watch: told of the progress.
        stop: asked now and then; True ends with what was offered so far.
    """
    arms = [_SimulatedArm(kind, options) for kind in ARMS]
    turn = max(1, min(_TURN, int(_TURN_SECONDS / options.interval)))
    offered = 0
    while offered < options.messages and not (offered and stop()):
        last = min(options.messages, offered + turn)
        for arm in arms:
            arm.offer(offered, last)
        watch((last - offered) * len(arms))
        offered = last
    for arm in arms:
        arm.finish()
    truth = GroundTruth(options, offered)
    reports = tuple(report(arm.arm.name, arm.tally, arm.network.traffic, truth) for arm in arms)
    return Comparison(options, offered, offered == options.messages, False, reports, checks(options, reports))
