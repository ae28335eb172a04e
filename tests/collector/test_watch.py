"""Rows of senders: rates since the last look, busiest first."""

import pytest

from atmost.collector.watch import Watch
from atmost.core.events import Tail
from atmost.core.ledger import Ledger, SessionLedger


def ledger(**delivered):
    """An account of senders by how much of each was delivered; the other figures are made of it."""
    return Ledger(
        sessions=[
            SessionLedger(
                id=f"id of {name}",
                key_id=0,
                name=name,
                host="h",
                pid=17,
                tail=Tail.SILENT,
                sent=0,
                datagrams=1,
                last_seen=0.5,
                delivered=count,
                lost=count + 1,
                late=count + 2,
                pending=count + 3,
                refused={"duplicate": count + 4, "too_old": 99},
            )
            for name, count in delivered.items()
        ]
    )


def rates(rows):
    """The rates by sender."""
    return {row.sender: row.rate for row in rows}


def test_a_row_says_what_the_account_says():
    """With the tail as text and the duplicates apart from other refusals."""
    (row,) = Watch(0.0).look(ledger(a=10), 1.0)
    assert (row.sender, row.host, row.pid, row.session, row.tail) == ("a", "h", 17, "id of a", "silent")
    assert (row.delivered, row.lost, row.late, row.pending, row.duplicates_refused) == (10, 11, 12, 13, 14)
    assert row.last_seen == 0.5


def test_a_rate_is_of_the_time_since_the_last_look():
    """In messages a second, whatever the time between two looks."""
    watch = Watch(100.0)
    assert rates(watch.look(ledger(a=10), 102.0)) == {"a": 5.0}
    assert rates(watch.look(ledger(a=10), 103.0)) == {"a": 0.0}
    assert rates(watch.look(ledger(a=40), 103.5)) == {"a": 60.0}


def test_a_sender_that_comes_later_is_counted_from_nothing():
    """Its first row shows all of it."""
    watch = Watch(0.0)
    watch.look(ledger(a=10), 1.0)
    assert rates(watch.look(ledger(a=10, b=4), 3.0)) == {"a": 0.0, "b": 2.0}


def test_a_sender_that_is_gone_is_forgotten():
    """Its memory goes with it, so that a collector may run for years."""
    watch = Watch(0.0)
    watch.look(ledger(a=10, b=10), 1.0)
    assert rates(watch.look(ledger(b=10), 2.0)) == {"b": 0.0}
    assert rates(watch.look(ledger(a=10, b=10), 3.0)) == {"a": 10.0, "b": 0.0}


def test_the_busiest_come_first():
    """By rate, then by what was delivered, then by name, so that quiet rows keep their places."""
    watch = Watch(0.0)
    watch.look(ledger(d=50, c=10, b=50, a=0), 1.0)
    rows = watch.look(ledger(d=50, c=20, b=50, a=1), 2.0)
    assert [row.sender for row in rows] == ["c", "a", "b", "d"]


@pytest.mark.parametrize("now", [0.0, -1.0])
def test_two_looks_at_one_moment_divide_by_no_zero(now):
    """Nor does a clock that seems to stand or to go back."""
    watch = Watch(0.0)
    watch.look(ledger(a=1), 0.0)
    assert rates(watch.look(ledger(a=1), now)) == {"a": 0.0}


def test_nobody_sends():
    """No rows."""
    assert Watch(0.0).look(Ledger(), 1.0) == []
