"""R21: what is known of a session's end, and what a session shows of itself."""

import pytest

from atmost.core.datagram import Kind
from atmost.core.events import Tail
from atmost.core.limits import SILENT_INTERVALS
from atmost.core.sessions import SessionTable
from tests.core.twins import Receiving


def tail(there):
    """Of the only session."""
    (row,) = there.ledger().sessions
    assert row.tail_unknown == there.ledger().tail_unknown == (row.tail is Tail.SILENT)
    return row.tail


@pytest.mark.parametrize("announced", [0.2, 0.8, 5.0])
def test_r21_a_session_is_silent_after_three_announced_intervals(announced):
    """R21: nothing for three of the intervals its last beacon announced: from then on its tail is unknown."""
    there = Receiving()
    there.take(there.hand().beacon(next=announced))
    there.pass_time(round(SILENT_INTERVALS * announced * 1e6) - 1)
    assert tail(there) is Tail.ALIVE
    there.pass_time(2)
    assert tail(there) is Tail.SILENT


def test_r21_anything_accepted_is_a_sign_of_life():
    """R21: data counts as well as beacons, and a session that was silent is alive again."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.beacon(next=1.0))
    there.pass_time(10_000_000)
    assert tail(there) is Tail.SILENT
    hand.sent_us = there.wall_us
    there.take(hand.data())
    assert tail(there) is Tail.ALIVE


def test_r21_without_a_beacon_three_seconds_are_silence():
    """R21: a session whose beacons were all lost announced nothing; one second is taken for it."""
    there = Receiving()
    there.take(there.hand().data())
    there.pass_time(2_999_000)
    assert tail(there) is Tail.ALIVE
    there.pass_time(2000)
    assert tail(there) is Tail.SILENT


def test_r21_a_goodbye_ends_all_doubt():
    """R21: closed stays closed however long the silence, and its tail is known."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.data(), hand.goodbye())
    there.pass_time(10**9)
    assert tail(there) is Tail.CLOSED


@pytest.mark.parametrize("kind", [Kind.BEACON, Kind.GOODBYE])
def test_r21_a_lost_tail_is_known_at_the_next_sign(kind):
    """R21, R7: a beacon or goodbye carries `prior`, so what was lost at the very end is counted too."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.data())
    hand.skip(4)
    hand.skip(2)
    assert there.ledger().sent == 1
    there.take(hand.beacon(kind))
    assert there.ledger().pending == 6
    there.settle_all()
    assert there.ledger().lost == 6


def test_r21_one_goodbye_of_three_is_enough():
    """R21, R7: whichever arrives closes the session, and it is said once."""
    there = Receiving()
    hand = there.hand()
    goodbyes = [hand.goodbye() for _ in range(3)]
    assert [len(there.take(each)) for each in reversed(goodbyes)] == [2, 0, 0]
    assert tail(there) is Tail.CLOSED


def test_r21_a_forgotten_silence_stays_unknown():
    """R21: a session that fell silent and is then evicted does not become a known end: unknown is never 0."""
    there = Receiving(max_sessions=1)
    there.take(there.hand(1).beacon(next=1.0))
    there.pass_time(10_000_000)
    assert there.ledger().tail_unknown == 1
    there.take(there.hand(2).beacon())
    assert there.ledger().tail_unknown == 1


def test_r21_a_forgotten_goodbye_stays_known():
    """R21: a session that said goodbye is over, remembered or not."""
    there = Receiving(max_sessions=1)
    there.take(there.hand(1).goodbye())
    there.pass_time(10_000_000)
    there.take(there.hand(2).beacon())
    assert there.ledger().tail_unknown == 0


def test_a_session_shows_what_its_beacons_say():
    """§3: name, host, process and the sender's own counts come with the first beacon; until then they are empty."""
    there = Receiving()
    hand = there.hand()
    there.take(hand.data())
    (before,) = there.ledger().sessions
    assert (before.name, before.host, before.pid, before.sender_offered) == ("", "", 0, None)
    there.take(hand.beacon(name="w", host="box", pid=7, offered=9, dropped={"pacing": 2}, refused={"EPERM": 3}))
    there.pass_time(250_000)
    (row,) = there.ledger().sessions
    assert (row.name, row.host, row.pid, row.sender_offered) == ("w", "box", 7, 9)
    assert (row.sender_dropped, row.sender_refused) == ({"pacing": 2}, {"EPERM": 3})
    assert (row.last_seen, row.datagrams) == (pytest.approx(0.25), 2)
    assert row.id == hand.key[10:].hex()


def test_r12_a_table_with_room_evicts_nobody():
    """R12: nothing leaves without need, and the floor stays."""
    table = SessionTable(2, 100)
    assert table.victim(0.0) is None
    assert table.floor == table.boot_floor == 100
