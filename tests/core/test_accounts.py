"""R20: the identities of the account, and R14: what becomes of messages that no handler saw."""

from dataclasses import replace

import pytest

from atmost.core.accounts import Ledger, SessionAccount
from tests.core.twins import Receiving

BALANCED = {
    "sent": 30,
    "before_join": 2,
    "delivered": 1,
    "queued": 2,
    "overflow": 3,
    "discarded": 4,
    "pending": 8,
    "lost": 10,
}
IN_MESSAGES = ["delivered", "queued", "overflow", "discarded", "pending", "lost", "before_join", "sent"]


def row(**fields):
    """The account of one session."""
    there = Receiving()
    there.take(there.hand().beacon())
    return replace(there.ledger().sessions[0], **{**BALANCED, **fields})


@pytest.mark.parametrize("field", IN_MESSAGES)
def test_r20_a_session_that_is_off_by_one_is_not_balanced(field):
    """R20: `E − O = delivered + queued + overflow + discarded + pending + lost`: each term counts."""
    assert row().balanced()
    assert not row(**{field: BALANCED[field] + 1}).balanced()


@pytest.mark.parametrize("field", IN_MESSAGES)
def test_r20_a_receiver_that_is_off_by_one_is_not_balanced(field):
    """R20: the same for the totals, and no session in them may be off."""
    whole = Ledger(datagrams_in=7, accepted=4, refused={"duplicate": 2, "future": 1}, sessions=[row()], **BALANCED)
    assert whole.balanced()
    assert not replace(whole, **{field: BALANCED[field] + 1}).balanced()
    assert not replace(whole, sessions=[row(), row(**{field: BALANCED[field] + 1})]).balanced()


@pytest.mark.parametrize("off", [{"datagrams_in": 8}, {"accepted": 5}, {"refused": {"duplicate": 2}}])
def test_r20_every_datagram_was_accepted_or_refused(off):
    """R20: `datagrams_in = accepted + Σ refused[reason]`."""
    whole = Ledger(datagrams_in=7, accepted=4, refused={"duplicate": 2, "future": 1}, **BALANCED)
    assert whole.balanced()
    assert not replace(whole, **off).balanced()


def test_r20_the_receivers_account_counts_every_datagram():
    """R20: with some of everything on its way, the identity holds and each term is what was done."""
    there = Receiving()
    hand = there.hand()
    accepted = [hand.beacon(), hand.data(2), hand.data(3)]
    there.take(*accepted, *accepted, b"noise", hand.data(key_id=3))
    ledger = there.ledger()
    assert (ledger.datagrams_in, ledger.accepted) == (8, 3)
    assert ledger.refused == {"duplicate": 3, "malformed": 1, "unknown_key": 1}
    assert ledger.sessions[0].refused == {"duplicate": 3}
    assert ledger.sessions[0].datagrams == 3


def test_r14_what_finds_the_queue_full_is_overflow_and_not_delivered():
    """R14, R20: it was accepted and marked, so it is not lost; it was not handed over, so it is not delivered."""
    there = Receiving()
    there.take(there.hand().data(10))
    session = there.events[0].session
    there.core.overflowed(session, 4, there.now)
    ledger = there.ledger()
    assert (ledger.delivered, ledger.overflow, ledger.lost, ledger.pending) == (6, 4, 0, 0)
    assert ledger.sessions[0].overflow == 4


def test_r14_an_overflow_is_never_received_again():
    """R14: dropped after marking: the same datagram is a duplicate."""
    there = Receiving()
    sealed = there.hand().data(3)
    there.take(sealed)
    there.core.overflowed(there.events[0].session, 3, there.now)
    assert there.refusal(sealed).value == "duplicate"


def test_r14_a_handler_that_failed_is_counted_and_delivered():
    """R14: its message is in `delivered`, for its handler was started."""
    there = Receiving()
    there.take(there.hand().data(2))
    there.core.handler_failed()
    ledger = there.ledger()
    assert (ledger.handler_errors, ledger.delivered) == (1, 2)


def test_r20_what_waits_for_its_handler_is_queued():
    """R20: accepted and not yet delivered."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.data(5))
    ledger = there.ledger(queued={hand.key: 2})
    assert (ledger.delivered, ledger.queued, ledger.sessions[0].queued) == (3, 2, 2)


def test_r20_what_was_queued_at_the_end_is_discarded():
    """R20: closing the receiver does not lose it in silence."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.data(5))
    there.core.discarded(hand.key, 2)
    ledger = there.ledger()
    assert (ledger.delivered, ledger.discarded) == (3, 2)


def test_r20_a_forgotten_session_keeps_its_account():
    """R20: evicted while messages of it still wait, overflow or are discarded: the totals stay exact."""
    there = Receiving(max_sessions=1)
    hand = there.hand(1)
    there.take(hand.data(10))
    session = there.events[0].session
    there.core.overflowed(session, 1, there.now)
    there.core.discarded(hand.key, 1)
    there.pass_time(10)
    there.take(there.hand(2).data())
    there.core.overflowed(session, 2, there.now)
    there.core.discarded(hand.key, 1)
    ledger = there.ledger(queued={hand.key: 3})
    assert (ledger.sent, ledger.delivered, ledger.queued) == (11, 3, 3)
    assert (ledger.overflow, ledger.discarded) == (3, 2)


def test_r20_a_session_that_comes_back_has_an_account_of_its_own():
    """R20: what waits, overflows or is discarded of its first account is not taken out of its second."""
    there = Receiving(max_sessions=1)
    hand = there.hand(1)
    there.take(hand.data(10))
    session = there.events[0].session
    there.pass_time(10)
    there.take(there.hand(2).data())
    there.pass_time(10)
    hand.sent_us = there.wall_us
    there.take(hand.data())
    ledger = there.ledger(queued={hand.key: 5})
    assert (ledger.delivered, ledger.queued, ledger.sessions[0].queued) == (7, 5, 1)
    there.core.overflowed(session, 3, there.now)
    there.core.discarded(hand.key, 2)
    ledger = there.ledger()
    assert (ledger.delivered, ledger.overflow, ledger.discarded) == (7, 3, 2)


def test_r22_kernel_drops_are_shown_and_unknown_is_none():
    """R22: a number of the socket's own, in no identity; where the system does not tell it is unknown, not 0."""
    there = Receiving()
    assert there.ledger().kernel_drops is None
    assert there.core.ledger(there.now, None, 5).kernel_drops == 5
    assert there.core.ledger(there.now, None, 5).balanced()


def test_missing_and_lost_come_from_the_totals():
    """§6: `missing = E − O − D`, `lost = lost_total − late_total`."""
    account = SessionAccount(3)
    account.end, account.accepted, account.lost_total, account.late_total = 20, 5, 10, 4
    assert (account.missing, account.lost) == (12, 6)
    assert account.at_sender(4) == 4
    assert account.at_sender(100) == 6
    account.sender_socket_base = 5
    assert account.at_sender(4) == 0
