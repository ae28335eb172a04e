"""R20: where a message was lost: at the sender's socket, as its beacons report, or in flight."""

from atmost.core.events import Loss
from tests.core.twins import Receiving


def losses(events):
    """What was reported lost: count, place, and the numbers it was lost between."""
    return [(e.count, e.place.value, e.first_sequence, e.last_sequence) for e in events if isinstance(e, Loss)]


def with_a_gap(there, *, numbers=2, messages=3):
    """A session at number 5 after `numbers` datagrams of `messages` messages are missing; and those datagrams."""
    hand = there.hand()
    there.take(hand.beacon(), *(hand.data() for _ in range(2)))
    missing = [hand.data(messages) for _ in range(numbers)]
    there.take(hand.data())
    return hand, missing


def test_r20_what_the_senders_socket_refused_is_lost_there():
    """R20: a beacon that reports refusals explains so much of the loss; the rest was lost in flight."""
    there = Receiving(grace=1.0)
    hand, _ = with_a_gap(there)
    there.take(hand.beacon(refused={"ENOBUFS": 3, "EPERM": 1}))
    assert losses(there.settle(1.0)) == [(4, "sender_socket", 3, 4), (2, "in_flight", 3, 4)]
    assert there.ledger().lost_by_place == {"sender_socket": 4, "in_flight": 2}
    assert there.ledger().sessions[0].lost_by_place == {"sender_socket": 4, "in_flight": 2}


def test_r20_a_report_that_comes_later_moves_the_loss_to_its_place():
    """R20: what was announced stays announced; the ledger divides by what is known now."""
    there = Receiving(grace=1.0)
    hand, _ = with_a_gap(there)
    assert losses(there.settle(1.0)) == [(6, "in_flight", 3, 4)]
    there.take(hand.beacon(refused={"EPERM": 6}))
    assert there.ledger().lost_by_place == {"sender_socket": 6, "in_flight": 0}


def test_r20_a_refusal_explains_one_loss():
    """R20: reports are cumulative: what explained the first gap does not explain the second again."""
    there = Receiving(grace=1.0)
    hand, _ = with_a_gap(there)
    there.take(hand.beacon(refused={"EPERM": 6}))
    there.settle(1.0)
    hand.skip(5)
    there.take(hand.beacon(refused={"EPERM": 7}))
    assert losses(there.settle(1.0)) == [(1, "sender_socket", 7, 7), (4, "in_flight", 7, 7)]
    assert there.ledger().lost_by_place == {"sender_socket": 7, "in_flight": 4}


def test_r20_more_refused_than_lost_explains_what_is_lost():
    """R20: a report may run ahead of the grace, or lie; no place is ever below 0."""
    there = Receiving(grace=1.0)
    hand, _ = with_a_gap(there)
    there.take(hand.beacon(refused={"EPERM": 1000}))
    assert there.ledger().lost_by_place == {"sender_socket": 0, "in_flight": 0}
    there.settle(1.0)
    assert there.ledger().lost_by_place == {"sender_socket": 6, "in_flight": 0}


def test_r20_refusals_before_joining_explain_no_loss():
    """R20: the first report of a session joined midway counts what happened before."""
    there = Receiving(grace=1.0)
    hand = there.hand(age_us=10**12, sequence=100, prior=1000)
    there.take(hand.beacon(refused={"EPERM": 50}))
    hand.skip(3)
    there.take(hand.beacon(refused={"EPERM": 52}))
    there.settle(1.0)
    assert there.ledger().lost_by_place == {"sender_socket": 2, "in_flight": 1}


def test_r20_an_older_report_that_comes_late_changes_nothing():
    """R5: reports are cumulative, so the highest number has the latest."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.beacon(offered=1))
    older, newer = hand.beacon(offered=2), hand.beacon(offered=3, name="new")
    there.take(newer, older)
    (row,) = there.ledger().sessions
    assert (row.sender_offered, row.name) == (3, "new")


def test_r20_forgotten_sessions_keep_their_places():
    """R20: the totals divide the loss as the sessions did."""
    there = Receiving(max_sessions=1, grace=1.0)
    hand, _ = with_a_gap(there)
    there.take(hand.beacon(refused={"EPERM": 2}))
    there.pass_time(10)
    there.take(there.hand(2).data())
    assert there.ledger().lost_by_place == {"sender_socket": 2, "in_flight": 4}
