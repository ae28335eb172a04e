"""The simulator notices a rule or a hypothesis that is missing, by the violation that its absence leads to."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from atmost.lab.guarantee.findings import ViolationKind
from atmost.lab.guarantee.parameters import Hypotheses
from atmost.lab.guarantee.running import Run, shorten, simulate

ROOT = Path(__file__).parents[3]
ROWS = tomllib.loads((ROOT / "scripts" / "mutants.toml").read_text(encoding="utf-8"))["mutant"]
SEEDS = 300
"""Within so many seeds every hypothesis that is broken must show."""


def shows(hypotheses: Hypotheses) -> Run:
    """The first run in which a message is processed twice."""
    runs = (simulate(seed, hypotheses=hypotheses) for seed in range(SEEDS))
    return next(run for run in runs if run.violated(ViolationKind.DUPLICATE))


@pytest.mark.parametrize(
    "hypotheses",
    [
        pytest.param(Hypotheses(excess=0.01), id="M7, the clock back by more than G (H1)"),
        pytest.param(Hypotheses(cumulative=False), id="M8, two restarts together more than G back (H1)"),
        pytest.param(Hypotheses(one_at_a_time=False), id="M9, overlapping incarnations (H2)"),
    ],
)
def test_without_a_hypothesis_a_message_is_processed_twice(hypotheses: Hypotheses):
    """H1, H2: the promise rests on them. The run comes down to the few steps that matter, which a person can read."""
    run = shows(hypotheses)
    lines = shorten(run, ViolationKind.DUPLICATE)
    steps = [line for line in lines if not line.startswith(" " * 13)]
    assert len(steps) < len(run.steps)
    assert len(steps) <= 15
    assert "DUPLICATE" in lines[-1]


def test_every_kind_of_violation_is_shown_by_some_mutant():
    """A check that no mutant sets off would be one that may be broken itself."""
    assert {row["simulator"] for row in ROWS if "simulator" in row} == {kind.value for kind in ViolationKind}


@pytest.mark.parametrize("rules", [["R10"], pytest.param([], marks=pytest.mark.slow, id="all")])
def test_the_simulator_notices_the_mutants(rules):
    """R3, R5, R6, R8, R10–R14, R17, R19, R20, R22: `scripts/mutants.py --simulator` finds each that names a violation."""
    command = [sys.executable, "scripts/mutants.py", "--simulator", *rules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 not killed" in done.stdout
