"""R11.7: messages between neighbouring numbers must fit the datagrams between them."""

import pytest

from atmost.core.events import RefusalReason
from atmost.core.limits import MAX_COUNT, MAX_DATAGRAM, MAX_MESSAGES, OVERHEAD, WINDOW
from tests.core.twins import Receiving, messages

C = MAX_COUNT
INCONSISTENT = RefusalReason.INCONSISTENT


def heard(there):
    """A session heard up to number 2 and message 2; the next are 3 and 2."""
    hand = there.hand()
    there.take(hand.beacon(), hand.data(), hand.data())
    return hand


def with_three_missing(there, messages):
    """The same, then three datagrams with so many messages are missing; where the gap begins, number and message."""
    hand = heard(there)
    first, start = hand.sequence, hand.prior
    hand.sequence += 3
    hand.prior += messages
    there.take(hand.data())
    return hand, first, start


def test_c_is_what_the_largest_datagram_holds():
    """The smallest message takes 4 bytes; a larger datagram, or one that counts more, is not ours."""
    assert C == (MAX_DATAGRAM - OVERHEAD) // 4 == 16_360
    there = Receiving()
    there.take(there.hand(1).data(items=messages(*[None] * C)))
    assert there.ledger().delivered == C
    shorter = b"\x92\xa0\xc0"  # an empty subject, which nobody can send
    assert there.refusal(there.hand(2).data(items=[shorter] * (C + 1))) is RefusalReason.MALFORMED


@pytest.mark.parametrize(("missing", "messages"), [(1, C), (2, 2 * C), (WINDOW // 2 - 1, C * (WINDOW // 2 - 1))])
def test_r11_a_higher_number_may_leave_full_datagrams_behind(missing, messages):
    """R11.7: exactly as many messages as the missing datagrams hold, and not one more."""
    there = Receiving()
    hand = heard(there)
    hand.sequence += missing
    assert there.refusal(hand.data(sequence=hand.sequence, prior=hand.prior + messages + 1)) is INCONSISTENT
    hand.sequence -= 1
    hand.prior += messages - 1
    there.take(hand.data())
    assert there.ledger().pending == messages


@pytest.mark.parametrize(("before", "fits"), [(C + 1, False), (C, True), (4, True), (3, False)])
def test_r11_a_late_one_leaves_no_more_than_its_neighbours_hold(before, fits):
    """R11.7: inside a gap the same holds against both of its ends."""
    there = Receiving()
    hand, first, start = with_three_missing(there, C + 5)
    late = hand.data(sequence=first + 1, prior=start + before)
    if fits:
        there.take(late)
        assert there.ledger().pending == C + 4
    else:
        assert there.refusal(late) is INCONSISTENT


def test_r11_below_the_join_point_the_same_holds():
    """R11.7: what came before the first number is bounded by the datagrams between, and by all there were."""
    there = Receiving()
    hand = there.hand(age_us=10**12, sequence=50, prior=2 * C)
    there.take(hand.data())
    assert there.refusal(hand.data(sequence=48, prior=C - 2)) is INCONSISTENT
    assert there.refusal(hand.data(sequence=0, prior=1)) is INCONSISTENT
    there.take(hand.data(sequence=48, prior=C - 1))
    assert (there.ledger().before_join, there.ledger().pending) == (C - 1, C)


def test_r11_a_first_datagram_has_no_more_before_it_than_its_number_allows():
    """R11.7: of any session, however old."""
    there = Receiving()
    for age_us in (0, 10**12):
        assert there.refusal(there.hand(age_us=age_us, sequence=3, prior=3 * C + 1).data()) is INCONSISTENT
    there.take(there.hand(age_us=10**12, sequence=3, prior=3 * C).data())
    assert there.ledger().before_join == 3 * C


def test_r11_no_number_passes_2_to_the_53():
    """R11.7: sums stay exact wherever they are read."""
    there = Receiving()
    hand = there.hand(age_us=10**12, sequence=2**60, prior=MAX_MESSAGES - 1)
    assert there.refusal(hand.data(2)) is INCONSISTENT
    last = there.hand(age_us=10**12, sequence=2**60, prior=MAX_MESSAGES - 1)
    there.take(last.data())
    assert there.refusal(last.data()) is INCONSISTENT
    assert there.ledger().sent == MAX_MESSAGES == 2**53


def test_r16_what_one_forged_datagram_can_invent():
    """R16: without a key, at most C times the jump: the figure that docs/security.md gives. The end is reached, then all is well again."""
    there = Receiving()
    hand = heard(there)
    jump, number, end = WINDOW // 2, hand.sequence - 1, hand.prior
    there.take(hand.data(sequence=number + jump, prior=end + C * (jump - 1)))
    ledger = there.ledger()
    assert ledger.pending == C * (jump - 1) < 33.5e6
    assert there.refusal(hand.data(sequence=number + jump + 1, prior=end + 1)) is INCONSISTENT
    there.take(hand.data(sequence=number + 2 * jump, prior=end + C * (jump - 1) + 1))
    assert there.ledger().delivered == 4
