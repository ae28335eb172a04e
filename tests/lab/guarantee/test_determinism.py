"""The same seed gives the same run, byte for byte: here, in another process, and from its list of steps."""

import hashlib
import os
import subprocess
import sys

import pytest

from atmost.lab.guarantee.cast import Cast
from atmost.lab.guarantee.running import simulate

SEEDS = (0, 5, 19)

IN_ANOTHER_PROCESS = """
import hashlib
from atmost.lab.guarantee.running import simulate
for seed in {seeds}:
    print(hashlib.sha256("\\n".join(simulate(seed, trace=True).trace).encode()).hexdigest())
"""


def digest(seed: int) -> str:
    """A run's trace in short."""
    return hashlib.sha256("\n".join(simulate(seed, trace=True).trace).encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_the_same_seed_gives_the_same_trace_in_every_process(hash_seed):
    """Whatever order sets and dictionaries of text have there."""
    code = IN_ANOTHER_PROCESS.format(seeds=SEEDS)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split() == [digest(seed) for seed in SEEDS]


def test_a_trace_changes_nothing():
    """A run with a trace is the run without it."""
    with_trace, without = simulate(5, trace=True), simulate(5)
    assert with_trace.steps == without.steps
    assert with_trace.hits == without.hits
    assert with_trace.figures == without.figures
    assert with_trace.trace
    assert not without.trace


def test_different_seeds_give_different_runs():
    """Parameters and events both come from the seed."""
    runs = [simulate(seed) for seed in range(5)]
    assert len({run.steps for run in runs}) == 5
    assert len({run.parameters for run in runs}) == 5


@pytest.mark.parametrize("seed", SEEDS)
def test_the_list_of_steps_is_the_run(seed):
    """The steps alone, without any chance, give the same trace."""
    run = simulate(seed, trace=True)
    cast = Cast(run.parameters, trace=True)
    for number, step in run.steps:
        cast.apply(number, step)
    assert cast.findings.trace == list(run.trace)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_list_with_steps_taken_out_is_a_run(seed):
    """Whatever is left out, no step fails and the real cores break nothing."""
    run = simulate(seed)
    for part in range(5):
        cast = Cast(run.parameters)
        for number, step in run.steps:
            if number % 5 != part and not getattr(step, "settled", False):
                cast.apply(number, step)
        assert cast.findings.violations == []
