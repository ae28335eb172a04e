"""When a sender speaks of itself (R7), and at what pace it speaks at all."""

from itertools import pairwise

import pytest

from atmost.core.datagram import Kind
from atmost.core.limits import BEACON_AFTER_DATA
from atmost.core.sending import NOT_NOW, SenderOptions
from tests.core.twins import EPOCH_US, Sending

TICK = 1 / 128
"""Between two looks at the clock, seconds; exact in binary."""


def times_of(sending, kind=Kind.BEACON):
    """When each datagram of a kind was sent, seconds since the wall clock's beginning."""
    return [round((seen.sent_us - EPOCH_US) / 1e6, 2) for seen in sending.seen if seen.kind is kind]


def longest_silence(sending):
    """Between two beacons, or the last and the end, seconds."""
    times = [*times_of(sending), (sending.wall_us - EPOCH_US) / 1e6]
    return max(after - before for before, after in pairwise(times))


def test_r7_a_beacon_opens_every_session():
    """R7: it comes before the first data, so that the first message has a sender's name."""
    sending = Sending()
    sending.send("a")
    sending.drain()
    opening, first = sending.seen
    assert (opening.kind, opening.sequence, opening.count) == (Kind.BEACON, 0, 0)
    assert (opening.report.name, opening.report.host, opening.report.pid) == ("n", "h", 1)
    assert (first.kind, first.sequence) == (Kind.DATA, 1)


def test_r7_idle_beacons_begin_50_ms_after_the_data_and_grow_fourfold_to_5_s():
    """R7: 50 ms after the last data, then 0.2, 0.8 and 3.2 s later, then every 5 s."""
    sending = Sending(SenderOptions(linger=0))
    sending.send("a")
    sending.drain()
    sending.run(25.0)
    assert times_of(sending) == [0.0, 0.05, 0.25, 1.05, 4.25, 9.25, 14.25, 19.25, 24.25]


def test_r7_data_starts_the_schedule_again():
    """R7: after a long silence one message is again followed by a beacon within 50 ms."""
    sending = Sending(SenderOptions(linger=0))
    sending.send("a")
    sending.drain()
    sending.run(12.0)
    sending.send("b")
    sending.drain()
    before = len(times_of(sending))
    sending.run(0.3)
    assert times_of(sending)[before:] == [12.05, 12.25]


def test_r7_under_load_there_is_one_beacon_at_least_every_second():
    """R7: data every 8 ms never leaves 50 ms of silence, yet the receiver hears each second how much was sent."""
    sending = Sending(SenderOptions(linger=0))
    for _ in range(1280):
        sending.send("x")
        sending.drain()
        sending.pass_time(TICK)
    assert longest_silence(sending) <= 1 + 2 * TICK


@pytest.mark.parametrize("rate", [2_000, 20_000])
def test_r7_an_overloaded_pace_does_not_silence_the_beacons(rate):
    """R7: where pacing keeps data waiting for ever, beacons still come each second, and tell what was dropped."""
    sending = Sending(SenderOptions(linger=0.005, max_bytes_per_second=rate, max_buffer=4000), max_datagram=1000)
    for _ in range(1280):
        sending.send("x" * 200, "y" * 200)
        sending.drain(flush=False)
        sending.pass_time(TICK)
    assert sending.stats().dropped["pacing"] > 100
    assert longest_silence(sending) <= 1 + BEACON_AFTER_DATA + TICK
    assert sending.report.dropped["pacing"] > 100


def test_r7_what_is_due_can_be_handed_over():
    """R7: at each deadline there is something to hand over, also while a pace holds the data back."""
    sending = Sending(SenderOptions(linger=0.005, max_bytes_per_second=2_000, max_buffer=4000), max_datagram=1000)
    sending.drain()
    sending.send(*["x" * 200] * 30)
    sending.run(10.0)
    assert sending.stats().open == 0


def test_r7_each_beacon_announces_the_longest_wait_for_another():
    """R7, R21: what it announces holds even if the very next beacon is lost."""
    sending = Sending(SenderOptions(linger=0))
    sending.send("a")
    sending.drain()
    sending.run(30.0)
    beacons = [seen for seen in sending.seen if seen.kind is Kind.BEACON][1:]
    assert [seen.report.next for seen in beacons[:5]] == [0.8, 3.2, 5.0, 5.0, 5.0]
    for here, after in pairwise(beacons):
        assert after.sent_us - here.sent_us <= here.report.next * 1e6


def test_r7_goodbyes_have_numbers_of_their_own():
    """R7: up to three, each with a new number and nothing announced after it, so that one that arrives is enough."""
    sending = Sending(SenderOptions(linger=0))
    sending.send("a")
    sending.drain()
    sending.core.close()
    for _ in range(3):
        sending.goodbye()
    goodbyes = [seen for seen in sending.seen if seen.kind is Kind.GOODBYE]
    assert [(seen.sequence, seen.prior, seen.count, seen.report.next) for seen in goodbyes] == [
        (2, 1, 0, 0.0),
        (3, 1, 0, 0.0),
        (4, 1, 0, 0.0),
    ]
    assert sending.stats().handed_over == 1


def test_r7_without_a_session_there_is_none_to_end():
    """R7: a sender that never sent says no goodbye."""
    sending = Sending()
    sending.goodbye()
    assert sending.attempts == []
    assert not sending.core.began


def test_r7_a_goodbye_does_not_overtake_what_is_held():
    """R7: while a datagram waits for the transport there is no goodbye, for it would come before the data."""
    sending = Sending(SenderOptions(linger=0))
    sending.drain()
    sending.answer = lambda _data: NOT_NOW
    sending.send("a")
    sending.drain()
    attempts = len(sending.attempts)
    sending.goodbye()
    assert len(sending.attempts) == attempts


def test_a_pace_is_kept():
    """Over ten seconds of overload the bytes on the wire follow `max_bytes_per_second`, and the rest counts as pacing."""
    rate = 5_000
    sending = Sending(SenderOptions(linger=0.005, max_bytes_per_second=rate, max_buffer=4000), max_datagram=1000)
    for _ in range(1000):
        sending.send("x" * 200)
        sending.drain()
        sending.pass_time(0.01)
    spent = sum(map(len, sending.wire))
    assert 0.9 * 10 * rate < spent < 10 * rate + 2 * 1000
    assert set(sending.stats().dropped) == {"pacing"}


def test_a_paced_sender_that_is_held_up_drops_for_the_buffer():
    """The reason names what holds the messages up: the transport, not the pace."""
    sending = Sending(SenderOptions(linger=0.005, max_bytes_per_second=1e9, max_buffer=1000), max_datagram=600)
    sending.drain()
    sending.pass_time(TICK)
    sending.answer = lambda _data: NOT_NOW
    sending.send(*["x" * 200] * 20)
    assert set(sending.stats().dropped) == {"buffer_full"}


def test_a_sender_is_overfull_only_while_nothing_holds_it_up():
    """A full datagram that was left behind must be fetched; one that the transport keeps back need not."""
    sending = Sending(SenderOptions(linger=60), max_datagram=600)
    sending.drain()
    assert not sending.core.overfull(sending.now)
    sending.core.open.append(b"x" * 600)
    sending.core.size = 600
    assert sending.core.overfull(sending.now)
    sending.answer = lambda _data: NOT_NOW
    sending.offered += 1
    sending.drain()
    sending.core.open.append(b"x" * 600)
    sending.core.size = 600
    assert not sending.core.overfull(sending.now)
