"""H1 broken on purpose: the violation shows, and so does the alarm that reports it (R18)."""

import pytest

from atmost.lab.guarantee.findings import ViolationKind
from atmost.lab.guarantee.parameters import BEYOND_GUARD, KEPT, Hypotheses
from atmost.lab.guarantee.running import shorten, simulate

SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_beyond_the_guard_the_duplicate_shows_and_the_alarm_was_raised(seed):
    """The clock set back by more than G: nothing but duplicates, after an alarm."""
    run = simulate(seed, hypotheses=BEYOND_GUARD)
    assert {violation.kind for violation in run.violations} == {ViolationKind.DUPLICATE}
    assert run.alarmed


def test_the_shortened_list_can_keep_the_alarm():
    """What is shown of the violation shows the alarm before it."""
    run = simulate(SEEDS[0], hypotheses=BEYOND_GUARD)
    lines = shorten(run, ViolationKind.DUPLICATE, with_alarm=True)
    alarm = next(number for number, line in enumerate(lines) if "STEPPED_BACK" in line)
    assert "DUPLICATE" in lines[-1]
    assert alarm < len(lines) - 1
    assert not any("STEPPED_BACK" in line for line in shorten(run, ViolationKind.DUPLICATE))


def test_within_the_guard_nothing_shows():
    """The same runs, with the same last restart as badly as H1 allows, break nothing."""
    assert not any(simulate(seed).violations for seed in SEEDS)


def test_hypotheses_know_whether_they_are_kept():
    """Only the defaults keep them."""
    assert KEPT.kept
    assert Hypotheses().kept
    assert not BEYOND_GUARD.kept
    assert not Hypotheses(cumulative=False).kept
    assert not Hypotheses(one_at_a_time=False).kept
