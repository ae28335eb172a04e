"""R11.7 and R16, exhaustively: whatever anybody sends in a session's name, the account stays possible, and honest senders are not refused."""

from dataclasses import replace
from itertools import product

import pytest

from atmost.core import gaps
from atmost.core.datagram import Kind
from atmost.core.receiving import ReceiverOptions
from atmost.lab.guarantee.cores import ObservedReceiver
from tests.model.density import Datagram, Rules, State, explore
from tests.real import forge

BEGAN = Rules()
JOINED = Rules(exact=False)
FULL = Rules(numbers=4, most=2)
FULL_JOINED = Rules(numbers=4, most=2, exact=False)


@pytest.mark.parametrize(
    ("rules", "states"),
    [
        pytest.param(BEGAN, 9_582, id="began"),
        pytest.param(JOINED, 8_181, id="joined"),
        pytest.param(FULL, 6_291, id="two messages", marks=pytest.mark.slow),
        pytest.param(FULL_JOINED, 5_725, id="two messages, joined", marks=pytest.mark.slow),
    ],
)
def test_r11_r16_no_datagram_breaks_the_account_or_invents_more_than_its_distance(rules: Rules, states: int) -> None:
    """Exact, so that a change that makes the model visit less does not go unseen."""
    found = explore(rules)
    assert found.broken == {}
    assert found.states == states
    assert {"accepted", "duplicate", "inconsistent", "implausible"} <= set(found.verdicts)


MUTANTS = {
    "a higher number may have earlier messages": (replace(BEGAN, earlier=False), "negative"),
    "any number of messages fits below a higher number": (replace(BEGAN, upwards=False), "invented"),
    "any number of messages fits below the join point": (replace(JOINED, downwards=False), "invented"),
    "a late one may have more messages than are missing": (replace(BEGAN, room=False), "negative"),
    "a late one need not fit its gap": (replace(BEGAN, neighbours=False), "left"),
    "a late one is held against its lower neighbour only": (replace(BEGAN, lower_only=True), "left"),
    "a first datagram may have anything before it": (replace(BEGAN, opening=False), "invented"),
    "a jump of the window's width needs no second witness": (replace(BEGAN, jump_of_window=True), "jumped"),
    "anything later is a second witness": (replace(BEGAN, any_witness=True), "witness"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_rule_that_is_left_out_is_found(name: str) -> None:
    """Each breaks the property it is there for."""
    rules, property_of_it = MUTANTS[name]
    assert property_of_it in explore(rules).broken


STARTED_US, SENT_US, READ_US = 1_000, 2_000, 3_000


def real_verdict(rules: Rules, path: tuple[Datagram, ...]) -> str:
    """What the product makes of the last of these datagrams, with C as small as in the model."""
    core = ObservedReceiver(ReceiverOptions(future_bound=0, clock_guard=0, window=rules.window), STARTED_US)
    start_us = STARTED_US + 1 if rules.exact else STARTED_US
    for given in path:
        core.refused = None
        sealed = forge(
            [("a", number) for number in range(given.count)],
            kind=Kind.DATA if given.count else Kind.BEACON,
            sequence=given.sequence,
            prior=given.prior,
            start_us=start_us,
            sent_us=SENT_US,
        )
        core.receive(sealed, 0.0, READ_US)
    return "accepted" if core.refused is None else core.refused.value


@pytest.mark.parametrize("rules", [BEGAN, JOINED], ids=["began", "joined"])
def test_the_product_decides_as_the_model_does(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every two datagrams that leave a trace, on every third one of some thousand."""
    monkeypatch.setattr(gaps, "MAX_COUNT", rules.most)
    everything = list(rules.all_datagrams())
    paths: list[tuple[State, tuple[Datagram, ...]]] = [(None, ())]
    compared = 0
    for length in range(3):
        following: list[tuple[State, tuple[Datagram, ...]]] = []
        known: set[State] = set()
        for (state, path), given in product(paths, everything):
            after, verdict = rules.receive(state, given)
            if after not in known and after != state:
                known.add(after)
                following.append((after, (*path, given)))
            if length < 2 or compared % 3 == 0:
                assert real_verdict(rules, (*path, given)) == verdict, (*path, given)
            compared += 1
        paths = following
    assert compared > 10_000
