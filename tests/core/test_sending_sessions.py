"""One life of a sender: its identity, its clock, and what becomes of it when the wall clock is set back (§2, R5, R20)."""

import pytest

from atmost.core.datagram import HEADER_LAYOUT, Kind
from atmost.core.sending import NOT_NOW, SenderCore, SenderOptions
from tests.core.twins import EPOCH_US, PLAIN, Sending, read

STEP_BACK_US = 250_000
"""F/2 of the network preset, µs: what a session survives."""


def test_a_session_begins_with_the_first_hand_over():
    """Before it there is none, and nothing is due; its identity is the wall clock and the number it was given."""
    sending = Sending()
    assert sending.core.needs_session(EPOCH_US)
    assert not sending.core.began
    sending.drain()
    assert sending.core.began
    assert not sending.core.needs_session(EPOCH_US)
    (opening,) = sending.seen
    assert (opening.start_us, opening.random64) == (EPOCH_US, sending.random64)


def test_the_seal_is_made_for_the_identity_on_the_wire():
    """R1: a key's seal depends on the 18 bytes of key id, start and random number, as every header carries them."""
    asked = []

    def seals(identity):
        asked.append(identity)
        return PLAIN

    core = SenderCore(SenderOptions(), 1432, seals, name="n", host="h", pid=1, key_id=9)
    core.begin(11, 22, 3.0)
    sealed = core.next_datagram(3.0, 22, flush=True).data
    assert asked == [sealed[2:20]]
    assert HEADER_LAYOUT.unpack_from(sealed)[2:5] == (9, 22, 11)


def test_sent_us_is_the_wall_clock_and_never_decreases():
    """§3: the clock at sending; where it was set back a little, the session stays at the latest time it showed."""
    sending = Sending(SenderOptions(linger=0))
    moves = [0, 1000, -STEP_BACK_US, 5, -STEP_BACK_US // 2, STEP_BACK_US, 10]
    latest, expected = EPOCH_US, []
    for move in moves:
        sending.wall_us = max(latest - STEP_BACK_US, sending.wall_us + move)
        latest = max(latest, sending.wall_us)
        expected.append(latest)
        sending.send("x")
        sending.drain()
    assert [seen.sent_us for seen in sending.seen if seen.count] == expected
    assert len({seen.random64 for seen in sending.seen}) == 1


@pytest.mark.parametrize(("step_us", "sessions"), [(STEP_BACK_US, 1), (STEP_BACK_US + 1, 2), (86_400_000_000, 2)])
def test_a_clock_set_back_by_more_than_half_of_f_begins_a_new_session(step_us, sessions):
    """§2: within F/2 the session goes on, ahead of its clock; beyond it a new one begins, with its clock as it is."""
    sending = Sending(SenderOptions(linger=0))
    sending.send("a")
    sending.drain()
    sending.wall_us -= step_us
    sending.send("b")
    sending.drain()
    assert len({seen.random64 for seen in sending.seen}) == sessions
    last = sending.seen[-1]
    assert last.sent_us == (EPOCH_US if sessions == 1 else EPOCH_US - step_us)
    assert last.start_us <= last.sent_us


def test_a_new_session_numbers_from_0_and_opens_with_a_beacon():
    """R5, R7: numbers are never reused within a session, and a new one shares none with the old."""
    sending = Sending(SenderOptions(linger=0))
    sending.send("a", "b")
    sending.drain()
    sending.wall_us -= 86_400_000_000
    sending.send("c")
    sending.drain()
    fresh = [seen for seen in sending.seen if seen.random64 == sending.random64]
    assert [(seen.kind, seen.sequence, seen.prior) for seen in fresh] == [(Kind.BEACON, 0, 0), (Kind.DATA, 1, 0)]
    assert fresh[1].payloads == ["c"]


def test_r20_a_new_session_reports_only_its_own():
    """R20, R5: reports are cumulative in a session; what the one before did is not part of it."""
    sending = Sending(SenderOptions(linger=0))
    sending.send("a")
    sending.drain()
    sending.answer = lambda _data: "EPERM"
    sending.send("b")
    sending.drain()
    sending.core.close()
    sending.send("c")
    sending.core.closed = False
    sending.answer = lambda _data: None
    sending.wall_us -= 86_400_000_000
    sending.drain()
    assert (sending.report.offered, sending.report.dropped, sending.report.refused) == (0, {}, {})
    sending.send("d")
    sending.drain()
    sending.goodbye()
    assert sending.report.offered == 1
    assert sending.stats().offered == 4


@pytest.mark.parametrize("error", [None, "EPERM"])
def test_r20_a_held_datagram_belongs_to_the_session_that_numbered_it(error):
    """R20, R6: held over the beginning of a new session, it leaves under its old number and is not in the new report."""
    sending = Sending(SenderOptions(linger=0))
    sending.drain()
    sending.answer = lambda _data: NOT_NOW
    sending.send("a")
    sending.drain()
    old = sending.random64
    sending.wall_us -= 86_400_000_000
    sending.now += 0.01
    sending.answer = lambda data: error if read(data).random64 == old else None
    sending.send("b")
    sending.drain()
    sending.goodbye()
    assert [seen.payloads for seen in sending.seen if seen.random64 == old and seen.count] == ([] if error else [["a"]])
    assert (sending.report.offered, sending.report.refused) == (1, {})
    stats = sending.stats()
    assert stats.handed_over + sum(stats.refused.values()) == 2


def test_r1_another_key_takes_a_session_of_its_own():
    """R1: after a rotation numbers begin at 0 under another key, and the report with them."""
    sending = Sending(SenderOptions(linger=0))
    sending.send("a", "b")
    sending.drain()
    sending.core.rotate_key(9, lambda _session: PLAIN)
    assert sending.core.needs_session(sending.wall_us)
    sending.send("c")
    sending.drain()
    sending.goodbye()
    fresh = [seen for seen in sending.seen if seen.random64 == sending.random64]
    assert [(seen.kind, seen.sequence, seen.prior) for seen in fresh[:2]] == [(Kind.BEACON, 0, 0), (Kind.DATA, 1, 0)]
    assert {HEADER_LAYOUT.unpack_from(sealed)[2] for sealed in sending.wire} == {0, 9}
    assert sending.report.offered == 1
    assert sending.stats().offered == 3


def test_r6_what_is_held_when_the_key_changes_is_offered_again():
    """R6: a datagram of the old session that waits is due as before, though no message opens the new one."""
    sending = Sending(SenderOptions(linger=0))
    sending.drain()
    sending.answer = lambda _data: NOT_NOW
    sending.send("a")
    sending.drain()
    due = sending.core.next_deadline()
    sending.core.rotate_key(9, lambda _session: PLAIN)
    assert sending.core.next_deadline() == due
    assert sending.core.began
    sending.answer = lambda _data: None
    sending.pass_time(0.01)
    sending.drain()
    assert sending.seen[1].payloads == ["a"]
    assert not sending.core.held
