"""R16: without a key, what jumps beyond belief must be confirmed by a second datagram."""

import pytest

from atmost.core.events import RefusalReason
from atmost.core.limits import MAX_COUNT, WINDOW
from atmost.core.seal import ChecksumSeal, no_keys
from tests.core.twins import Receiving

JUMP = WINDOW // 2
C = MAX_COUNT
IMPLAUSIBLE = RefusalReason.IMPLAUSIBLE


def known(there):
    """A session that was heard up to number 2 and message 2."""
    hand = there.hand()
    there.take(hand.beacon(), hand.data(), hand.data())
    return hand


def jump(hand, *, numbers=0, prior=0):
    """The sender goes on far ahead, as if so much had been lost."""
    hand.sequence += numbers
    hand.prior += prior


@pytest.mark.parametrize("jumps", [{"numbers": JUMP - 1}, {"numbers": JUMP - 1, "prior": C * (JUMP - 1)}])
def test_r16_up_to_half_a_window_is_believed_at_once(jumps):
    """R16: so much may be lost in one piece, with as many messages as so many datagrams hold."""
    there = Receiving()
    hand = known(there)
    jump(hand, **jumps)
    there.take(hand.data())
    assert len(there.payloads) == 3
    assert there.ledger().pending == jumps.get("prior", 0)


@pytest.mark.parametrize("jumps", [{"numbers": JUMP}, {"numbers": JUMP, "prior": C * JUMP}])
def test_r16_beyond_it_the_next_datagram_must_agree(jumps):
    """R16: the first is refused and only its claim remembered; the second, which goes on from it, is accepted."""
    there = Receiving()
    hand = known(there)
    jump(hand, **jumps)
    claim = hand.data(3)
    assert there.refusal(claim, claims=True) is IMPLAUSIBLE
    there.take(hand.data())
    assert len(there.payloads) == 3
    there.settle_all()
    ledger = there.ledger()
    assert ledger.lost == jumps.get("prior", 0) + 3, "what the claim held is lost with the rest"


def test_r16_the_claim_itself_may_arrive_again_once_it_was_confirmed():
    """R16, R11: it was refused and so never delivered: within the window a copy of it is new, once."""
    there = Receiving()
    hand = known(there)
    jump(hand, numbers=JUMP)
    claim = hand.data()
    there.take(claim, hand.data(), claim, claim)
    assert sorted(there.payloads) == [0, 1, 2, 3]
    assert there.ledger().refused == {"implausible": 1, "duplicate": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 2 + JUMP + 1},
        {"sequence": 2 + JUMP + 2, "prior": 2 * JUMP - 1},
        {"sequence": 2 + JUMP + 2, "prior": 2 * JUMP + 2},
        {"sequence": 2 + 2 * JUMP + 2, "prior": 2 * JUMP + 1},
    ],
    ids=["itself again", "messages before its end", "far more messages", "far more numbers"],
)
def test_r16_what_does_not_go_on_from_the_claim_confirms_nothing(changes):
    """R16: the confirming datagram has a higher number, its messages begin behind the claim's, and neither jumps again."""
    there = Receiving()
    hand = known(there)
    assert there.refusal(hand.data(sequence=2 + JUMP + 1, prior=2 * JUMP), claims=True) is IMPLAUSIBLE
    assert there.refusal(hand.data(**{"prior": 2 * JUMP + 1, **changes}), claims=True) is IMPLAUSIBLE


def test_r16_a_forged_jump_does_not_cost_the_session():
    """R16: a stranger's datagram with the last number there is would end a session; the true ones go on."""
    there = Receiving()
    hand = known(there)
    for number in (2**64 - 1, 2**63, 10**9):
        assert there.refusal(hand.data(sequence=number, prior=hand.prior), claims=True) is IMPLAUSIBLE
        there.take(hand.data())
    assert len(there.payloads) == 5


def test_r16_a_claim_in_one_session_confirms_nothing_in_another():
    """R16: there is one slot in each known session."""
    there = Receiving()
    here, other = known(there), there.hand(2)
    there.take(other.beacon(), other.data(), other.data())
    for hand in (here, other):
        jump(hand, numbers=JUMP + 5)
        assert there.refusal(hand.data(), claims=True) is IMPLAUSIBLE
    for hand in (here, other):
        there.take(hand.data())
    assert there.ledger().delivered == 6


@pytest.mark.parametrize("jumps", [{"numbers": JUMP + 1}, {"numbers": JUMP + 1, "prior": C * (JUMP + 1)}])
def test_r16_a_newcomer_that_began_after_the_floor_begins_near_0(jumps):
    """R16: a session that began under this receiver's eyes cannot be far already; it must be confirmed too."""
    there = Receiving()
    hand = there.hand()
    jump(hand, **jumps)
    assert there.refusal(hand.data(), claims=True) is IMPLAUSIBLE
    assert there.ledger().sessions == []
    there.take(hand.data())
    ledger = there.ledger()
    assert (ledger.delivered, ledger.before_join) == (1, 0)
    assert ledger.sent == hand.prior


def test_r16_a_session_older_than_the_receiver_may_be_anywhere():
    """R16: what began at or below the floor is taken up at whatever number it has reached, without confirmation."""
    there = Receiving()
    hand = there.hand(age_us=10**12, sequence=2**40, prior=2**45)
    there.take(hand.data())
    ledger = there.ledger()
    assert (ledger.delivered, ledger.before_join, ledger.lost, ledger.pending) == (1, 2**45, 0, 0)


def test_r16_one_slot_for_all_newcomers():
    """R16: however many strangers claim, one claim is remembered, and the memory of none of them stays."""
    there = Receiving()
    hand = there.hand(1)
    jump(hand, numbers=JUMP + 1)
    assert there.refusal(hand.data(), claims=True) is IMPLAUSIBLE
    for number in range(2, 50):
        stranger = there.hand(number)
        jump(stranger, numbers=JUMP + 1)
        assert there.refusal(stranger.data(), claims=True) is IMPLAUSIBLE
    assert there.core._claim[0][-1] == 49
    assert there.ledger().sessions == []
    assert there.refusal(hand.data(), claims=True) is IMPLAUSIBLE, "its claim was overwritten, so it claims again"
    there.take(hand.data())
    assert there.ledger().delivered == 1


def test_r16_with_a_key_nothing_is_implausible():
    """R16: strangers cannot make such datagrams, so what a key's holder says is believed at once."""
    there = Receiving(keys={5: lambda _session: ChecksumSeal()})
    hand = there.hand(sequence=3 * JUMP, prior=5 * JUMP)
    there.take(hand.data(key_id=5))
    jump(hand, numbers=JUMP * JUMP, prior=JUMP * JUMP)
    there.take(hand.data(key_id=5))
    assert there.ledger().delivered == 2


def test_r12a_keys_and_no_key_exclude_each_other():
    """R12a: a receiver with keys refuses key_id 0, one without refuses every other."""
    keyed, plain = Receiving(keys={5: lambda _session: ChecksumSeal()}), Receiving(keys=no_keys())
    assert keyed.refusal(keyed.hand().data()) is RefusalReason.UNKNOWN_KEY
    assert plain.refusal(plain.hand().data(key_id=5)) is RefusalReason.UNKNOWN_KEY
    keyed.take(keyed.hand().data(key_id=5))
    plain.take(plain.hand().data())
    assert keyed.payloads == plain.payloads == [0]
