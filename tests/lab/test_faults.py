"""The rules of a lossy link: their ranges, their exact ends, their statistics and their determinism."""

import ast
import math
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.lab import faults as module
from atmost.lab.faults import DROPPED, PASSED, FaultRules, LinkFaults, Overruled, Verdict, corrupted_copy

probabilities = st.floats(0, 1)
some_faults = st.builds(
    LinkFaults,
    loss=probabilities,
    duplicate=probabilities,
    reorder=probabilities,
    burst=st.floats(1, 50),
    corrupt=probabilities,
    delay=st.floats(0, 1),
    jitter=st.floats(0, 1),
    copies=st.integers(2, 5),
)


def verdicts(faults: LinkFaults, seed: int, count: int) -> list[Verdict]:
    """The verdicts on so many datagrams."""
    rules = FaultRules(faults, Random(seed))
    return [rules.judge() for _ in range(count)]


def runs_of_losses(faults: LinkFaults, seed: int, count: int) -> Iterator[int]:
    """The lengths of the runs of losses among so many datagrams."""
    for dropped, run in groupby(verdict.dropped for verdict in verdicts(faults, seed, count)):
        if dropped:
            yield len(list(run))


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("loss", -0.01, "loss must be between 0 and 1, got -0.01"),
        ("loss", 1.01, "loss must be between 0 and 1, got 1.01"),
        ("loss", math.nan, "loss must be between 0 and 1, got nan"),
        ("duplicate", 2.0, "duplicate must be between 0 and 1, got 2.0"),
        ("reorder", -1.0, "reorder must be between 0 and 1, got -1.0"),
        ("corrupt", math.inf, "corrupt must be between 0 and 1, got inf"),
        ("burst", 0.5, "burst must be between 1 and 1e+06 datagrams, got 0.5"),
        ("delay", -0.1, "delay must be between 0 and 3600 seconds, got -0.1"),
        ("jitter", math.inf, "jitter must be between 0 and 3600 seconds, got inf"),
        ("reorder_delay", 0.0, "reorder_delay must be between 1e-06 and 3600 seconds, got 0.0"),
        ("copies", 1, "copies must be between 2 and 1000, got 1"),
        ("copies", 2.5, "copies must be a whole number between 2 and 1000, got 2.5"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name_value_and_range(option, value, expected):
    """What no link could do is refused at construction, with a text that says what would be right."""
    with pytest.raises(ValueError, match=r".+") as refused:
        LinkFaults(**{option: value})
    assert str(refused.value) == expected


def test_a_link_without_faults_lets_everything_pass():
    """By default nothing is lost, doubled, damaged or late."""
    assert set(verdicts(LinkFaults(), 1, 1000)) == {PASSED}


@given(faults=some_faults, seed=st.integers())
def test_the_same_seed_gives_the_same_verdicts(faults, seed):
    """Two runs with one seed cannot be told apart."""
    assert verdicts(faults, seed, 100) == verdicts(faults, seed, 100)


def test_the_same_seed_gives_the_same_verdicts_in_another_process():
    """Nothing depends on the process, such as on the salt of its hashes."""
    faults = LinkFaults(loss=0.2, burst=3, duplicate=0.2, reorder=0.2, corrupt=0.2, delay=0.1, jitter=0.1)
    program = (
        "from random import Random\nfrom atmost.lab.faults import FaultRules, LinkFaults\n"
        f"rules = FaultRules({faults}, Random(5))\nprint([rules.judge() for _ in range(200)])"
    )
    here = verdicts(faults, 5, 200)
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert there.stdout.strip() == str(here)


def test_another_seed_gives_other_verdicts():
    """The seed is not ignored."""
    assert verdicts(LinkFaults(loss=0.5), 1, 100) != verdicts(LinkFaults(loss=0.5), 2, 100)


@given(faults=some_faults, seed=st.integers())
def test_the_other_faults_do_not_change_what_is_lost(faults, seed):
    """Each rule draws from a stream of its own: with one seed, the same datagrams are lost whatever else happens."""
    alone = LinkFaults(loss=faults.loss, burst=faults.burst)
    assert [v.dropped for v in verdicts(faults, seed, 100)] == [v.dropped for v in verdicts(alone, seed, 100)]


@given(seed=st.integers(), burst=st.floats(1, 1000))
def test_loss_of_one_drops_everything_and_of_zero_nothing(seed, burst):
    """Both ends of the range are exact, not only likely, at every burst length."""
    assert all(verdict.dropped for verdict in verdicts(LinkFaults(loss=1.0, burst=burst), seed, 200))
    assert not any(verdict.dropped for verdict in verdicts(LinkFaults(loss=0.0, burst=burst), seed, 200))


@pytest.mark.parametrize(
    ("loss", "burst", "lost", "runs"),
    [
        (0.05, 1.0, 4878, 4614),
        (0.3, 1.0, 29928, 20850),
        (0.9, 1.0, 89964, 9007),
        (0.05, 10.0, 5003, 523),
        (0.3, 4.0, 29491, 7466),
        (0.5, 50.0, 50492, 1004),
    ],
)
def test_losses_are_as_many_and_come_in_runs_as_long_as_asked_for(loss, burst, lost, runs):
    """The share lost is `loss` and the mean run is `burst`, or that of independent losses if that is longer."""
    lengths = list(runs_of_losses(LinkFaults(loss=loss, burst=burst), 7, 100_000))
    assert (sum(lengths), len(lengths)) == (lost, runs)
    assert sum(lengths) / 100_000 == pytest.approx(loss, rel=0.1)
    assert sum(lengths) / len(lengths) == pytest.approx(max(burst, 1 / (1 - loss)), rel=0.1)


def test_a_burst_of_one_is_independent_loss():
    """After a loss, the next datagram is lost as often as after none."""
    lost = [verdict.dropped for verdict in verdicts(LinkFaults(loss=0.3), 7, 100_000)]
    after_loss = [later for earlier, later in pairwise(lost) if earlier]
    assert sum(after_loss) / len(after_loss) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(
    ("option", "flag", "expected"),
    [("duplicate", "duplicated", 973), ("reorder", "reordered", 976), ("corrupt", "corrupted", 989)],
)
def test_each_fault_happens_as_often_as_asked_for_and_alone(option, flag, expected):
    """A probability is a share of the datagrams, and one fault brings no other."""
    judged = verdicts(LinkFaults(**{option: 0.1}), 7, 10_000)
    touched = [verdict for verdict in judged if verdict != PASSED]
    assert len(touched) == expected
    assert len(touched) / len(judged) == pytest.approx(0.1, rel=0.1)
    for verdict in touched:
        flags = {name for name in ("dropped", "duplicated", "reordered", "corrupted") if getattr(verdict, name)}
        assert flags == {flag}


def test_a_dropped_datagram_suffers_nothing_else():
    """The first rule that drops ends the hearing."""
    assert set(verdicts(LinkFaults(loss=1, duplicate=1, reorder=1, corrupt=1, delay=1), 7, 100)) == {DROPPED}


def test_what_happens_to_a_datagram_happens_to_its_copies():
    """Copies share the damage and the delay of their datagram; only jitter is drawn for each."""
    faults = LinkFaults(duplicate=1, copies=4, reorder=1, reorder_delay=0.5, corrupt=1, delay=0.25)
    for verdict in verdicts(faults, 7, 100):
        assert verdict.delays == (0.75,) * 4
        assert verdict.duplicated
        assert verdict.reordered
        assert verdict.corrupted


def test_jitter_is_drawn_for_each_copy_between_none_and_all_of_it():
    """Delays lie within `delay` and `delay + jitter`, use that range, and differ between copies."""
    judged = verdicts(LinkFaults(duplicate=1, delay=1.0, jitter=0.5), 7, 1000)
    delays = [delay for verdict in judged for delay in verdict.delays]
    assert all(1.0 <= delay <= 1.5 for delay in delays)
    assert min(delays) < 1.01
    assert max(delays) > 1.49
    assert all(first != second for first, second in (verdict.delays for verdict in judged))


@given(datagram=st.binary(max_size=100), corrupt_at=st.integers(min_value=0))
def test_corruption_flips_one_bit(datagram, corrupt_at):
    """The damaged copy differs in one bit, whichever is asked for; an empty datagram has none to flip."""
    damaged = corrupted_copy(datagram, corrupt_at)
    assert len(damaged) == len(datagram)
    difference = int.from_bytes(damaged, "big") ^ int.from_bytes(datagram, "big")
    assert difference.bit_count() == (1 if datagram else 0)


def test_rules_that_are_overruled_go_on_where_they_were():
    """Meanwhile every datagram has the one verdict, and nothing is drawn."""
    faults = LinkFaults(loss=0.5, duplicate=0.5)
    alone, overruled = FaultRules(faults, Random(3)), Overruled(FaultRules(faults, Random(3)))
    assert [overruled.judge() for _ in range(50)] == [alone.judge() for _ in range(50)]
    for verdict in (PASSED, DROPPED):
        overruled.verdict = verdict
        assert {overruled.judge() for _ in range(50)} == {verdict}
    overruled.verdict = None
    assert [overruled.judge() for _ in range(50)] == [alone.judge() for _ in range(50)]


def test_every_bit_can_be_hit():
    """Corruption reaches the whole datagram."""
    assert len({corrupted_copy(bytes(3), bit) for bit in range(24)}) == 24
    assert corrupted_copy(bytes(3), 24) == corrupted_copy(bytes(3), 0)


def test_the_rules_are_pure():
    """The module imports nothing that knows of a clock, a socket or a file."""
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"dataclasses", "random", "typing"}
