"""What a sender hands over, when, and how it accounts for what it could not (R2, R4–R6, R20)."""

import pytest

from atmost.core.datagram import Kind
from atmost.core.events import DropReason
from atmost.core.limits import MAX_DATAGRAM, MAX_NAME, MIN_DATAGRAM, OVERHEAD
from atmost.core.sending import NOT_NOW, SenderCore, SenderOptions
from atmost.errors import OptionError
from tests.core.twins import PLAIN, Sending, encode_message, read

ERRNOS = ["ECONNREFUSED", "EMSGSIZE", "EPERM", "ENOBUFS", "ENETUNREACH"]


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


def test_r2_a_datagram_counts_at_most_a_u16():
    """R2: where a transport takes megabytes, the count of the header is the limit."""
    sending = Sending(SenderOptions(linger=60), max_datagram=2**20)
    item = encode_message(("s", None))
    sending.core.open.extend([item] * 70_000)
    sending.offered = 70_000
    sending.drain()
    assert [len(each) for each in data_of(sending)] == [65_535, 4465]
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


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("linger", -0.001),
        ("linger", 61),
        ("linger", float("nan")),
        ("max_datagram", MIN_DATAGRAM - 1),
        ("max_datagram", MAX_DATAGRAM + 1),
        ("max_bytes_per_second", 0),
        ("max_bytes_per_second", float("nan")),
        ("max_buffer", 507),
        ("max_buffer", (1 << 30) + 1),
        ("max_hold", -1),
        ("max_hold", 61),
    ],
)
def test_an_option_outside_its_range_is_the_callers_mistake(option, value):
    """It raises when it is made, and says which and what is expected."""
    with pytest.raises(OptionError, match=option) as caught:
        SenderOptions(**{option: value})
    assert caught.value.option == option
