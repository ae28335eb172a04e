"""Joining midway: what a session sent before this receiver could remember is `before_join`, neither lost nor delivered."""

import pytest

from atmost.core.events import LateArrival, SessionOpened
from tests.core.twins import Receiving

YEAR_US = 365 * 86_400_000_000


def joined(there, **fields):
    """A session that began long ago and is at number 100 and message 1000."""
    return there.hand(1, age_us=YEAR_US, **{"sequence": 100, "prior": 1000, **fields})


def test_r19_a_session_from_before_the_floor_joins_where_it_is():
    """§6: origin O is the smallest `prior` accepted; the messages before it are `before_join`."""
    there = Receiving()
    hand = joined(there)
    there.take(hand.data(5))
    ledger = there.ledger()
    assert (ledger.sent, ledger.before_join, ledger.delivered, ledger.lost, ledger.pending) == (1005, 1000, 5, 0, 0)
    (opened,) = (event for event in there.events if isinstance(event, SessionOpened))
    assert opened.before_join == 1000


def test_r19_a_session_that_began_after_the_floor_lost_what_came_before():
    """§6: it began under this receiver's eyes, so O is 0 and what is missing at its beginning is missing."""
    there = Receiving()
    hand = there.hand(sequence=3, prior=7)
    there.take(hand.data())
    ledger = there.ledger()
    assert (ledger.before_join, ledger.pending, ledger.sent) == (0, 7, 8)
    there.settle_all()
    assert there.ledger().lost == 7


@pytest.mark.parametrize(("above_us", "before_join"), [(0, 7), (1, 0)])
def test_r19_the_floor_itself_is_before(above_us, before_join):
    """§6: O = 0 only when the session began above the floor; at the floor it may have been forgotten."""
    there = Receiving()
    hand = there.hand(sequence=3, prior=7)
    hand.start_us = there.core.floor_us + above_us
    there.take(hand.data())
    assert there.ledger().before_join == before_join


def test_r19_a_late_datagram_below_the_join_point_moves_it_down():
    """§6: O becomes the smaller `prior`; what lies between is missing now."""
    there = Receiving()
    hand = joined(there)
    early = [hand.data(2) for _ in range(4)]
    there.take(hand.data(2))
    assert there.ledger().before_join == 1008
    there.take(early[1])
    ledger = there.ledger()
    assert (ledger.before_join, ledger.delivered, ledger.pending) == (1002, 4, 4)
    there.take(early[3])
    assert there.ledger().pending == 2
    there.take(early[2])
    ledger = there.ledger()
    assert (ledger.before_join, ledger.delivered, ledger.pending) == (1002, 8, 0)
    there.take(early[0])
    ledger = there.ledger()
    assert (ledger.before_join, ledger.delivered, ledger.pending) == (1000, 10, 0)


def test_r19_a_late_beacon_below_the_join_point_moves_it_too():
    """§6: E and O are told by datagrams of any type."""
    there = Receiving()
    hand = joined(there)
    beacon = hand.beacon()
    missing = hand.data(3)
    there.take(hand.data(), beacon)
    ledger = there.ledger()
    assert (ledger.before_join, ledger.pending) == (1000, 3)
    there.take(missing)
    ledger = there.ledger()
    assert (ledger.delivered, ledger.pending) == (4, 0)


def test_r19_what_is_missing_below_the_join_point_is_lost_after_its_own_grace():
    """R19: its grace begins when it is noticed, which may be long after the gaps above it."""
    there = Receiving(grace=1.0)
    hand = joined(there)
    early = hand.data()
    between = hand.data(3)
    there.take(hand.data())
    hand.skip(5)
    there.take(hand.data())
    there.settle(2.0)
    assert there.ledger().lost == 5
    there.take(early)
    assert there.ledger().pending == 3
    there.settle(1.0)
    there.settle(1.0)
    assert there.ledger().lost == 8
    there.take(between)
    ledger = there.ledger()
    assert (ledger.lost, ledger.late, ledger.delivered) == (5, 3, 6)
    assert LateArrival(there.events[0].session, 3) in there.events


def test_r19_below_the_window_nothing_moves_the_join_point():
    """R11.4: too old is too old, joined or not."""
    there = Receiving(window=4)
    hand = joined(there)
    early = [hand.data() for _ in range(4)]
    there.take(hand.data())
    there.take(early[1])
    there.refusal(early[0])
    ledger = there.ledger()
    assert (ledger.before_join, ledger.delivered, ledger.pending) == (1001, 2, 2)


def test_r19_in_every_order_the_account_is_the_same():
    """R19: the order of arrival decides what is late, never what is missing."""
    for rotation in range(6):
        there = Receiving()
        hand = joined(there)
        made = [hand.data(2) for _ in range(6)]
        order = made[rotation:] + made[:rotation]
        there.take(*order[:5])
        ledger = there.ledger()
        missing = (rotation + 5) % 6
        assert ledger.delivered == 10
        if missing == 0:
            assert (ledger.before_join, ledger.pending, ledger.sent) == (1002, 0, 1012)
        elif missing == 5:
            assert (ledger.before_join, ledger.pending, ledger.sent) == (1000, 0, 1010)
        else:
            assert (ledger.before_join, ledger.pending, ledger.sent) == (1000, 2, 1012)
