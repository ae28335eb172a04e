"""Every broken core is caught, within a bounded number of seeds, and by the violation that its fault leads to."""

import pytest

from atmost.lab.guarantee.findings import ViolationKind
from atmost.lab.guarantee.running import Run, shorten, simulate
from tests.lab.guarantee.mutants import MUTANTS, SEEDS, Mutant

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


def caught(mutant: Mutant) -> Run | None:
    """The first run in which a mutant shows."""
    runs = (simulate(seed, cores=mutant.cores, hypotheses=mutant.hypotheses) for seed in range(SEEDS))
    return next((run for run in runs if run.violated(mutant.shows)), None)


@pytest.mark.parametrize("mutant", MUTANTS, ids=BY_NAME)
def test_mutant_is_caught(mutant: Mutant):
    """R5, R6, R8, R10–R14, R17, R19, R20, R22, H1, H2: none of them can be left out."""
    run = caught(mutant)
    assert run is not None, f"{mutant.says}: no {mutant.shows} in {SEEDS} seeds"


def test_every_kind_of_violation_is_found_in_some_broken_core():
    """A check that no mutant sets off would be one that may be broken itself; two are set off beside the others."""
    beside = {ViolationKind.MISCOUNTED, ViolationKind.UNTOLD, ViolationKind.SENDER_UNBALANCED}
    assert {mutant.shows for mutant in MUTANTS} | beside == set(ViolationKind)
    run = caught(BY_NAME["drops"])
    assert run is not None
    assert run.violated(ViolationKind.UNTOLD)
    run = caught(BY_NAME["drops2"])
    assert run is not None
    assert run.violated(ViolationKind.MISCOUNTED)
    run = caught(BY_NAME["fork"])
    assert run is not None
    assert run.violated(ViolationKind.SENDER_UNBALANCED)


@pytest.mark.parametrize("name", ["M1", "M3"])
def test_a_violation_is_shown_in_few_steps(name: str):
    """A run of hundreds of steps comes down to those that matter, which a person can read."""
    mutant = BY_NAME[name]
    run = caught(mutant)
    assert run is not None
    lines = shorten(run, ViolationKind.DUPLICATE, mutant.cores)
    steps = [line for line in lines if not line.startswith(" " * 13)]
    assert len(run.steps) > 100
    assert len(steps) <= 15
    assert "DUPLICATE" in lines[-1]
