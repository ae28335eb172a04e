"""R10: what a receiver does with its first half second, and what survives a restart."""

import pytest

from atmost.core.events import RefusalReason
from tests.core.twins import EPOCH_US, FUTURE_US, GUARD_US, Receiving

BOOT_US = FUTURE_US + GUARD_US


def test_r10_the_floor_is_the_start_and_both_bounds():
    """R10: floor = now + F + G, and a receiver is ready when its clock has passed it, not before."""
    there = Receiving(ready=False)
    assert there.core.floor_us == EPOCH_US + BOOT_US
    assert not there.core.is_ready(EPOCH_US)
    assert not there.core.is_ready(EPOCH_US + BOOT_US)
    assert there.core.is_ready(EPOCH_US + BOOT_US + 1)


@pytest.mark.parametrize(("future", "guard"), [(0.01, 0.5), (0.5, 0.0), (0.0, 0.5), (0.0, 0.0)])
def test_r10_each_bound_counts(future, guard):
    """R10: F and G are both part of the floor, in seconds, whichever preset set them."""
    there = Receiving(ready=False, future_bound=future, clock_guard=guard)
    assert there.core.floor_us == EPOCH_US + round((future + guard) * 1e6)


def test_r10_what_arrives_before_is_in_quarantine():
    """R10: up to the floor everything is refused and counted; one microsecond above it is accepted."""
    there = Receiving()
    floor = there.core.floor_us
    early = there.hand(1)
    early.start_us = early.sent_us = floor
    assert there.refusal(early.data()) is RefusalReason.BOOT_QUARANTINE
    ready = there.hand(2)
    ready.start_us = ready.sent_us = floor + 1
    there.take(ready.data())
    assert there.payloads == [0]


def test_r10_a_newcomers_first_message_is_not_eaten():
    """R10: whatever is sent once the receiver is ready, by a sender whose clock is not behind, is accepted."""
    there = Receiving()
    assert there.core.is_ready(there.wall_us)
    hand = there.hand()
    there.take(hand.beacon(), hand.data())
    assert there.payloads == [0]
    assert there.ledger().before_join == 0


@pytest.mark.parametrize("ahead_us", [0, FUTURE_US])
@pytest.mark.parametrize("back_us", [0, GUARD_US])
def test_r10_a_restart_repeats_nothing(ahead_us, back_us):
    """R10, H1: what the last life accepted, from a clock F ahead, is refused by the next, whose clock is G behind."""
    first = Receiving()
    hand = first.hand()
    hand.start_us = hand.sent_us = first.wall_us + ahead_us
    tape = [hand.beacon(), hand.data(), hand.data()]
    first.take(*tape)
    assert first.payloads == [0, 1]
    second = Receiving(wall_us=first.wall_us - back_us, ready=False)
    for _ in range(3):
        for datagram in tape:
            assert second.refusal(datagram, accuses=True) in {RefusalReason.BOOT_QUARANTINE, RefusalReason.FUTURE}
        second.pass_time(FUTURE_US)
    assert second.payloads == []


def test_r10_the_session_goes_on_after_a_restart():
    """R10, R19: what is sent after the new life is ready is accepted; what came before is `before_join`."""
    first = Receiving()
    hand = first.hand()
    first.take(hand.beacon(), hand.data(3))
    second = Receiving(wall_us=first.wall_us)
    hand.sent_us = second.wall_us
    second.take(hand.data(2))
    assert second.payloads == [3, 4]
    assert second.ledger().before_join == 3
