"""H2, R10: an address that was out of a receiver's hands is taken over like a stranger's, and the books go on."""

from atmost.core.events import RefusalReason
from tests.core.twins import FUTURE_US, GUARD_US, Receiving

BOOT_US = FUTURE_US + GUARD_US


def test_nothing_sent_before_is_accepted_any_more():
    """R10: of known and unknown sessions alike, up to the clock's reading and both bounds: somebody else may have accepted it."""
    there = Receiving()
    hand = there.hand(1)
    there.take(hand.data())
    missed, late = hand.data(), there.hand(2).data()
    there.core.take_over(there.wall_us)
    assert there.core.floor_us == there.wall_us + BOOT_US
    assert not there.core.is_ready(there.wall_us + BOOT_US)
    assert there.refusal(missed) is RefusalReason.BELOW_FLOOR
    assert there.refusal(late) is RefusalReason.BOOT_QUARANTINE
    assert there.payloads == [0]


def test_without_the_floor_it_would_be_accepted():
    """The datagram that is refused above is one that nothing else speaks against."""
    there = Receiving()
    hand = there.hand(1)
    there.take(hand.data(), hand.data())
    assert there.payloads == [0, 1]


def test_the_account_of_a_session_goes_on():
    """R20: what was sent meanwhile is known as lost, to the message, and what comes after is delivered."""
    there = Receiving()
    hand = there.hand(1)
    there.take(hand.data(2))
    meanwhile = [hand.data(3), hand.data(4)]
    there.core.take_over(there.wall_us)
    for datagram in meanwhile:
        assert there.refusal(datagram) is RefusalReason.BELOW_FLOOR
    there.pass_time(BOOT_US + 1)
    hand.sent_us = there.wall_us
    there.take(hand.data(1))
    there.settle_all()
    (session,) = there.ledger().sessions
    assert (session.delivered, session.lost, session.sent) == (3, 7, 10)


def test_the_floor_never_decreases():
    """R12: not even when the clock was set back in between."""
    there = Receiving()
    before = there.core.floor_us
    there.core.take_over(0)
    assert there.core.floor_us == before
