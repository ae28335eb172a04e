"""Runs a seed and returns its parameters, steps and findings; shortens a violation's list of steps; runs campaigns."""

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
# Software Engineering 28, 2002), without its test of single parts, because these hardly ever show a failure alone.

Item = TypeVar("Item")


def shrink(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool], max_tests: int = 2000) -> Sequence[Item]:
    """The fewest items found that still fail: none of them can be left out, unless `max_tests` was reached.

    Args:
        items: a list that fails.
        fails: the test; it must always return the same answer for the same list.
        max_tests: how often to call it at most.
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
"""Steps of one run, without the adversary's and the settling at the end."""
_CHECK_EVERY: Final = 40
_ALARM: Final = (coverage.RECEIVER, f"alarm: {ClockTrouble.STEPPED_BACK.value}")


@dataclass(frozen=True, slots=True)
class Run:
    """The result of one seed."""

    seed: int
    parameters: Parameters
    steps: Sequence[Recorded]
    violations: Sequence[Violation]
    hits: Counter[Hit]
    figures: Counter[str]
    trace: Sequence[str]
    """The trace; empty unless it was requested."""
    alarmed: bool
    """An alarm of the receiver's own clock was raised (R18)."""
    link: LinkAccount
    """The link's account until all faults ended."""
    ledger: Ledger | None
    """The receiver's account after everything had settled; None if no receiver was listening then."""

    def violated(self, kind: ViolationKind) -> bool:
        """Whether this promise was broken."""
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
        seed: decides everything that is left to chance.
        steps: the run's length, without the adversary's steps and the settling at the end.
        hypotheses: kept, or broken on purpose to show the violation.
        parameters: the run's parameters; None draws them from the seed.
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
        run: a run with a violation of this kind.
        kind: the kind of violation.
        with_alarm: whether to keep the steps that raise the alarm of the receiver's clock too (R18).
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
    """Does the whole run: start, faults, calm, account, and the adversary's final replay."""
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
    """Ends all faults, lets all senders say goodbye and all graces pass; then every figure must be exact."""
    operations.calm()
    network.calm()
    traffic.finish()
    operations.catch_up()
    stage.skip_us(round((2 * stage.parameters.receiver.grace + 3 * EPISODE) * 1e6))
    for receiver in AUDIENCES:
        stage.do(Check(receiver, stage.now_us, settled=True))


def _last_word(stage: Stage, operations: Operations, adversary: Adversary) -> None:
    """Restarts the receiver at the worst clock that H1 allows, and replays everything ever sent several times."""
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
    # Datagrams above the floor are refused until the clock has come within F of them; afterwards all are acceptable.
    stage.skip_us(round(stage.parameters.receiver.clock_guard * 1e6) + 1)
    adversary.play_all()
    behind_us = latest_us - operations.clock.read(stage.now_us)
    if behind_us > 0:
        stage.skip_us(behind_us)
        adversary.play_all()
    stage.do(Check(RECEIVER, stage.now_us))


# A campaign is many runs. None may break a promise, and together they must reach every goal.

_MAX_BROKEN: Final = 10
"""Failed runs kept for inspection."""


@dataclass(slots=True)
class Campaign:
    """The results of many runs."""

    seeds: int = 0
    violations: int = 0
    """Runs with one or more violations."""
    broken: list[Run] = field(default_factory=list)
    """The first of these runs."""
    hits: Counter[Hit] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)

    @property
    def missing(self) -> list[Hit]:
        """The goals that were not reached."""
        return missing(self.hits)

    @property
    def passed(self) -> bool:
        """Whether no promise was broken and every goal was reached."""
        return not self.violations and not self.missing

    def add(self, run: Run) -> None:
        """Adds the results of a run."""
        self.seeds += 1
        self.hits += run.hits
        self.figures += run.figures
        if run.violations:
            self.violations += 1
            if len(self.broken) < _MAX_BROKEN:
                self.broken.append(run)

    def as_dict(self) -> dict[str, Any]:
        """Its figures, as the commands print them with `--json`."""
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
        seeds: the seeds to run.
        steps: length of each run.
        hypotheses: kept, or broken on purpose to show violations.
        watch: called after every run, to show the progress.
    """
    result = Campaign()
    for seed in seeds:
        run = simulate(seed, steps=steps, hypotheses=hypotheses)
        result.add(run)
        watch(run)
    return result
