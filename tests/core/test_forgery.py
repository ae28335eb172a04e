"""Without a key anybody can make datagrams: whatever they claim, nothing repeats, nothing grows, and the account holds (R11.7, R16)."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atmost.core import gaps
from atmost.core.datagram import Kind
from atmost.core.events import LateArrival, Loss, Message
from atmost.core.keys import KeyMode, keyring, new_key
from atmost.core.limits import MAX_COUNT, WINDOW
from tests.core.twins import FUTURE_US, Hand, Receiving, beacon_body, datagram, messages

AGES_US = [-1, 0, 10**12, 10**12]
"""How long before the first floor each session began: just after it, at it, and long ago."""
EDGES = [10**6, 10**6 + 13, 2**32, 2**62, 2**63 - 2, 2**63, 2**64 - 1]
# How much further on in datagrams and in messages.
FORWARD = st.tuples(st.integers(1, 4), st.integers(-1, 3))
LATE = st.tuples(st.integers(-6, 0), st.integers(-10, 0))
WILD = st.tuples(st.sampled_from([1, *EDGES]), st.sampled_from([0, *EDGES]))
FORGED = st.fixed_dictionaries(
    {
        "who": st.integers(0, 3),
        "kind": st.sampled_from([Kind.DATA, Kind.DATA, Kind.DATA, Kind.BEACON, Kind.GOODBYE]),
        "on": st.one_of(FORWARD, LATE, FORWARD, LATE, WILD),
        "count": st.integers(1, 3),
        "ahead_us": st.sampled_from([-10, 0, 0, 0, 1, FUTURE_US]),
        "refused": st.sampled_from([0, 0, 1, 2**63]),
        "wait_us": st.sampled_from([0, 0, 0, 1, 400_000, 1_000_000]),
        "again": st.sampled_from([None, None, None, 0, 1, 5, 20]),
    }
)


def forge(there, base_us, claim):
    """A datagram that claims to be this much further on than what was last believed of its session; its tag is right."""
    hand = Hand(base_us - AGES_US[claim["who"]], claim["who"])
    state = there.core._table.sessions.get(hand.key)
    highest, end = (state.window.highest, state.account.end) if state is not None else (20, 40)
    data = claim["kind"] is Kind.DATA
    return datagram(
        kind=claim["kind"],
        start_us=hand.start_us,
        random64=hand.random64,
        sequence=(highest + claim["on"][0]) % 2**64,
        prior=(end + claim["on"][1]) % 2**64,
        sent_us=there.wall_us + claim["ahead_us"],
        items=messages(*range(claim["count"])) if data else [],
        body=None if data else beacon_body(refused={"EPERM": claim["refused"]}),
    )


@settings(max_examples=600)
@given(
    st.lists(FORGED, min_size=1, max_size=40), st.sampled_from([1, 2, 4, 8, 8]), st.integers(1, 3), st.integers(1, 3)
)
def test_r16_whatever_strangers_claim_the_account_holds(claims, window, sessions, cap):
    """R11.7, R16, R20: missing is never below 0, losses are announced once, nothing is delivered twice, memory is bounded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaps, "MAX_GAPS", cap)
        there = Receiving(window=window, max_sessions=sessions)
        base_us, floor_us, announced = there.core.floor_us, there.core.floor_us, 0
        tape = []
        for claim in claims:
            tape.append(forge(there, base_us, claim))
            there.take(tape[-1])
            if claim["again"] is not None:
                there.take(tape[-1 - claim["again"] % len(tape)])
            there.settle(claim["wait_us"] / 1e6)
            ledger = there.ledger()
            assert announced <= ledger.lost + ledger.late
            announced = ledger.lost + ledger.late
            assert floor_us <= there.core.floor_us
            floor_us = there.core.floor_us
            states = there.core._table.sessions.values()
            assert len(states) <= sessions
            assert all(state.gaps is None or len(state.gaps) <= cap for state in states)
            assert all(state.window.unseen >> window == 0 for state in states)
        there.settle_all()
        ledger = there.ledger()
        assert ledger.pending == 0
        assert sum(event.count for event in there.events if isinstance(event, Loss)) == ledger.lost + ledger.late
        assert sum(event.count for event in there.events if isinstance(event, LateArrival)) == ledger.late
        heard = Counter(
            (event.session.key, event.arrival.sequence, event.arrival.sent_us, event.payload)
            for event in there.events
            if isinstance(event, Message)
        )
        assert not heard or max(heard.values()) == 1


MOST_INVENTED = MAX_COUNT * (WINDOW // 2)
"""C times the jump: what one datagram without a key can invent (docs/security.md)."""
OBSERVED = {
    "the next number": lambda hand: {"sequence": hand.sequence, "prior": hand.prior},
    "a higher number": lambda hand: {"sequence": hand.sequence + 40, "prior": hand.prior},
    "half a window ahead": lambda hand: {
        "sequence": hand.sequence - 1 + WINDOW // 2,
        "prior": hand.prior + MAX_COUNT * (WINDOW // 2 - 1),
    },
    "a million messages between": lambda hand: {"sequence": hand.sequence, "prior": hand.prior + 10**6},
    "the last number": lambda hand: {"sequence": 2**64 - 1, "prior": hand.prior},
    "late, with prior 0": lambda hand: {"sequence": hand.sequence - 3, "prior": 0},
}


@pytest.mark.parametrize("way", OBSERVED)
def test_r16_what_an_observer_can_do_is_bounded(way):
    """R16: one who knows all 18 bytes, all numbers and all counts invents a bounded number of messages, and repeats nothing."""
    there = Receiving()
    hands = [there.hand(number) for number in range(1, 6)]
    forgeries = 0
    for turn in range(60):
        for hand in hands:
            if turn and turn % 20 == 0:
                there.take(datagram(**hand_fields(hand), **OBSERVED[way](hand), items=messages("forged")))
                forgeries += 1
            hand.sent_us = there.wall_us
            there.take(hand.data())
        there.pass_time(10_000)
    there.settle_all()
    ledger = there.ledger()
    honest = [payload for payload in there.payloads if payload != "forged"]
    assert all(times <= len(hands) for times in Counter(honest).values())
    sent = sum(hand.prior for hand in hands)
    assert ledger.sent - sent <= forgeries * MOST_INVENTED
    assert ledger.delivered == len(there.payloads)


def test_with_a_key_an_observer_can_do_nothing():
    """R16: the cure. What is forged is refused, and every honest message arrives."""
    key = new_key(bytes(range(32)), 5, KeyMode.SIGNED)
    there = Receiving(keys=keyring([key], ""))
    hand = there.hand()
    seal = key.seals("")(b"\x00\x05" + hand.key[2:])
    for _ in range(50):
        hand.sent_us = there.wall_us
        for forge_it in OBSERVED.values():
            forged = {"key_id": 5, **hand_fields(hand), **forge_it(hand), "items": messages("forged")}
            if forged["sequence"] >= 0:
                there.take(datagram(**forged))
        there.take(hand.data(key_id=5, seal=seal))
        there.pass_time(10_000)
    there.settle_all()
    ledger = there.ledger()
    assert there.payloads == list(range(50))
    assert (ledger.sent, ledger.lost, ledger.pending) == (50, 0, 0)
    assert set(ledger.refused) <= {"auth_failed", "duplicate", "boot_quarantine"}


def hand_fields(hand):
    """What an observer reads in a sender's datagrams."""
    return {"start_us": hand.start_us, "random64": hand.random64, "sent_us": hand.sent_us}
