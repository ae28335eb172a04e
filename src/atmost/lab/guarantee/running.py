"""One run: a seed, its parameters, what happened, and what was found; and how a violation's list of steps is shortened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar

from atmost.core.accounts import Ledger
from atmost.core.events import ClockTrouble
from atmost.core.limits import EPISODE
from atmost.lab.guarantee import coverage
from atmost.lab.guarantee.adversary import Adversary
from atmost.lab.guarantee.cast import Cast
from atmost.lab.guarantee.coverage import NOT_REACHABLE, Hit, as_table, missing
from atmost.lab.guarantee.driving import Network, Operations, Traffic
from atmost.lab.guarantee.findings import Violation, ViolationKind
from atmost.lab.guarantee.parameters import AUDIENCES, KEPT, RECEIVER, Hypotheses, Parameters, draw, undisturbed
from atmost.lab.guarantee.stage import Stage
from atmost.lab.guarantee.steps import Check, Recorded
from atmost.lab.link import LinkAccount

# Shortens a list that shows a failure: delta debugging.
#
# The algorithm is ddmin (Zeller and Hildebrandt, *Simplifying and isolating failure-inducing input*, IEEE Transactions on
# Software Engineering 28, 2002), without its test of single parts, which hardly ever show a failure alone.

Item = TypeVar("Item")


def shrink(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool], max_tests: int = 2000) -> Sequence[Item]:
    """The fewest items found that still fail: none of them can be left out, unless the tests ran out.

    Args:
        items: fail together.
        fails: the test, of which the same list always gets the same answer.
        max_tests: how often to ask it.
    """
    parts, tests = 2, 0
    while len(items) > 1 and tests < max_tests:
        size = -(-len(items) // parts)
        for start in range(0, len(items), size):
            rest = [*items[:start], *items[start + size :]]
            tests += 1
            if fails(rest):
                items, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(items))
    return items


STEPS: Final = 400
"""Of one run, the adversary's and the settling at the end not counted."""
_CHECK_EVERY: Final = 40
_ALARM: Final = (coverage.RECEIVER, f"alarm: {ClockTrouble.STEPPED_BACK.value}")


@dataclass(frozen=True, slots=True)
class Run:
    """What became of one seed."""

    seed: int
    parameters: Parameters
    steps: Sequence[Recorded]
    violations: Sequence[Violation]
    hits: Counter[Hit]
    figures: Counter[str]
    trace: Sequence[str]
    """Empty unless it was asked for."""
    alarmed: bool
    """An alarm of the receiver's own clock was raised (R18)."""
    link: LinkAccount
    """What the link really did, until all trouble ended."""
    ledger: Ledger | None
    """The receiver's account when everything had settled; None when nobody was listening then."""

    def violated(self, kind: ViolationKind) -> bool:
        """Whether a promise was broken."""
        return any(violation.kind is kind for violation in self.violations)


def simulate(
    seed: int,
    *,
    steps: int = STEPS,
    hypotheses: Hypotheses = KEPT,
    parameters: Parameters | None = None,
    trace: bool = False,
) -> Run:
    """Runs one seed; the same arguments give the same run, byte for byte.

    Args:
        seed: of everything that is left to chance.
        steps: how long the run is, the adversary's steps and the settling at the end not counted.
        hypotheses: kept, or broken on purpose to show the violation.
        parameters: of the run; None draws them from the seed.
        trace: whether to keep what happened as text.
    """
    if parameters is None:
        parameters = draw(Random(f"parameters {seed}"))
        if not hypotheses.kept:
            parameters = undisturbed(parameters)
    cast = Cast(parameters, trace=trace)
    stage = Stage(cast, parameters, hypotheses, Random(f"run {seed}"))
    link = _play(stage, steps)
    findings = cast.findings
    coverage.check_names(findings.hits)
    return Run(
        seed,
        parameters,
        tuple(stage.steps),
        tuple(findings.violations),
        findings.hits,
        findings.figures,
        tuple(findings.trace or ()),
        bool(findings.hits[_ALARM]),
        link,
        cast.receivers.settled.get(RECEIVER),
    )


def shorten(run: Run, kind: ViolationKind, *, with_alarm: bool = False) -> Sequence[str]:
    """The trace of the fewest steps found that still break the same promise.

    Args:
        run: one with a violation of this kind.
        kind: which.
        with_alarm: whether what raises the alarm of the receiver's clock stays too (R18).
    """

    def violates(steps: Sequence[Recorded]) -> bool:
        findings = _repeat(run, steps).findings
        found = any(violation.kind is kind for violation in findings.violations)
        return found and (not with_alarm or bool(findings.hits[_ALARM]))

    first = next(violation.step for violation in run.violations if violation.kind is kind)
    fewest = shrink(run.steps[: first + 1], violates)
    return _repeat(run, fewest, trace=True).findings.trace or ()


def _repeat(run: Run, steps: Sequence[Recorded], *, trace: bool = False) -> Cast:
    cast = Cast(run.parameters, trace=trace)
    for number, step in steps:
        cast.apply(number, step)
    return cast


def _play(stage: Stage, limit: int) -> LinkAccount:
    """The whole run: start, trouble, calm, account, and the adversary's last word."""
    operations = Operations(stage)
    network = Network(stage, operations.arrive)
    traffic = Traffic(stage, operations, network)
    adversary = Adversary(stage, operations)
    operations.start()
    adversary.begin()
    traffic.begin()

    def check() -> None:
        if stage.steps[-1][0] % _CHECK_EVERY == 0:
            stage.at(stage.now_us, lambda: stage.do(Check(RECEIVER, stage.now_us)))

    stage.after_step.append(check)
    stage.run(limit)
    stage.after_step.remove(check)
    stage.clear()
    _settle(stage, operations, network, traffic)
    _last_word(stage, operations, adversary)
    return network.account()


def _settle(stage: Stage, operations: Operations, network: Network, traffic: Traffic) -> None:
    """All trouble ends, all senders say goodbye, all graces pass: now every figure must be exact."""
    operations.calm()
    network.calm()
    traffic.finish()
    operations.catch_up()
    stage.skip_us(round((2 * stage.parameters.receiver.grace + 3 * EPISODE) * 1e6))
    for receiver in AUDIENCES:
        stage.do(Check(receiver, stage.now_us, settled=True))


def _last_word(stage: Stage, operations: Operations, adversary: Adversary) -> None:
    """The receiver is restarted as badly as H1 allows, and everything ever sent comes once more, several times."""
    if stage.hypotheses.excess:
        if not operations.up:
            operations.start()
        operations.set_back_while_running(next(iter(stage.cast.tape.entries.values()), None))
    latest_us = stage.cast.receivers.latest_us.get(RECEIVER, 0)
    for _ in range(2):
        if stage.hypotheses.one_at_a_time:
            operations.crash()
        operations.start(worst=True)
    adversary.play_all()
    # Above the floor nothing is acceptable before the clock has come within F of it; later all of it is.
    stage.skip_us(round(stage.parameters.receiver.clock_guard * 1e6) + 1)
    adversary.play_all()
    behind_us = latest_us - operations.clock.read(stage.now_us)
    if behind_us > 0:
        stage.skip_us(behind_us)
        adversary.play_all()
    stage.do(Check(RECEIVER, stage.now_us))


# Many runs: that none of them breaks a promise, and that all of them together reached everything there is to reach.

_MAX_BROKEN: Final = 10
"""Runs kept to be looked at."""


@dataclass(slots=True)
class Campaign:
    """What many runs found."""

    seeds: int = 0
    violations: int = 0
    """Runs with one or more."""
    broken: list[Run] = field(default_factory=list)
    """The first runs with a violation."""
    hits: Counter[Hit] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)

    @property
    def missing(self) -> list[Hit]:
        """What was to be reached and was not."""
        return missing(self.hits)

    @property
    def passed(self) -> bool:
        """Nothing was broken, and everything was reached."""
        return not self.violations and not self.missing

    def add(self, run: Run) -> None:
        """Takes a run in."""
        self.seeds += 1
        self.hits += run.hits
        self.figures += run.figures
        if run.violations:
            self.violations += 1
            if len(self.broken) < _MAX_BROKEN:
                self.broken.append(run)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passed": self.passed,
            "seeds": self.seeds,
            "violations": self.violations,
            "broken": [
                {"seed": run.seed, "violations": [str(violation) for violation in run.violations]}
                for run in self.broken
            ],
            "missing": [list(hit) for hit in self.missing],
            "not_reachable": dict(NOT_REACHABLE),
            "figures": dict(self.figures),
            "coverage": as_table(self.hits),
        }


def campaign(
    seeds: Iterable[int],
    *,
    steps: int = STEPS,
    hypotheses: Hypotheses = KEPT,
    watch: Callable[[Run], None] = lambda _run: None,
) -> Campaign:
    """Runs every seed.

    Args:
        seeds: which.
        steps: of each run.
        hypotheses: kept, or broken on purpose to show violations.
        watch: called after every run, for whoever shows how far it is.
    """
    result = Campaign()
    for seed in seeds:
        run = simulate(seed, steps=steps, hypotheses=hypotheses)
        result.add(run)
        watch(run)
    return result
