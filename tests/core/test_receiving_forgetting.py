"""R11.8 and R12: how a receiver forgets without ever repeating: victims, the fold, and floors that only rise."""

import pytest

from atmost.core.events import Message, RefusalReason, SessionClosed, SessionEvicted, SessionOpened
from atmost.core.limits import VICTIM_SILENCE
from atmost.core.sessions import SessionState
from tests.core.twins import FUTURE_US, Receiving
from tests.real import alive


def test_r11_eviction_folds_the_victim_into_the_floor():
    """R11.8: the floor rises to the greatest time the forgotten session was accepted with."""
    there = Receiving(max_sessions=2)
    first, second = there.hand(1), there.hand(2)
    second.sent_us += 1
    tape = [first.beacon(), *(first.data() for _ in range(4))]
    there.take(*tape)
    there.pass_time(1000)
    there.take(*(second.data() for _ in range(4)))
    assert there.core.floor_us < first.sent_us
    there.take(there.hand(3).data())
    assert there.core.floor_us == first.sent_us
    for datagram in tape:
        assert there.refusal(datagram, accuses=True) is RefusalReason.BELOW_FLOOR


def test_r11_the_fold_takes_the_victims_time_and_not_the_receivers():
    """R11.8: a session from a clock ahead is folded at its own time, or its datagrams would come back."""
    there = Receiving(max_sessions=1)
    ahead = there.hand(1)
    ahead.sent_us += FUTURE_US
    tape = [ahead.data(), ahead.data()]
    there.take(*tape)
    other = there.hand(2)
    there.take(other.data())
    assert there.core.floor_us == ahead.sent_us > there.wall_us
    assert there.refusal(tape[0]) is RefusalReason.BELOW_FLOOR
    there.pass_time(FUTURE_US + 1)
    assert there.refusal(tape[1]) is RefusalReason.BELOW_FLOOR
    assert there.payloads == [0, 1, 0]


def test_r11_the_fold_takes_the_greatest_time_ever_accepted():
    """R11.8: neither the last datagram's time nor the first's: a late one must not lower it."""
    there = Receiving(max_sessions=1)
    hand = there.hand(1)
    late = hand.data()
    hand.sent_us += 400
    there.take(hand.data(), late)
    there.take(there.hand(2).data(sent_us=there.wall_us + 500))
    assert there.core.floor_us == hand.sent_us


def test_r12_the_floor_never_decreases():
    """R12: a victim older than what was forgotten before leaves the floor where it is."""
    there = Receiving(max_sessions=1)
    ahead = there.hand(1)
    ahead.sent_us += FUTURE_US
    there.take(ahead.data())
    floors = [there.core.floor_us]
    newcomer = there.hand(2)
    newcomer.start_us = newcomer.sent_us = there.wall_us + 100  # above the boot floor, below the one to come
    there.take(newcomer.data())
    floors.append(there.core.floor_us)
    there.pass_time(1)
    third = there.hand(3)
    third.start_us = third.sent_us = there.wall_us + FUTURE_US
    there.take(third.data())
    floors.append(there.core.floor_us)
    assert floors[0] < floors[1] == floors[2] == ahead.sent_us
    assert there.ledger().evicted == 2


def test_r11_the_newcomers_floor_is_the_one_before_making_room():
    """R11.8: efloor is the floor before the fold, so that making room does not shut out the newcomer's own past."""
    there = Receiving(max_sessions=1)
    there.pass_time(1_000_000)
    hand = there.hand(2)
    early = hand.data()
    there.pass_time(1000)
    there.take(there.hand(1).data())
    hand.sent_us = there.wall_us + 1
    there.take(hand.data())
    assert there.ledger().evicted == 1
    assert there.core.floor_us > hand.start_us
    there.take(early)
    assert [event.payload for event in there.events if isinstance(event, Message) and event.session.key[-1] == 2] == [
        1,
        0,
    ]
    assert there.ledger().before_join == 0


def test_r11_a_session_keeps_the_floor_it_was_taken_up_with():
    """R11.4: below its efloor a known session accepts nothing: that may have been accepted before it was forgotten."""
    there = Receiving(max_sessions=1)
    there.pass_time(1_000_000)
    hand = there.hand(1)
    tape = [hand.data(), hand.data()]
    there.take(*tape)
    there.pass_time(1000)
    there.take(there.hand(2).data())
    there.pass_time(1000)
    hand.sent_us = there.wall_us
    there.take(hand.data())
    assert there.ledger().evicted == 2
    for again in tape:
        assert there.refusal(again) is RefusalReason.BELOW_FLOOR
    assert there.payloads == [0, 1, 0, 2]


@pytest.mark.parametrize("goodbye", [True, False])
def test_r12_nothing_but_the_fold_frees_a_session(goodbye):
    """R12: neither goodbye nor an hour of silence makes a session forgotten: its datagrams stay duplicates."""
    there = Receiving()
    hand = there.hand()
    tape = [hand.beacon(), hand.data(), hand.data(), *([hand.goodbye()] if goodbye else [])]
    there.take(*tape)
    there.settle(3600.0)
    assert len(there.ledger().sessions) == 1
    for datagram in tape:
        assert there.refusal(datagram) is RefusalReason.DUPLICATE
    assert [event for event in there.events if isinstance(event, SessionClosed)] == (
        [SessionClosed(there.events[0].session)] if goodbye else []
    )


def test_r12_a_session_may_go_on_after_its_goodbye():
    """R12: a datagram that the goodbye overtook is accepted, once."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.beacon())
    overtaken = hand.data()
    there.take(hand.goodbye(), overtaken)
    assert there.payloads == [0]
    assert there.refusal(overtaken) is RefusalReason.DUPLICATE


def test_r12_the_table_never_grows_beyond_its_size():
    """R12, R16: whoever comes, N sessions are remembered, and the account of the rest is folded."""
    there = Receiving(max_sessions=4)
    for number in range(100):
        there.take(there.hand(number).data())
        there.pass_time(10)
    ledger = there.ledger()
    assert (len(ledger.sessions), ledger.evicted, ledger.delivered) == (4, 96, 100)


def evicted_by(there, newcomer=99):
    """The random numbers of the sessions that one newcomer costs."""
    said = there.take(there.hand(newcomer).data())
    return [int(event.session.id, 16) for event in said if isinstance(event, SessionEvicted)]


def test_r11_the_first_victim_is_silent():
    """R11.8: among those silent for more than 60 s the one with the smallest time goes, however busy it was."""
    there = Receiving(max_sessions=4)
    slow = there.hand(4)  # its clock stands still: the smallest time of all, and alive
    there.pass_time(1000)
    busy = there.hand(1)
    there.take(*(busy.data() for _ in range(50)))
    there.pass_time(1000)
    lonely = there.hand(2)
    there.take(lonely.data())
    there.pass_time(round(VICTIM_SILENCE * 1e6) + 1)
    there.take(there.hand(3).data(), *(slow.data() for _ in range(3)))
    assert evicted_by(there) == [1]
    (event,) = (event for event in there.events if isinstance(event, SessionEvicted))
    assert not event.live


def test_r11_silence_counts_from_more_than_a_minute():
    """R11.8: heard a minute ago is not silent; then those with fewer than 3 datagrams go first, and it is a live one."""
    there = Receiving(max_sessions=2)
    busy = there.hand(1)
    there.take(*(busy.data() for _ in range(3)))
    there.pass_time(1000)
    few = there.hand(2)
    there.take(few.data(), few.data())
    there.pass_time(round(VICTIM_SILENCE * 1e6) - 1000)
    assert evicted_by(there) == [2]
    (event,) = (event for event in there.events if isinstance(event, SessionEvicted))
    assert event.live
    assert there.ledger().evicted == 1


def test_r11_among_established_ones_the_longest_unheard_goes():
    """R11.8: where all are live and busy, the receiver's own clock decides, and no stamp that a sender chose."""
    there = Receiving(max_sessions=3)
    hands = {random64: there.hand(random64) for random64 in (1, 2, 3)}
    for random64 in (1, 3, 2, 3, 1):
        hand = hands[random64]
        hand.sent_us = there.wall_us + random64 * 1000
        there.take(*(hand.data() for _ in range(3)))
        there.pass_time(1000)
    assert evicted_by(there) == [2]


def test_r11_of_those_with_few_datagrams_the_youngest_goes():
    """R11.8: a flood evicts itself, whatever stamps it carries, and an older newcomer stays."""
    there = Receiving(max_sessions=3)
    busy, older = there.hand(1), there.hand(2)
    there.take(*(busy.data() for _ in range(3)), older.data())
    for number in range(10, 60):
        forged = there.hand(number)
        forged.sent_us = there.wall_us + FUTURE_US
        there.take(forged.data())
        there.pass_time(FUTURE_US + 1)
    gone = [int(event.session.id, 16) for event in there.events if isinstance(event, SessionEvicted)]
    assert gone == list(range(10, 59))
    busy.sent_us = older.sent_us = there.wall_us
    there.take(busy.data(), older.data())
    assert there.ledger().sessions[0].delivered == 4


def test_r11_a_victim_that_spoke_again_is_spared():
    """R11.8: in a large table victims are listed ahead; one that was heard since is no longer one."""
    there = Receiving(max_sessions=64)
    hands = [there.hand(number) for number in range(64)]
    for hand in hands:
        there.take(*(hand.data() for _ in range(3)))
        there.pass_time(1000)

    def newcomer(number):
        gone = evicted_by(there, number)
        hand = there.hand(number, sequence=1, prior=1)
        there.take(hand.data(), hand.data())
        return gone

    assert newcomer(100) == [0]
    hands[1].sent_us = there.wall_us
    there.take(hands[1].data())
    assert newcomer(101) == [2]


def test_r11_the_newcomer_is_announced_after_the_eviction_and_before_its_messages():
    """R11.9: what happened is told in its order: who was forgotten, who came, what it said."""
    there = Receiving(max_sessions=1)
    there.take(there.hand(1).data())
    said = there.take(there.hand(2).data(2))
    assert [type(event) for event in said] == [SessionEvicted, SessionOpened, Message, Message]


def test_r16_a_flood_of_forged_sessions_repeats_nothing():
    """R16: it may push out an established session, whose later datagrams are then taken up again, each once."""
    there = Receiving(max_sessions=8)
    hand = there.hand(1)
    tape = []
    for round_ in range(30):
        hand.sent_us = there.wall_us
        tape += [hand.data(), hand.data()]
        there.take(*tape[-2:])
        for number in range(10):
            there.take(there.hand(1000 + 10 * round_ + number).beacon())
        there.pass_time(10)
        for again in tape:
            there.refusal(again)
    assert len(there.payloads) == len(set(there.payloads))
    ledger = there.ledger()
    assert len(ledger.sessions) == 8
    assert ledger.delivered == len(there.payloads) > 0


def test_r16_a_flood_of_forged_sessions_with_gaps_costs_no_memory():
    """R16: what is forgotten is forgotten at once, and not only when the grace of its gap is over."""
    before = len(alive(SessionState))
    there = Receiving(max_sessions=8, grace=3600.0)
    for number in range(200):
        hand = there.hand(number)
        hand.skip(5)
        there.take(hand.data())
        there.pass_time(1)
    assert there.ledger().evicted == 192
    assert len(alive(SessionState)) - before <= 8
    assert len(there.core._books._due) <= 8
    assert there.ledger().lost == 5 * 192
