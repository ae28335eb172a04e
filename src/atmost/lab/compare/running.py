"""Runs the arms side by side over networks with the same fates, and stops cleanly when asked to.

The arms take turns of a few hundred messages, so that a comparison that is stopped early compares the same messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from atmost.core.limits import GRACE
from atmost.errors import OptionError
from atmost.lab.compare.at_least_once import AtLeastOnce
from atmost.lab.compare.at_most_once import AtMostOnce
from atmost.lab.compare.closed_forms import Check, checks
from atmost.lab.compare.exactly_once import ExactlyOnce
from atmost.lab.compare.measures import ArmReport, GroundTruth, Tally, report
from atmost.lab.compare.network import RandomFates, SimulatedNetwork
from atmost.lab.compare.options import MAX_WORK, CompareOptions

Arm = AtMostOnce | AtLeastOnce
"""Any arm; `ExactlyOnce` is a subclass of `AtLeastOnce`."""
ARMS: Final[tuple[type[Arm], ...]] = (AtMostOnce, AtLeastOnce, ExactlyOnce)
_TURN: Final = 250
"""Messages offered to an arm before the next arm's turn."""
_TURN_SECONDS: Final = 5_000
"""The most virtual time in one turn (s): beacons and graces take work too, and the user may ask to stop."""

Watch = Callable[[int], None]
"""Called with the number of messages offered to all arms together since the last call."""
Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of all arms over one set of faults."""

    options: CompareOptions
    offered: int
    """Messages offered to each arm; fewer than the options say if the run was stopped early."""
    complete: bool
    """Whether all messages were offered and all retries ended."""
    real: bool
    """Whether it ran over sockets, in real time."""
    arms: tuple[ArmReport, ...]
    checks: tuple[Check, ...]
    """Each simulated figure that has a closed form, beside it."""

    @property
    def agrees(self) -> bool:
        """Whether every figure lies within its interval around theory."""
        return all(check.inside for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Its figures, as the commands print them with `--json`."""
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
        """Runs until all retries, copies and graces have ended."""
        self.network.run_until(self.network.now + self.options.interval)
        self.arm.finish()
        self.network.run_while(lambda: self.arm.busy)
        self.network.run_until(self.network.now + self.options.round_trip + 3 * GRACE)


def compare(options: CompareOptions, watch: Watch = lambda _count: None, stop: Stop = lambda: False) -> Comparison:
    """Offers the same messages to all three arms, over the same faults, under virtual time.

    Args:
        options: faults, traffic and seed; the same options give the same comparison.
        watch: called with the progress.
        stop: called now and then; True ends with the messages offered so far.
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


# A sweep runs the same comparison at several values of one option, every point with the same seed.

FIELDS: Final = ("loss", "ack_loss", "duplicate", "crash_before", "crash_after", "latency", "interval")
MAX_POINTS: Final = 101
_FORM: Final = "FIELD=FROM:TO:POINTS with 2 to 101 points, as in loss=0:0.5:11"


@dataclass(frozen=True, slots=True)
class Sweep:
    """An option and the values it takes."""

    field: str
    values: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> Sweep:
        """Reads `loss=0:0.5:11`.

        Raises:
            OptionError: the text has another form, names an option that cannot be swept, or has too many points.
        """
        name, equals, span = text.partition("=")
        field = name.strip().replace("-", "_")
        if not equals:
            raise OptionError("sweep", text, _FORM)
        if field not in FIELDS:
            raise OptionError("sweep", text, f"one of {', '.join(FIELDS)} before the '='")
        try:
            first, last, count = span.split(":")
            low, high, points = float(first), float(last), int(count)
        except ValueError:
            raise OptionError("sweep", text, _FORM) from None
        if not 2 <= points <= MAX_POINTS or not low < high:
            raise OptionError("sweep", text, f"{_FORM}, FROM below TO")
        # Rounded, so that a point is 0.05 and not 0.05000000000000001.
        return cls(field, tuple(round(low + (high - low) * step / (points - 1), 12) for step in range(points)))

    def points(self, options: CompareOptions) -> list[CompareOptions]:
        """The options of each point.

        Raises:
            OptionError: a value the option cannot take.
        """
        changes: list[dict[str, Any]] = [{self.field: value} for value in self.values]
        return [replace(options, **change) for change in changes]


def expected_work(points: Sequence[CompareOptions]) -> float:
    """Expected transmissions of all arms, plus one for each second of virtual time, which has beacons and graces."""
    return sum(point.messages * (point.transmissions * 3 + point.interval) for point in points)


def check_work(points: Sequence[CompareOptions]) -> None:
    """Refuses a comparison that would run for hours.

    Raises:
        OptionError: too many expected transmissions and seconds in all.
    """
    work = expected_work(points)
    if work > MAX_WORK:
        raise OptionError(
            "messages",
            points[0].messages,
            f"at most {MAX_WORK:,} transmissions and simulated seconds in all, not {work:,.0f}: "
            "give fewer messages or points, or a shorter interval",
        )


def run_points(
    points: list[CompareOptions],
    watch: Watch = lambda _count: None,
    stop: Stop = lambda: False,
    run: Callable[[CompareOptions, Watch, Stop], Comparison] = compare,
) -> list[Comparison]:
    """Compares at every point in turn; when stopped, returns the comparisons made so far.

    Args:
        points: at least one.
        watch: called with the progress over all points.
        stop: called now and then.
        run: makes one comparison; simulated by default.
    """
    done: list[Comparison] = []
    for point in points:
        if done and stop():
            break
        done.append(run(point, watch, stop))
    return done
