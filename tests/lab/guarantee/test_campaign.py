"""The real cores break no promise in any run, and all runs together reach everything there is to reach."""

import pytest

from atmost.lab.guarantee.coverage import GOALS, NOT_REACHABLE, REFUSAL, check_names
from atmost.lab.guarantee.parameters import Hypotheses
from atmost.lab.guarantee.running import Campaign, Run, campaign

SEEDS = 60
ALL_SEEDS = 300
"""With so many runs everything has come up that can."""

EVERY_REASON = [
    "malformed",
    "unknown_key",
    "wrong_shard",
    "future",
    "boot_quarantine",
    "below_floor",
    "too_old",
    "duplicate",
    "expired",
    "auth_failed",
    "inconsistent",
    "implausible",
]


@pytest.fixture(scope="module")
def result() -> Campaign:
    """The campaign, run once for all tests that ask about it."""
    return campaign(range(SEEDS))


@pytest.fixture(scope="module")
def long_result() -> Campaign:
    """A campaign that is long enough for everything to come up."""
    return campaign(range(ALL_SEEDS))


def test_no_promise_is_broken(result: Campaign):
    """R10–R23: no handler started twice, nothing unexpected, every message accounted for, in every run."""
    assert [str(violation) for run in result.broken for violation in run.violations] == []
    assert result.violations == 0


@pytest.mark.slow
def test_everything_is_reached(long_result: Campaign):
    """R24: every refusal, crash point and fault came up at least once, no promise was broken; what cannot come up has a reason."""
    assert [str(violation) for run in long_result.broken for violation in run.violations] == []
    assert long_result.missing == []
    assert long_result.passed
    assert long_result.seeds == ALL_SEEDS
    assert all(NOT_REACHABLE.values())


def test_the_runs_are_not_empty(result: Campaign):
    """Messages are processed, also after crashes, and most of what arrives is a replay."""
    figures = result.figures
    assert figures["messages_processed"] > 30 * SEEDS
    assert figures["incarnations"] > 2 * SEEDS
    assert figures["replays"] > 100 * SEEDS
    assert figures["checks"] > 5 * SEEDS


def test_every_refusal_reason_is_a_goal():
    """R24: the reasons of the core's enumeration, all of them."""
    assert list(GOALS[REFUSAL]) == EVERY_REASON


def test_a_campaign_that_reached_too_little_fails():
    """A campaign of one run breaks nothing and has not passed."""
    result = campaign(range(1), steps=5)
    assert result.violations == 0
    assert result.missing
    assert not result.passed


def test_a_broken_promise_fails_the_campaign():
    """Runs with a violation are kept to be looked at, and tell the seed."""
    watched: list[Run] = []
    result = campaign(range(20), hypotheses=Hypotheses(one_at_a_time=False), watch=watched.append)
    assert [run.seed for run in watched] == list(range(20))
    assert not result.passed
    assert result.violations == len(result.broken) > 0
    assert result.as_dict()["broken"][0]["seed"] == result.broken[0].seed


def test_a_campaign_as_json(result: Campaign):
    """Every goal stands in the table, with its count."""
    table = result.as_dict()
    assert table["passed"] == (not result.missing)
    assert {group: tuple(names) for group, names in table["coverage"].items()} == dict(GOALS)
    assert table["coverage"][REFUSAL]["duplicate"] == result.hits[REFUSAL, "duplicate"] > 0


def test_a_misspelt_goal_is_refused(result: Campaign):
    """What is counted under a name that is no goal would count for nothing."""
    with pytest.raises(AssertionError, match="no goals"):
        check_names(result.hits + type(result.hits)({("refusal", "duplicated"): 1}))
