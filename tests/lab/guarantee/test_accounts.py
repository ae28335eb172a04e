"""Lost is lost: where nothing but the link and the sockets lose, the ledger has their number, to the message (R19, R20)."""

from dataclasses import replace
from random import Random

import pytest

from atmost.core.receiving import ReceiverOptions
from atmost.core.sending import SenderOptions
from atmost.lab.faults import LinkFaults
from atmost.lab.guarantee.parameters import Chances, Parameters, draw
from atmost.lab.guarantee.running import Run, simulate

QUIET = Parameters(
    receiver=ReceiverOptions(future_bound=0.05, clock_guard=0.05, window=64, max_sessions=64, grace=0.05),
    max_queue=4096,
    kernel_buffer=4096,
    sender=SenderOptions(linger=0.0),
    senders=3,
    payload=0,
    burst=5,
    pause=0.02,
    faults=LinkFaults(),
    chances=Chances(waiting=1.0),
    wild_clocks=False,
    workers=False,
)
"""One life of one receiver, and no trouble."""


def run_with(seed: int, *, refusal: float = 0.0, linger: float = 0.0, **faults: float) -> Run:
    """A run of `QUIET` with these faults only."""
    parameters = replace(
        QUIET,
        faults=LinkFaults(**faults),
        sender=SenderOptions(linger=linger, max_hold=0.0),
        chances=replace(QUIET.chances, refusal=refusal),
    )
    run = simulate(seed, parameters=parameters)
    assert run.violations == ()
    assert run.ledger is not None
    return run


def test_nothing_is_lost_where_nothing_loses():
    """Every message offered is delivered."""
    run = run_with(1)
    assert run.ledger.delivered == run.ledger.sent == run.figures["messages_offered"] > 0
    assert run.ledger.lost == 0


@pytest.mark.parametrize("linger", [0.0, 0.05], ids=["one message a datagram", "many"])
@pytest.mark.parametrize("faults", [{"loss": 0.3}, {"loss": 0.2, "burst": 10}, {"loss": 0.2, "reorder": 0.3}])
@pytest.mark.parametrize("seed", range(3))
def test_lost_is_what_the_link_lost(seed, faults, linger):
    """Counted lost minus truly lost is 0, alone and in bursts, whatever the datagrams hold."""
    run = run_with(seed, linger=linger, **faults)
    assert run.ledger.lost == run.link.dropped_messages > 0
    assert run.ledger.lost_by_place == {"sender_socket": 0, "in_flight": run.ledger.lost}
    assert run.ledger.delivered + run.ledger.lost == run.ledger.sent


@pytest.mark.parametrize("seed", range(3))
def test_damaged_is_lost_too(seed):
    """A datagram with a flipped bit is refused, and its messages are lost."""
    run = run_with(seed, corrupt=0.2)
    assert run.ledger.lost == run.link.corrupted_messages > 0
    assert sum(run.ledger.refused.values()) > 0


@pytest.mark.parametrize("seed", range(3))
def test_copies_are_not_loss(seed):
    """Duplicates are refused and change no figure of the account."""
    run = run_with(seed, duplicate=0.5, copies=7)
    assert run.ledger.delivered == run.ledger.sent == run.figures["messages_offered"]
    assert run.ledger.refused == {"duplicate": run.link.extra_copies}


def test_a_run_can_end_without_a_ledger():
    """Nobody was listening when everything had settled."""
    chances = replace(QUIET.chances, receiver_crash=0.6)
    runs = [simulate(seed, parameters=replace(QUIET, chances=chances), steps=30) for seed in range(20)]
    assert any(run.ledger is None for run in runs)
    assert not any(run.violations for run in runs)


def test_swarm_parameters_differ():
    """Each kind of trouble is left out of many runs, and in many."""
    drawn = [draw(Random(f"parameters {seed}")) for seed in range(200)]
    for name in Chances.__dataclass_fields__:
        without = sum(getattr(parameters.chances, name) == 0 for parameters in drawn)
        assert 20 < without < 180
    assert {parameters.receiver.window for parameters in drawn} >= {1, 2, 3, 4, 5, 8}
    assert max(parameters.receiver.window for parameters in drawn) <= 64
    assert {parameters.receiver.max_sessions for parameters in drawn} == set(range(1, 9))
    assert {parameters.faults.copies for parameters in drawn} >= {2, 1000}
