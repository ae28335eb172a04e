"""Staleness in virtual time: no read is staler than the bound, whatever the link does; and in the worlds that each rule is needed for."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.loss_hints_simulated import run
from benchmarks.loss_hints_world import World

WORLDS = {
    "loss in runs": (World(loss=0.3, burst=3), 3),
    "loss in long runs, many prefixes": (World(loss=0.6, burst=8, wide=0.2), 3),
    "partitions": (World(loss=0.3, burst=3, outage=0.2, stall=0.05), 4),
    "stalls": (World(loss=0.5, stall=0.3, writes=1), 1),
    "restarts": (World(loss=0.6, burst=10, restart_writer=0.1), 1),
    "restarts on one host": (World(loss=0.3, burst=10, outage=0.1, restart_writer=0.1, one_host=True), 2),
    "restarts and stalls": (World(loss=0.8, burst=4, stall=0.3, restart_writer=0.2, writes=1), 1),
    "policy soft": (World(loss=0.6, burst=3, policy="soft"), 2),
}
"""With a seed each; `scripts/mutants_hints.toml` says which rules show there when they are taken out."""
QUICK = ("loss in runs", "partitions", "restarts and stalls", "policy soft")


@pytest.mark.parametrize(
    ("loss", "policy"),
    [
        (0.0, "stale"),
        (0.3, "soft"),
        (0.6, "stale"),
        *(
            pytest.param(loss, policy, marks=pytest.mark.slow)
            for loss, policy in [
                *((loss, "stale") for loss in (0.01, 0.05, 0.3)),
                *((loss, "soft") for loss in (0.0, 0.01, 0.05, 0.6)),
            ]
        ),
    ],
)
def test_no_read_is_staler_than_the_bound(loss, policy):
    """Loss in runs, duplicates, delays up to the grace, clocks that drift, restarts, partitions, stalls, and slow loads."""
    report = run(World(loss=loss, burst=2, policy=policy), 50.0, 11)
    assert report.violations == 0, f"stale for {report.worst} s"
    assert report.reads == 100_000
    assert report.hits > report.reads / 2
    assert report.counts["gaps"] > 0 or loss == 0


@pytest.mark.parametrize("shards", [1, 3, 128])
def test_whatever_the_number_of_shards(shards):
    """The bound does not depend on how keys are divided."""
    assert run(World(loss=0.3, shards=shards), 25.0, 5).violations == 0


@pytest.mark.parametrize(
    ("world", "seed"),
    [pytest.param(*one, id=name, marks=[] if name in QUICK else pytest.mark.slow) for name, one in WORLDS.items()],
)
def test_nor_where_it_is_worse(world, seed):
    """Partitions, stalls and restarts all the time."""
    report = run(world, 50.0, seed)
    assert report.violations == 0, f"stale for {report.worst} s"


@pytest.mark.slow
def test_without_a_rule_a_read_is_staler():
    """Each rule taken out in its turn: one of these worlds shows a read beyond the bound."""
    done = subprocess.run(
        [sys.executable, "scripts/mutants.py", "hints"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "19 mutants, 0 not killed"
