"""A fleet whose collector dies: nothing is processed twice by whatever owner, and every message is in somebody's account or in none's."""

import pytest

from atmost.errors import OptionError
from atmost.lab.fleet import Fleet, run_fleet, scenario
from atmost.lab.fleet.scenario import Ownership

SMALL = {
    "senders": 120,
    "shards": 8,
    "collectors": 3,
    "seconds": 30.0,
    "return_at": 18.0,
    "loss": 0.05,
    "duplicate": 0.2,
}


@pytest.mark.parametrize("seed", range(4))
def test_the_promises_are_kept_through_death_takeover_and_return(seed):
    """A fifth of all datagrams comes twice, many of them to an owner that never saw the first."""
    outcome = run_fleet(Fleet(**SMALL, seed=seed))
    assert outcome.kept()
    assert outcome.processed_twice == 0
    assert outcome.miscounted == 0
    assert outcome.sent == 120 * 30
    assert outcome.missing_known > 0
    assert outcome.between_owners > 0
    assert outcome.unowned > 0
    assert outcome.refused["duplicate"] > 0
    assert outcome.refused["boot_quarantine"] > 0
    assert outcome.most_sessions["during"] > outcome.most_sessions["before"]


def test_the_same_seed_gives_the_same_run():
    """Every figure of it."""
    assert run_fleet(Fleet(**SMALL)).as_json() == run_fleet(Fleet(**SMALL)).as_json()


def test_without_a_floor_of_its_own_a_new_owner_repeats(monkeypatch):
    """What H2 is for: an owner that accepts what was sent before it began processes late copies again."""
    monkeypatch.setattr(
        scenario,
        "Ownership",
        lambda collector, shard, shards, wall_us: Ownership(collector, shard, shards, wall_us - 60_000_000),
    )
    outcome = run_fleet(Fleet(**SMALL))
    assert outcome.processed_twice > 0
    assert not outcome.kept()


def test_without_faults_only_the_change_of_owners_costs():
    """What nobody owned, and the second until a new owner remembers, twice: nothing else is missing."""
    outcome = run_fleet(Fleet(**{**SMALL, "loss": 0.0, "duplicate": 0.0}))
    assert outcome.kept()
    assert outcome.missing_known == 0
    orphans = 120 * 2 / 8  # about: sessions are random
    assert 0 < outcome.between_owners < orphans * (3.0 + 1.1 + 1.1) * 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"senders": 0},
        {"collectors": 1},
        {"collectors": 9},
        {"loss": 1.5},
        {"loss": float("nan")},
        {"kill_at": 50.0},
        {"seconds": 4000.0},
    ],
)
def test_what_cannot_be_run_is_refused(wrong):
    """With the option's name."""
    with pytest.raises(OptionError):
        Fleet(**{**SMALL, **wrong})
