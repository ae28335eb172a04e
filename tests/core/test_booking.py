"""R19: from missing to lost, and what a late arrival does to it."""

from atmost.core import booking
from atmost.core import gaps as gaps_module
from atmost.core.events import LateArrival, Loss, RefusalReason
from tests.core.twins import Receiving, datagram


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


def test_r19_nothing_is_lost_at_the_first_gap():
    """R19: a higher number makes the ones before it missing; that they are lost is said after the grace."""
    there = Receiving(grace=1.0)
    with_a_gap(there)
    ledger = there.ledger()
    assert (ledger.pending, ledger.lost) == (6, 0)
    assert losses(there.events) == []


def test_r19_missing_is_lost_between_one_and_two_graces():
    """R19: not before one grace has passed since it was noticed, and not after two."""
    there = Receiving(grace=1.0)
    with_a_gap(there)
    assert losses(there.settle(0.99)) == []
    assert losses(there.settle(0.01)) == [(6, "in_flight", 3, 4)]
    assert losses(there.settle(5.0)) == []
    ledger = there.ledger()
    assert (ledger.pending, ledger.lost) == (0, 6)


def test_r19_a_gap_noticed_later_waits_for_the_next_turn():
    """R19: one timer a session: what was noticed in the middle of a grace is lost at the end of the next."""
    there = Receiving(grace=1.0)
    hand, _ = with_a_gap(there)
    there.settle(0.5)
    hand.skip(10)
    there.take(hand.data())
    assert losses(there.settle(0.5)) == [(6, "in_flight", 3, 4)]
    assert losses(there.settle(0.99)) == []
    assert losses(there.settle(0.01)) == [(10, "in_flight", 6, 6)]


def test_r19_who_sleeps_until_the_deadline_finds_every_loss():
    """R19: nothing stays pending for want of a turn."""
    there = Receiving(grace=1.0)
    hand = there.hand()
    for _ in range(20):
        there.take(hand.data())
        hand.skip()
        there.take(hand.data())
        there.settle(0.3)
    while there.core.next_deadline() is not None:
        there.settle(there.core.next_deadline() - there.now)
    assert there.ledger().lost == 20


def test_r19_a_late_arrival_within_the_grace_was_never_lost():
    """R19: it fills its gap, and nobody hears of a loss."""
    there = Receiving(grace=1.0)
    _, missing = with_a_gap(there)
    there.take(*missing)
    there.settle_all()
    ledger = there.ledger()
    assert (ledger.lost, ledger.late, ledger.delivered) == (0, 0, 9)
    assert losses(there.events) == []


def test_r19_a_late_arrival_after_the_grace_is_delivered_and_booked_as_late():
    """R19: visible: it lowers the loss, and `lost_total` stays what was announced."""
    there = Receiving(grace=1.0)
    _, missing = with_a_gap(there)
    there.settle(1.0)
    said = there.take(missing[1])
    session = there.events[0].session
    assert said[0] == LateArrival(session, 3)
    assert [event.payload for event in said[1:]] == [5, 6, 7]
    account = there.core._table.sessions[session.key].account
    assert (account.lost_total, account.late_total) == (6, 3)
    ledger = there.ledger()
    assert (ledger.lost, ledger.late, ledger.delivered, ledger.pending) == (3, 3, 6, 0)


def test_r19_a_late_beacon_is_no_late_arrival():
    """R19: it holds no messages, so nothing is booked, and `late_total` counts messages only."""
    there = Receiving(grace=1.0)
    hand = there.hand()
    there.take(hand.beacon())
    beacon = hand.beacon()
    hand.skip(2)
    there.take(hand.data())
    there.settle(1.0)
    assert there.take(beacon) == []
    assert there.ledger().late == 0


def test_r19_what_leaves_the_window_is_lost_at_once():
    """R19, R11.4: it can never arrive, so it need not wait for its grace."""
    there = Receiving(window=6, grace=1000.0)
    hand, missing = with_a_gap(there)
    there.take(hand.data(), hand.data())
    there.take(hand.data(), hand.data())
    assert losses(there.events) == []
    assert losses(there.take(hand.data())) == [(6, "in_flight", 3, 4)]
    there.refusal(missing[1])
    assert there.ledger().lost == 6


def test_r19_with_a_window_of_one_everything_missing_is_lost_at_once():
    """R19: nothing can arrive late."""
    there = Receiving(window=1, grace=1000.0)
    hand = there.hand()
    there.take(hand.beacon())
    hand.skip(3)
    there.take(hand.data(), hand.data())
    assert losses(there.events) == [(4, "in_flight", 1, 2)], "the first of the two confirms nothing by itself (R16)"


def test_r19_an_evicted_session_loses_what_was_pending():
    """R19: forgotten, it can accept nothing any more; what was missing is lost, and the totals keep it."""
    there = Receiving(max_sessions=1, grace=1000.0)
    _, missing = with_a_gap(there)
    there.take(missing[0])
    there.pass_time(10)
    assert losses(there.take(there.hand(2).data())) == [(3, "in_flight", 3, 4)]
    ledger = there.ledger()
    assert (ledger.lost, ledger.pending, ledger.delivered, ledger.sent) == (3, 0, 7, 10)
    assert losses(there.settle(2000.0)) == [], "and not a second time"
    assert there.ledger().lost == 3


def test_r19_eviction_keeps_late_and_lost_apart():
    """R19: the totals of forgotten sessions are those the ledger showed before."""
    there = Receiving(max_sessions=1, grace=1.0)
    _, missing = with_a_gap(there)
    there.settle(1.0)
    there.take(missing[0])
    before = there.ledger()
    there.pass_time(10)
    there.take(there.hand(2).beacon())
    after = there.ledger()
    assert (after.lost, after.late, after.delivered) == (before.lost, before.late, before.delivered) == (3, 3, 6)


def test_r19_the_list_of_gaps_is_capped_and_the_sum_is_kept(monkeypatch):
    """R19: beyond `MAX_GAPS` the oldest two are joined: less is known of where, nothing less of how much."""
    monkeypatch.setattr(gaps_module, "MAX_GAPS", 3)
    there = Receiving(grace=1.0)
    hand = there.hand()
    missing = []
    for _ in range(10):
        there.take(hand.data())
        missing.append(hand.data(2))
        there.take(hand.data())
    (state,) = there.core._table.sessions.values()
    assert len(state.gaps) == 3
    assert there.ledger().pending == 20
    there.take(missing[0], missing[4], missing[9])
    assert there.ledger().pending == 14
    there.settle_all()
    assert there.ledger().lost == 14


def test_r19_the_gaps_of_all_sessions_are_capped_too(monkeypatch):
    """R19: with the total used up, a session joins gaps of its own, and none has fewer than one."""
    monkeypatch.setattr(booking, "MAX_GAPS_TOTAL", 4)
    there = Receiving(grace=1.0)
    hands = [there.hand(number) for number in range(6)]
    for _ in range(4):
        for hand in hands:
            there.take(hand.data())
            hand.skip(2)
            there.take(hand.data())
    kept = sum(len(state.gaps) for state in there.core._table.sessions.values())
    assert kept <= 4 + len(hands)
    assert there.core._books.gap_total == kept
    there.settle_all()
    assert there.ledger().lost == 48


def test_r19_a_joined_gap_that_was_partly_lost_is_lost(monkeypatch):
    """R19: a lost gap that is joined with a pending one makes it lost now, and its messages are booked once."""
    monkeypatch.setattr(gaps_module, "MAX_GAPS", 1)
    there = Receiving(grace=1.0)
    hand, missing = with_a_gap(there)
    there.settle(1.0)
    more = hand.data(5)
    assert losses(there.take(hand.data())) == [(5, "in_flight", 6, 6)]
    there.settle_all()
    assert there.ledger().lost == 11
    there.take(*missing, more)
    ledger = there.ledger()
    assert (ledger.lost, ledger.late) == (0, 11)


def test_r19_a_joined_gap_below_the_join_point_is_lost_once(monkeypatch):
    """R19: the older gap may be the one noticed later; whichever was lost, each message is booked once."""
    monkeypatch.setattr(gaps_module, "MAX_GAPS", 1)
    there = Receiving(grace=1.0)
    hand = there.hand(age_us=10**12, sequence=100, prior=1000)
    early = hand.data()
    hand.skip(7)
    there.take(hand.data())
    hand.skip(9)
    there.take(hand.data())
    there.settle(2.0)
    assert there.ledger().lost == 9
    assert losses(there.take(early)) == [(7, "unknown", 101, 101)]
    there.settle_all()
    ledger = there.ledger()
    assert (ledger.lost, ledger.pending) == (16, 0)


def test_r19_gaps_without_messages_are_none():
    """R19: lost beacons leave numbers missing and no message."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.beacon())
    hand.skip(0)
    hand.skip(0)
    there.take(hand.data())
    assert there.core.next_deadline() is None
    assert there.ledger().pending == 0


def test_r11_a_late_beacon_that_claims_more_than_the_highest_is_inconsistent():
    """R11.7: E is the greatest end of what was accepted; a number below the highest cannot come after more messages.

    Found by the simulator: a stranger without a key numbers ahead in a sender's name, and the sender's own goodbye comes late.
    """
    there = Receiving()
    hand = there.hand()
    there.take(hand.data())
    there.take(datagram(start_us=hand.start_us, random64=hand.random64, sequence=31, prior=1, sent_us=hand.sent_us))
    hand.sequence, hand.prior = 20, 10
    assert there.refusal(hand.beacon()) is RefusalReason.INCONSISTENT
    assert there.ledger().sent == 2
