"""R18 and R23: clocks that harm are named, and a flood of trouble is one event with a count."""

from atmost.core.events import ClockAlarm, ClockTrouble, DatagramRefused, QueueOverflow, RefusalReason
from atmost.core.limits import EPISODE
from tests.core.twins import FUTURE_US, Receiving


def refused(events):
    """The counts of what was reported refused."""
    return [event.count for event in events if isinstance(event, DatagramRefused)]


def test_r23_a_flood_is_reported_once_and_then_with_its_count():
    """R23: the first at once, then silence, then one event for the rest; never one for each."""
    there = Receiving()
    flood = [b"noise"] * 1000
    assert refused(there.take(*flood)) == [1]
    assert there.ledger().refused == {"malformed": 1000}
    assert refused(there.settle(EPISODE - 0.1)) == []
    assert refused(there.settle(0.1)) == [999]
    assert refused(there.take(*flood)) == []
    assert refused(there.settle(EPISODE)) == [1000]
    assert refused(there.settle(EPISODE)) == []


def test_r23_an_episode_that_is_over_begins_anew():
    """R23: after a quiet while the next occurrence is news again."""
    there = Receiving()
    there.take(b"noise")
    there.settle(EPISODE)
    assert refused(there.take(b"noise")) == [1]


def test_r23_each_reason_and_each_sender_has_its_own_episode():
    """R23: one sender's trouble does not hide another's."""
    there = Receiving()
    hands = [there.hand(number) for number in range(3)]
    again = [hand.data() for hand in hands]
    there.take(*again)
    assert refused(there.take(*again, *again, b"noise", b"noise")) == [1, 1, 1, 1]
    counts = [(event.reason, event.count) for event in there.settle(EPISODE) if isinstance(event, DatagramRefused)]
    assert sorted(counts) == [("duplicate", 1)] * 3 + [("malformed", 1)]


def test_r23_the_core_asks_to_be_called_when_something_is_to_be_told():
    """R23: `next_deadline` is the earliest of what waits: the end of a silence, or of a grace."""
    there = Receiving(grace=1.0)
    assert there.core.next_deadline() is None
    there.take(b"noise")
    assert there.core.next_deadline() == there.now + EPISODE
    hand = there.hand()
    hand.skip()
    there.take(hand.data())
    assert there.core.next_deadline() == there.now + 1.0
    there.settle(1.0)
    assert there.core.next_deadline() > there.now
    there.settle(EPISODE)
    assert there.core.next_deadline() is None


def test_r18_a_receivers_clock_that_steps_back_is_told():
    """R18: visible, not fatal: the event says by how much, the ledger how often."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.data())
    there.wall_us -= 200_000
    said = there.take(hand.data())
    alarm = ClockAlarm(ClockTrouble.STEPPED_BACK, 1, None, 0.2)
    assert alarm in said
    assert there.ledger().clock_troubles["stepped_back"] == 1
    assert there.payloads == [0, 1]
    there.take(hand.data())
    assert there.ledger().clock_troubles["stepped_back"] == 1, "the clock goes on from there"


def test_r18_a_clock_that_trembles_is_one_episode():
    """R18, R23: the count comes with the end of the silence."""
    there = Receiving()
    there.take(b"noise")
    for _ in range(20):
        there.wall_us -= 10
        there.take(b"noise")
        there.wall_us += 5
        there.take(b"noise")
    alarms = [event for event in there.events if isinstance(event, ClockAlarm)]
    assert [event.count for event in alarms] == [1]
    (late,) = [event for event in there.settle(EPISODE) if isinstance(event, ClockAlarm)]
    assert (late.count, late.session) == (19, None)


def test_r18_a_sender_ahead_of_the_receiver_is_named():
    """R18: within F it is accepted, and the delay below zero is told with the session that shows it."""
    there = Receiving()
    hand = there.hand()
    hand.sent_us += FUTURE_US
    said = there.take(hand.data())
    (alarm,) = [event for event in said if isinstance(event, ClockAlarm)]
    assert (alarm.trouble, alarm.session.key, alarm.seconds) == (ClockTrouble.NEGATIVE_DELAY, hand.key, 0.5)
    assert there.ledger().clock_troubles["negative_delay"] == 1


def test_r18_a_clock_beyond_f_is_refused_and_the_sender_named():
    """R18: where its session is known, the refusal says whose clock it is."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.data())
    hand.sent_us += FUTURE_US + 1
    (event,) = there.take(hand.data())
    assert (event.reason, event.session.key) == (RefusalReason.FUTURE, hand.key)


def test_r18_a_clock_that_nobody_keeps_is_told():
    """R18: the system's word that its clock is not synchronised is an event and a count, and changes nothing else."""
    there = Receiving()
    assert there.core.unsynchronised(there.now) == [ClockAlarm(ClockTrouble.UNSYNCHRONISED, 1, None, 0.0)]
    assert there.core.unsynchronised(there.now) == []
    assert there.ledger().clock_troubles == {"unsynchronised": 2}
    there.take(there.hand().data())
    assert there.payloads == [0]


def test_r18_equal_clocks_are_no_trouble():
    """R18: a datagram that took no time at all is not ahead."""
    there = Receiving()
    there.take(there.hand().data())
    assert there.ledger().clock_troubles == {}


def test_r14_overflow_is_told_once_and_then_with_its_count():
    """R14, R23: the first drop at once, the rest together."""
    there = Receiving()
    there.take(there.hand().data(10))
    session = there.events[0].session
    assert list(there.core.overflowed(session, 2, there.now)) == [QueueOverflow(session, 2)]
    assert list(there.core.overflowed(session, 3, there.now)) == []
    assert there.settle(EPISODE) == [QueueOverflow(session, 3)]
    assert there.ledger().overflow == 5
