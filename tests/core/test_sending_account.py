"""What a number is spent on, what is held and what is refused, and that every message is accounted for (R5, R6, R20)."""

from contextlib import suppress

import pytest

from atmost.core.datagram import Kind
from atmost.core.events import DropReason
from atmost.core.limits import MIN_DATAGRAM
from atmost.core.sending import NOT_NOW, SenderOptions
from atmost.lab.guarantee.signals import Interruption, Signal
from tests.core.twins import Sending

ERRNOS = ["ECONNREFUSED", "EMSGSIZE", "EPERM", "ENOBUFS", "ENETUNREACH"]


def data_of(sending):
    """The payloads of each DATA datagram that the transport took."""
    return [seen.payloads for seen in sending.seen if seen.kind is Kind.DATA]


def test_r5_numbers_are_spent_at_the_hand_over():
    """R5: sequence numbers follow one another, beacons included, and `prior` counts the messages before each datagram."""
    sending = Sending(SenderOptions(linger=0))
    sending.send("a", "b", "c")
    sending.drain()
    sending.goodbye()
    assert [(seen.kind, seen.sequence, seen.prior, seen.count) for seen in sending.seen] == [
        (Kind.BEACON, 0, 0, 0),
        (Kind.DATA, 1, 0, 1),
        (Kind.DATA, 2, 1, 1),
        (Kind.DATA, 3, 2, 1),
        (Kind.GOODBYE, 4, 3, 0),
    ]
    assert sending.core.datagrams == 5


def test_r5_what_is_dropped_before_spends_no_number():
    """R5: a message that found no room leaves no gap; the beacon says how many there were, and why."""
    sending = Sending(SenderOptions(linger=60, max_buffer=MIN_DATAGRAM), max_datagram=MIN_DATAGRAM)
    sending.drain()
    sending.answer = lambda _data: NOT_NOW
    assert sending.send(*["x" * 100] * 5) == [True] * 4 + [True]
    assert sending.send(*["x" * 100] * 5)[-1] is False
    dropped = sending.stats().dropped
    assert set(dropped) == {"buffer_full"}
    sending.answer = lambda _data: None
    sending.pass_time(0.01)
    sending.drain()
    sending.goodbye()
    sequences = [seen.sequence for seen in sending.seen]
    assert sequences == list(range(len(sequences)))
    assert sending.report.dropped == dropped
    assert sending.report.offered == sending.offered


@pytest.mark.parametrize("errno", ERRNOS)
def test_r5_what_the_socket_refuses_has_spent_its_number(errno):
    """R5, R6: refused at the hand-over: one attempt, never repeated, counted by reason, and visible as a gap."""
    sending = Sending(SenderOptions(linger=0))
    sending.send("a")
    sending.drain()
    sending.answer = lambda _data: errno
    sending.send("b")
    sending.drain()
    sending.answer = lambda _data: None
    sending.send("c")
    sending.drain()
    sending.goodbye()
    assert [(seen.sequence, seen.prior, seen.payloads) for seen in sending.seen if seen.count] == [
        (1, 0, ["a"]),
        (3, 2, ["c"]),
    ]
    assert sending.stats().refused == {errno: 1}
    assert sending.report.refused == {errno: 1}
    assert len(set(sending.attempts)) == len(sending.attempts), "R6: nothing was offered twice"


def test_r5_a_refused_beacon_refuses_no_message():
    """R5: beacons hold no messages: their refusal is a gap without any, and no reason appears for it."""
    sending = Sending()
    sending.answer = lambda _data: "EPERM"
    sending.drain()
    assert sending.stats().refused == {}


def test_r6_not_now_is_held_and_offered_again_unchanged():
    """R6: EAGAIN is a certain refusal: the same sealed bytes wait, count as open, and leave when there is room."""
    sending = Sending(SenderOptions(linger=0, max_hold=1.0))
    sending.drain()
    sending.answer = lambda _data: NOT_NOW
    sending.send("a")
    sending.drain()
    assert sending.stats().open == 1
    attempts = len(sending.attempts)
    sending.drain()
    assert len(sending.attempts) == attempts, "not before a little while"
    assert sending.core.next_deadline() > sending.now
    sending.pass_time(0.01)
    sending.send("b")
    sending.drain()
    assert set(sending.attempts[attempts - 1 :]) == {sending.attempts[attempts - 1]}, "and nothing overtakes it"
    sending.answer = lambda _data: None
    sending.pass_time(0.01)
    sending.drain()
    assert data_of(sending) == [["a"], ["b"]]
    assert sending.stats().refused == {}


def test_r6_a_held_datagram_is_given_up_in_the_end():
    """R6: what outgrows its time is dropped, counted by its reason, and its number is a gap."""
    sending = Sending(SenderOptions(linger=0, max_hold=0.5))
    sending.drain()
    sending.answer = lambda _data: NOT_NOW
    sending.send("a")
    sending.drain()
    sending.run(0.49)
    assert sending.stats().open == 1
    sending.run(0.02)
    assert sending.stats().refused == {NOT_NOW: 1}
    sending.answer = lambda _data: None
    sending.pass_time(0.01)
    sending.send("b")
    sending.drain()
    assert data_of(sending) == [["b"]]
    assert sending.seen[-1].prior == 1


def test_r6_a_held_datagram_that_is_refused_is_not_held_again():
    """R6: any other errno ends the holding: it may have been transmitted."""
    sending = Sending(SenderOptions(linger=0))
    sending.drain()
    answers = iter([NOT_NOW, "ECONNREFUSED"])
    sending.answer = lambda _data: next(answers)
    sending.send("a")
    sending.drain()
    sending.pass_time(0.01)
    sending.answer = lambda _data: "ECONNREFUSED"
    sending.drain()
    assert sending.stats().refused == {"ECONNREFUSED": 1}
    assert sending.stats().open == 0


def test_r6_nothing_is_held_after_closing():
    """R6: a closed sender takes "not now" for a refusal."""
    sending = Sending(SenderOptions(linger=0))
    sending.drain()
    sending.send("a")
    sending.core.close()
    sending.answer = lambda _data: NOT_NOW
    sending.drain()
    assert sending.stats().refused == {NOT_NOW: 1}


def test_r6_the_buffer_behind_a_held_datagram_is_bounded():
    """R6: while the transport cannot take anything, memory stays at `max_buffer`, and the rest is counted."""
    sending = Sending(SenderOptions(linger=60, max_buffer=2000))
    sending.drain()
    sending.answer = lambda _data: NOT_NOW
    taken = sending.send(*["x" * 100] * 200)
    assert sum(map(len, sending.core.open)) <= 2000
    stats = sending.stats()
    assert stats.dropped == {"buffer_full": taken.count(False)}
    assert stats.offered == 200


def test_r20_every_message_offered_is_somewhere():
    """R20: `offered = dropped + open + handed_over + refused`, at every moment of a bad day."""
    sending = Sending(SenderOptions(linger=0.005, max_buffer=1500, max_hold=0.02), max_datagram=600)
    weather = [None, None, NOT_NOW, "ENOBUFS", NOT_NOW, NOT_NOW, None, "ECONNREFUSED"]
    for turn in range(400):
        sending.answer = lambda _data, turn=turn: weather[turn // 7 % len(weather)]
        sending.send(*["x" * (turn * 37 % 250)] * (turn % 5))
        sending.stats()
        sending.pass_time(0.003)
        sending.drain(flush=turn % 3 == 0)
        sending.stats()
    sending.core.close()
    sending.send("late")
    stats = sending.stats()
    assert stats.dropped[DropReason.CLOSED] == 1
    assert stats.refused.keys() == {"ENOBUFS", "ECONNREFUSED", NOT_NOW}
    assert min(stats.handed_over, stats.dropped["buffer_full"]) > 0


def test_r20_the_beacons_account_is_the_stats_account():
    """R20: what a beacon reports is what the sender itself shows."""
    sending = Sending(SenderOptions(linger=0))
    answers = [None, None, "EPERM", None]
    for number, error in enumerate(answers):
        sending.answer = lambda _data, error=error: error
        sending.send(number)
        sending.drain()
    sending.core.drop(DropReason.BUFFER_FULL)
    sending.offered += 1
    sending.goodbye()
    stats, report = sending.stats(), sending.report
    assert (report.offered, report.dropped, report.refused) == (stats.offered, stats.dropped, stats.refused)
    assert report.dropped == {"buffer_full": 1}


def test_r20_what_was_dropped_before_the_first_hand_over_is_reported_too():
    """R20, R5: the first session reports everything its sender counted, also what it dropped before it had a number."""
    sending = Sending()
    sending.core.drop(DropReason.FORKED)
    sending.offered += 1
    sending.drain()
    assert sending.report.dropped == {"forked": 1}
    assert sending.report.offered == 1


@pytest.mark.parametrize("error", [None, "ECONNREFUSED", NOT_NOW])
def test_r6_a_booking_that_was_interrupted_counts_once(error):
    """R6, R9: whichever line of it a signal handler raises at: as the socket answered, or as handed over, and never as both."""
    for line in range(1, 30):
        sending = Sending(SenderOptions(linger=60))
        sending.drain()  # the beacon
        sending.send("a")
        core, now = sending.core, sending.now
        outgoing = core.next_datagram(now, sending.wall_us, flush=True)
        assert outgoing.count == 1
        outgoing.attempted = True
        with suppress(Signal), Interruption(line):
            core.handed_over(outgoing, error, now)
        assert core.stats().offered == 1, line
        core.recover(now)
        stats = core.stats()
        assert (stats.offered, stats.handed_over + sum(stats.refused.values()) + stats.open) == (1, 1), line
