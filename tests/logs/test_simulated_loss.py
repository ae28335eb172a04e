"""Logs through a simulated link, a seed a run: what is told is the truth for every seed, not for one lucky run."""

import logging
from itertools import pairwise
from random import Random

import pytest

from atmost.lab.faults import LinkFaults
from atmost.logs import LogGap, LogRecord
from benchmarks.loss_logs import check, log
from tests.logs.simulation import World

SEEDS = [1000, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1001, 1006))]


def play(world: World, seconds: float, seed: int) -> list[str]:
    """Logs for a while, beside readings of metrics on the same sender, then heals and ends; returns the levels."""
    chance, logged = Random(seed), []
    while world.now < seconds:
        for _ in range(chance.randrange(4)):
            logged.append(logging.getLevelName(log(world.logger, len(logged), chance)))
        if chance.random() < 0.3:
            world.send("metrics.depth", 1)
        world.sender.hand_over()
        if chance.random() < 0.01:
            world.mark()
        world.step(0.01)
    world.heal()
    world.mark()
    for _ in range(500):  # the reordering, and two graces
        world.step(0.01)
    return logged


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.3, 0.6])
@pytest.mark.parametrize("reorder_delay", [0.02, 3.0])
def test_gaps_sum_to_exactly_what_is_missing(loss, reorder_delay, seed):
    """By level, each record once, in order; with duplicates, parts, other uses, and arrivals later than the grace."""
    world = World(LinkFaults(loss=loss, duplicate=0.05, reorder=0.1, reorder_delay=reorder_delay), seed)
    logged = play(world, 12.0, seed)
    result = check(world.told, logged, world.came)
    for name in ("wrong_gaps", "twice", "untold", "out_of_order", "misplaced"):
        assert result[name] == 0, name
    assert result["in_gaps"] == result["missing"]
    assert (result["missing"] > 0) == (loss >= 0.05) or loss in {0.0, 0.01}
    assert (result["late"] > 0) == (reorder_delay > 1.0)
    assert world.reader.stats().lost == result["missing"]
    [source] = world.reader.sources()
    assert (source.numbered, source.lost, source.pending) == (len(logged), result["missing"], 0)
    assert source.received == len(logged) - result["missing"]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_gap_stands_in_its_place(seed):
    """Where gaps are not joined, each stands between the record before it and the record after it."""
    world = World(
        LinkFaults(loss=0.2, duplicate=0.1, reorder=0.2, reorder_delay=0.3), seed, gap_interval=0.0, grace=1.0
    )
    logged = play(world, 8.0, seed)
    assert not any(isinstance(one, LogRecord) and one.late for one in world.told)
    expected = 0
    for one in world.told:
        if isinstance(one, LogGap):
            assert one.first == expected
            assert one.lost == one.last - one.first + 1
            expected = one.last + 1
        else:
            assert one.number == expected
            expected += 1
    assert expected == len(logged)


def test_gaps_are_told_of_at_most_once_a_second():
    """Those in between are joined: half of everything is lost, and nobody reads a hundred gaps a second."""
    world = World(LinkFaults(loss=0.5), 5)
    moments = []
    before = world.step

    def step(seconds, *rest):
        told = len(world.told)
        before(seconds, *rest)
        moments.extend(world.now for one in world.told[told:] if isinstance(one, LogGap) and not one.late)

    world.step = step  # type: ignore[method-assign]
    logged = play(world, 10.0, 5)
    assert check(world.told, logged, world.came)["wrong_gaps"] == 0
    assert 8 <= len(moments) <= 14
    assert all(after - before >= 1.0 - 1e-9 for before, after in pairwise(moments))
