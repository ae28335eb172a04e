"""True counters from accounts that take back, move and forget: nothing falls, and the sums are the account's."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.collector.state.sender_totals import OTHER, PLACES, SenderTotals
from atmost.collector.state.senders import SenderTable
from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import Tail

SOCKET, FLIGHT, QUEUE = PLACES
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("deliver", "lose", "come late", "blame", "overflow", "forget", "name", "look")),
        st.integers(0, 2),
        st.integers(0, 9),
    ),
    max_size=40,
)


def account(name="a", number=1, *, delivered=0, lost=0, socket=0, late=0, overflow=0, **facts):
    """One session: `lost` of which `socket` at the sender, as ledgers say it, late ones taken off."""
    given_facts = {
        "host": "h",
        "pid": 1,
        "key_id": 0,
        "tail": Tail.ALIVE,
        "sent": 0,
        "datagrams": 1,
        "last_seen": 0.0,
    } | facts
    return SessionLedger(
        id=f"session-{number}", name=name, delivered=delivered, lost=lost, late=late, overflow=overflow,
        lost_by_place={SOCKET: socket, FLIGHT: lost - socket}, **given_facts,
    )  # fmt: skip


def ledger(*rows, folded=()):
    """The receiver's account: of these sessions, and of those it has forgotten."""
    every = [*rows, *folded]
    places = {place: sum(row.lost_by_place[place] for row in every) for place in (SOCKET, FLIGHT)}
    sums = {name: sum(getattr(row, name) for row in every) for name in ("delivered", "lost", "late", "overflow")}
    return Ledger(sessions=list(rows), lost_by_place=places, **sums)


def look(totals, *ledgers, most=10):
    """One scrape; who is silent."""
    table = SenderTable(0.0)
    by_address = {f"udp://{number}": each for number, each in enumerate(ledgers)}
    table.observe(by_address, 1.0)
    totals.observe(by_address.values(), table.rows(), most)
    return totals.silent(table.rows())


def test_what_comes_late_stays_counted_as_lost():
    """`lost` is gross; less `late` it is the account's."""
    totals = SenderTotals()
    look(totals, ledger(account(delivered=10, lost=5, socket=1)))
    assert (totals.lost["a", FLIGHT], totals.lost["a", SOCKET], totals.late["a"]) == (4, 1, 0)
    look(totals, ledger(account(delivered=13, lost=2, socket=1, late=3)))
    assert (totals.lost["a", FLIGHT], totals.lost["a", SOCKET], totals.late["a"]) == (4, 1, 3)


def test_a_loss_that_moves_to_the_sender_is_counted_once():
    """What was said of its place stands; the next losses go where the account says, until both agree."""
    totals = SenderTotals()
    look(totals, ledger(account(lost=6)))
    look(totals, ledger(account(lost=6, socket=4)))
    assert (totals.lost["a", FLIGHT], totals.lost["a", SOCKET]) == (6, 0)
    look(totals, ledger(account(lost=13, socket=4)))
    assert (totals.lost["a", FLIGHT], totals.lost["a", SOCKET]) == (9, 4)


def test_a_forgotten_session_takes_nothing_from_its_sender():
    """What it had after it was looked at last is `other`'s; taken up again it begins anew."""
    totals, before = SenderTotals(), account(delivered=10, lost=3)
    look(totals, ledger(before))
    look(totals, ledger(folded=[replace(before, delivered=12)]))
    assert totals.delivered == {"a": 10, OTHER: 2}
    look(totals, ledger(account(delivered=1), folded=[replace(before, delivered=12)]))
    assert (totals.delivered, totals.lost["a", FLIGHT]) == ({"a": 11, OTHER: 2}, 3)


def test_a_session_that_comes_back_between_two_looks_is_a_new_account():
    """What can only grow has fallen."""
    totals, before = SenderTotals(), account(delivered=10)
    look(totals, ledger(before))
    look(totals, ledger(account(delivered=4), folded=[before]))
    assert totals.delivered == {"a": 14, OTHER: 0}


def test_a_name_that_is_told_later_takes_nothing_from_other():
    """What was counted while it had none stays there."""
    totals = SenderTotals()
    look(totals, ledger(account("", delivered=5)))
    look(totals, ledger(account("a", delivered=8)))
    assert totals.delivered == {"a": 3, OTHER: 5}


def test_what_a_sender_says_it_dropped_is_added_up_over_its_lives():
    """By reason, each session from 0."""
    totals = SenderTotals()
    first = account(sender_dropped={"pacing": 2}, sender_refused={"ENOBUFS": 1})
    look(totals, ledger(first))
    look(totals, ledger(replace(first, sender_dropped={"pacing": 5}), account(number=2, sender_dropped={"pacing": 1})))
    assert totals.dropped == {("a", "pacing"): 6, ("a", "ENOBUFS"): 1}


def test_reasons_of_strangers_are_bounded():
    """They are the senders' own words: beyond some they are `other`, and every drop is counted."""
    totals = SenderTotals()
    for turn in range(10):
        look(totals, ledger(account(sender_dropped={f"{turn}-{number}": 1 for number in range(20)})))
    assert len(totals.dropped) == 65
    assert (totals.dropped["a", OTHER], totals.dropped.total()) == (200 - 64, 200)


def test_one_session_at_two_addresses_is_two_accounts():
    """A multicast reaches both."""
    totals = SenderTotals()
    for delivered in (10, 11):
        look(totals, ledger(account(delivered=delivered)), ledger(account(delivered=delivered - 5)))
    assert totals.delivered == {"a": 17, OTHER: 0}


def test_labels_are_bounded_and_go_to_the_living():
    """A sender that is gone gives its label to a new one, and everything it had with it."""
    totals, gone = SenderTotals(), account("a", delivered=5, lost=1, sender_dropped={"pacing": 1})
    look(totals, ledger(gone, account("b", 2, delivered=1)), most=1)
    assert totals.delivered == {"a": 5, OTHER: 1}
    look(totals, ledger(account("b", 2, delivered=4), folded=[gone]), most=1)
    assert totals.delivered == {"b": 3, OTHER: 1}
    assert not totals.dropped
    assert {label for label, _ in totals.lost} == {"b", OTHER}


def test_labels_of_those_who_ended_go_to_who_is_alive():
    """Though their sessions are remembered: first a goodbye, then the longest silent; names may change for years."""
    totals = SenderTotals()
    old = [
        account("quiet", 1, tail=Tail.SILENT, last_seen=50.0, delivered=1),
        account("ended", 2, tail=Tail.CLOSED, last_seen=10.0, delivered=1),
        account("silent", 3, tail=Tail.SILENT, last_seen=90.0, delivered=1),
        account("alive", 4, delivered=1),
    ]
    look(totals, ledger(*old), most=4)
    late = account("late", 9, tail=Tail.SILENT, last_seen=5.0, delivered=7)
    look(totals, ledger(*old, late), most=4)
    assert "late" not in totals.delivered
    young = []
    for number, left in enumerate(("ended", "silent", "quiet")):
        assert left in totals.delivered
        young.append(account(f"new{number}", 10 + number, delivered=3))
        look(totals, ledger(*old, late, *young), most=4)
        assert left not in totals.delivered
    look(totals, ledger(*old, late, *young, account("one-more", 20, delivered=5)), most=4)
    assert totals.delivered == {"alive": 1, "new0": 3, "new1": 3, "new2": 3, OTHER: 12}


@pytest.mark.parametrize(
    ("sessions", "silent"),
    [
        ([(Tail.SILENT, 60.0)], 1),
        ([(Tail.ALIVE, 0.0)], 0),
        ([(Tail.CLOSED, 60.0)], 0),
        ([(Tail.SILENT, 60.0), (Tail.SILENT, 90.0)], 1),
        ([(Tail.SILENT, 60.0), (Tail.ALIVE, 1.0)], 0),
        ([(Tail.SILENT, 60.0), (Tail.CLOSED, 90.0)], 1),
        ([(Tail.SILENT, 90.0), (Tail.CLOSED, 60.0)], 0),
        ([(Tail.SILENT, 60.0), (Tail.CLOSED, 70.0), (Tail.ALIVE, 80.0)], 0),
    ],
)
def test_a_sender_is_silent_when_its_last_session_is(sessions, silent):
    """One that lives, or that was heard later and said goodbye, speaks for those of the same name before it."""
    totals = SenderTotals()
    rows = [account("a", number, tail=tail, last_seen=seen) for number, (tail, seen) in enumerate(sessions)]
    assert look(totals, ledger(*rows, account("", 8, tail=Tail.SILENT)), most=1) == {"a": silent}


def test_who_has_no_label_is_not_called_silent():
    """Of all others together nobody can say it."""
    totals = SenderTotals()
    rows = [account(name, number, tail=Tail.SILENT) for number, name in enumerate("ab")]
    assert look(totals, ledger(*rows), most=1) == {"a": 1}


@given(STEPS)
def test_nothing_falls_and_the_sums_are_the_accounts(steps):
    """Against accounts that lose, take back, move blame and forget as receivers do."""
    totals, rows, folded = SenderTotals(), {}, []
    last = {}
    for step, number, count in [*steps, ("look", 0, 0)]:
        row = rows.get(number) or account("", number)
        match step:
            case "deliver":
                row = replace(row, delivered=row.delivered + count)
            case "lose":
                row = account_of(row, lost=row.lost + count)
            case "come late":
                back = min(count, row.lost)
                row = account_of(row, lost=row.lost - back, late=row.late + back, delivered=row.delivered + back)
            case "blame":
                row = account_of(row, socket=min(row.lost, count))
            case "overflow":
                row = replace(row, overflow=row.overflow + count)
            case "name":
                row = replace(row, name="abc"[number])
        rows[number] = row
        if step == "forget":
            folded.append(rows.pop(number))
        if step == "look":
            whole = ledger(*rows.values(), folded=folded)
            look(totals, whole)
            now = {("delivered", label): count for label, count in totals.delivered.items()} | totals.lost
            now |= {("late", label): count for label, count in totals.late.items()}
            assert all(now[key] >= count for key, count in last.items())
            last = now
            assert sum(totals.delivered.values()) == whole.delivered
            assert sum(totals.lost.values()) - sum(totals.late.values()) == whole.lost + whole.overflow


def account_of(row, **changes):
    """The same session with other figures, its places adding up."""
    socket = changes.pop("socket", row.lost_by_place[SOCKET])
    changed = replace(row, **changes)
    socket = min(socket, changed.lost)
    return replace(changed, lost_by_place={SOCKET: socket, FLIGHT: changed.lost - socket})
