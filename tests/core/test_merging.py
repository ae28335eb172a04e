"""R20: the account of several workers is one account, and says what it does not know."""

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from atmost.core.accounts import Ledger, MergedLedger, merge_ledgers, retire
from tests.core.twins import Receiving

SUMMED = [field.name for field in fields(Ledger) if field.type == "int"]


def crew(*lost):
    """Return the ledgers of workers that each delivered 3 messages, lost the given number, and have one pending."""
    ledgers = []
    for number, count in enumerate(lost):
        there = Receiving(shard=(number, len(lost)))
        hand = there.hand(number)
        there.take(hand.data(3))
        if count:
            hand.skip(count)
            there.take(hand.beacon(refused={"EPERM": 1}))
            there.settle_all()
        hand.sent_us = there.wall_us
        hand.skip()
        there.take(hand.beacon(), there.hand(number + 1).data())
        ledgers.append(there.ledger({hand.key: 1}))
    return ledgers


@given(st.lists(st.integers(0, 5), min_size=2, max_size=5))
def test_r20_the_identities_hold_for_all_together(lost):
    """R20: every count of the merged account is the sum, by name where it has names, and the identities hold."""
    ledgers = crew(*lost)
    merged = merge_ledgers(ledgers)
    assert merged.balanced()
    assert (merged.delivered, merged.queued) == (2 * len(lost), len(lost))
    assert (merged.lost, merged.pending) == (sum(lost), len(lost))
    assert merged.lost_by_place == {
        place: sum(ledger.lost_by_place[place] for ledger in ledgers) for place in ("sender_socket", "in_flight")
    }
    assert merged.refused == {"wrong_shard": len(lost)}
    assert all(getattr(merged, name) == sum(getattr(ledger, name) for ledger in ledgers) for name in SUMMED)
    assert [row.id for row in merged.sessions] == [row.id for ledger in ledgers for row in ledger.sessions]
    assert merged.unknown == merged.killed == 0


def test_r20_every_figure_of_a_ledger_is_merged():
    """R20: a figure that a ledger gets in future is not silently left out of the account of workers."""
    known = {"int", "int | None", "dict[str, int]", "dict[str, int | None]", "list[SessionLedger]"}
    assert {str(field.type) for field in fields(MergedLedger)} == known


def test_r20_no_workers_have_no_account():
    """R20: nothing is the account of nobody, and adds nothing."""
    assert merge_ledgers([]) == MergedLedger()
    [ledger] = crew(2)
    assert merge_ledgers([merge_ledgers([]), ledger]).delivered == ledger.delivered


def test_r20_merging_can_be_repeated():
    """R20: the account of accounts is the account of all: merged earlier or later, it is the same."""
    first, second, third = crew(0, 1, 2)
    assert merge_ledgers([merge_ledgers([first, second]), third]) == merge_ledgers([first, second, third])


def test_r22_a_figure_one_does_not_know_is_not_known_of_all():
    """R22: unknown is reported as unknown, never as 0."""
    assert merge_ledgers([Ledger(kernel_drops=2), Ledger(kernel_drops=3)]).kernel_drops == 5
    assert merge_ledgers([Ledger(kernel_drops=2), Ledger(kernel_drops=None)]).kernel_drops is None


def test_r20_what_a_killed_worker_had_in_hand_is_unknown():
    """R20: pending and queued become neither delivered nor lost, and the account says that a worker was killed."""
    killed, other = crew(2, 1)
    past = retire(killed, killed=True)
    assert past.balanced()
    assert (past.unknown, past.killed) == (killed.pending + killed.queued, 1) == (2, 1)
    assert (past.pending, past.queued, past.tail_unknown, past.sessions) == (0, 0, 0, [])
    assert (past.delivered, past.lost, past.sent) == (killed.delivered, killed.lost, killed.sent)
    merged = merge_ledgers([past, other])
    assert merged.balanced()
    assert merged.unknown == 2
    assert merged.sessions == other.sessions


def test_r20_a_worker_that_closed_is_not_counted_as_killed():
    """R20: its last account is complete; only what was still missing then stays unknown."""
    [ledger] = crew(3)
    assert retire(ledger, killed=False).killed == 0


def test_r20_an_account_that_lost_the_unknown_is_not_balanced():
    """R20: the identity counts what is unknown, and would show it missing."""
    [ledger] = crew(1)
    past = retire(ledger, killed=True)
    assert not merge_ledgers([Ledger(sent=past.sent, delivered=past.delivered, lost=past.lost)]).balanced()
