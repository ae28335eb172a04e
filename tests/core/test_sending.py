"""What a sender hands over, and when (R2, R4)."""

import pytest

from atmost.core.datagram import Kind
from atmost.core.limits import MAX_NAME, OVERHEAD
from atmost.core.sending import SenderCore, SenderOptions
from tests.core.twins import PLAIN, Sending, encode_message, read


def data_of(sending):
    """The payloads of each DATA datagram that the transport took."""
    return [seen.payloads for seen in sending.seen if seen.kind is Kind.DATA]


def test_r4_messages_wait_for_company_until_the_linger_is_over():
    """R4: nothing leaves before, everything together then, in one datagram."""
    sending = Sending(SenderOptions(linger=0.005))
    sending.send(1, 2)
    sending.drain(flush=False)
    assert data_of(sending) == []
    sending.pass_time(0.004)
    sending.drain(flush=False)
    assert data_of(sending) == []
    sending.pass_time(0.001)
    sending.drain(flush=False)
    assert data_of(sending) == [[1, 2]]
    assert sending.stats().handed_over == 2


def test_r4_the_deadline_is_when_the_linger_ends():
    """R4: who sleeps until `next_deadline` finds something due, and no sooner than needed."""
    sending = Sending(SenderOptions(linger=0.005))
    assert sending.core.next_deadline() is None
    sending.drain()
    sending.send(1)
    assert sending.core.next_deadline() == pytest.approx(sending.now + 0.005)
    sending.drain()
    assert sending.core.next_deadline() == pytest.approx(sending.now + 0.05)


def test_r4_flush_hands_over_at_once():
    """R4: a flush does not wait for company."""
    sending = Sending(SenderOptions(linger=60))
    sending.send(1)
    sending.drain(flush=True)
    assert data_of(sending) == [[1]]


def test_r4_a_full_datagram_leaves_at_once():
    """R4: what does not fit any more pushes out what is there."""
    sending = Sending(SenderOptions(linger=60), max_datagram=OVERHEAD + 3 * len(encode_message(("s", "x" * 20))))
    sending.send("a" * 20, "b" * 20, "c" * 20)
    sending.drain(flush=False)
    assert [len(each) for each in data_of(sending)] == [3]
    sending.send("d" * 20, "e" * 20, "f" * 20, "g" * 20)
    assert [len(each) for each in data_of(sending)] == [3, 3]
    assert sending.stats().open == 1


def test_r4_without_linger_every_message_travels_alone():
    """R4: a linger of 0 puts no two messages into one datagram."""
    sending = Sending(SenderOptions(linger=0))
    sending.send(1, 2, 3)
    sending.drain(flush=False)
    assert data_of(sending) == [[1], [2], [3]]
    assert sending.core.capacity == 0, "the hot path never applies"


def test_r2_no_datagram_is_larger_than_it_may_be():
    """R2: whatever waited, each datagram keeps to its size, and no message is torn."""
    sending = Sending(SenderOptions(linger=60), max_datagram=300)
    for size in (1, 60, 200, 7, 150, 150, 90, 3):
        sending.core.open.append(encode_message(("s", "x" * size)))  # threads append without looking
        sending.offered += 1
    sending.core.size = 0  # a hint, and a wrong one
    sending.drain()
    assert all(len(each) <= 300 for each in sending.wire)
    assert [len(text) for each in data_of(sending) for text in each] == [1, 60, 200, 7, 150, 150, 90, 3]
    assert sending.stats().handed_over == 8


def test_r2_a_datagram_counts_no_more_than_the_largest_can_hold():
    """R2, R11.7: where a transport takes megabytes, C is the limit, or receivers would refuse it."""
    sending = Sending(SenderOptions(linger=60), max_datagram=2**20)
    item = encode_message(("s", None))
    sending.core.open.extend([item] * 70_000)
    sending.offered = 70_000
    sending.drain()
    assert [len(each) for each in data_of(sending)] == [16_360] * 4 + [4560]
    assert sending.stats().handed_over == 70_000


def test_r2_after_emsgsize_datagrams_shrink_and_messages_do_not():
    """R2: the path takes less than was thought: smaller datagrams, but the largest message allowed stays the same."""
    sending = Sending(SenderOptions(linger=60), max_datagram=1400)
    sending.drain()
    largest = sending.core.max_message
    sending.answer = lambda data: "EMSGSIZE" if len(data) > 800 else None
    sending.send(*["x" * 100] * 13)
    sending.drain()
    assert sending.stats().refused == {"EMSGSIZE": 12}
    sending.send(*["x" * 100] * 12)
    sending.drain()
    assert sending.stats().refused == {"EMSGSIZE": 12}
    assert sending.core.max_message == largest
    assert sending.core.capacity <= sending.core.room < largest


def test_r2_shrinking_never_grows_and_leaves_room_for_one_message():
    """R2: an answer of the path is taken when it is smaller, and however small it is, messages still leave one by one."""
    sending = Sending(SenderOptions(linger=60), max_datagram=1400)
    room = sending.core.room
    sending.core.shrink(60_000)
    assert sending.core.room == room
    sending.core.shrink(10)
    assert sending.core.room == 1
    sending.send("x" * 50, "y" * 50)
    sending.drain()
    assert data_of(sending) == [["x" * 50], ["y" * 50]]


def test_a_closed_sender_has_no_room():
    """After `close` the hot path's gate is shut for every size."""
    sending = Sending()
    sending.core.close()
    assert sending.core.capacity < 0
    assert not sending.send(None)[0]
    assert sending.stats().dropped == {"closed": 1}


def test_a_long_name_is_cut():
    """Names that a receiver would refuse are cut where the beacon is made."""
    core = SenderCore(SenderOptions(), 1432, lambda _: PLAIN, name="x" * 500, host="y" * 500, pid=1)
    core.begin(1, 2, 3.0)
    report = read(core.next_datagram(3.0, 2, flush=True).data).report
    assert (len(report.name), len(report.host)) == (MAX_NAME, MAX_NAME)


def test_r4_a_name_that_is_no_text_does_not_stop_anything():
    """R4: programs and hosts may be named in bytes that are no UTF-8; sending never raises for it, and the rest is legible."""
    core = SenderCore(SenderOptions(), 1432, lambda _: PLAIN, name="caf\udce9", host="\ud800", pid=1)
    core.begin(1, 2, 3.0)
    report = read(core.next_datagram(3.0, 2, flush=True).data).report
    assert (report.name, report.host) == ("caf?", "?")
