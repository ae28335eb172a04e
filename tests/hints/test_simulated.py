"""Staleness in virtual time: no read is staler than the bound, whatever the link does; and each rule is needed for it."""

import pytest

from benchmarks.loss_hints_simulated import run
from benchmarks.loss_hints_world import World
from tests.hints import mutants
from tests.hints.mutants import MUTANTS, SOFT_MUTANTS, broken

ROUGH = World(loss=0.3, burst=3)
WORLDS = {
    mutants.prefix_gap_is_of_one_shard: World(loss=0.6, burst=8, wide=0.2),
    mutants.whole_grace_after_silence: World(loss=0.3, burst=3, outage=0.2, stall=0.05),
    mutants.marks_dated_by_arrival: World(loss=0.5, stall=0.3, writes=1),
    mutants.restart_forgives: World(loss=0.3, burst=10, outage=0.1, restart_writer=0.1, one_host=True),
    mutants.first_mark_passes_for_news: World(loss=0.8, burst=4, stall=0.3, restart_writer=0.2, writes=1),
    mutants.no_session_rule: World(loss=0.6, burst=10, restart_writer=0.1),
    mutants.softness_from_the_finding: World(loss=0.6, burst=3, policy="soft"),
}
"""Where the rare ones show soonest."""


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.3, 0.6])
@pytest.mark.parametrize("policy", ["stale", "soft"])
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


@pytest.mark.parametrize("world", WORLDS.values(), ids=[mutant.__name__ for mutant in WORLDS])
def test_nor_where_it_is_worse(world):
    """Partitions, stalls and restarts all the time."""
    assert run(world, 40.0, 3).violations == 0


@pytest.mark.parametrize("mutate", [*MUTANTS, *SOFT_MUTANTS], ids=lambda mutate: mutate.__name__)
def test_without_a_rule_a_read_is_staler(mutate):
    """The simulation finds it within some seeds."""
    world = WORLDS.get(mutate, ROUGH)
    assert any(broken(mutate, lambda seed=seed: run(world, 50.0, seed)).violations for seed in range(1, 41))
