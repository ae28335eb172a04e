"""When datagrams leave and what is in them: at once while idle, full while busy, each message once (R4, R5, R7)."""

import pytest

from atmost import Receiver, Sender
from atmost.core.datagram import Kind
from atmost.endpoint import sender as module
from tests.endpoint.conftest import Busy, Make
from tests.endpoint.tape import Tape, data, kinds, payloads, report
from tests.real import header, raw_receiver, run, until, url_of, waiting


def test_a_lone_message_leaves_at_once(tape: Tape, make: Make) -> None:
    """Behind the beacon that opens its session, before `send` returns; the linger is for company."""
    make(linger=60).send("a", 1)
    assert kinds(tape.taken[:2]) == [Kind.BEACON, Kind.DATA]
    assert set(kinds(tape.taken[2:])) <= {Kind.BEACON}  # the next one is due 50 ms later
    assert payloads(tape.taken[1]) == [1]


def test_a_busy_sender_fills_datagrams(tape: Tape, make: Make, busy: Busy) -> None:
    """Full ones leave without anybody asking, and carry everything in order."""
    sender = make(linger=60)
    busy(sender)
    for number in range(1000):
        sender.send("a", number)
    full = data(tape.taken)[1:]
    assert 3 <= len(full) <= 8
    assert all(1432 - 10 <= len(datagram) <= 1432 for datagram in full)
    sender.flush()
    assert tape.payloads() == [None, *range(1000)]


def test_the_linger_ends_by_itself(tape: Tape, make: Make, busy: Busy) -> None:
    """Nobody has to send more, nor to flush."""
    sender = make(linger=0.001)
    busy(sender)
    sender.send("a", 1)
    sender.send("a", 2)
    until(lambda: tape.payloads() == [None, 1, 2])
    assert sender.stats().handed_over == 3


def test_flush_does_not_wait_for_company(tape: Tape, make: Make, busy: Busy) -> None:
    """It hands over what there is; nothing, when there is nothing."""
    sender = make(linger=60)
    sender.flush()
    assert tape.taken == []
    busy(sender)
    sender.send("a", 1)
    sender.send("a", 2)
    assert tape.payloads() == [None]
    assert sender.stats().open == 2
    sender.flush()
    sender.flush()
    assert [payloads(datagram) for datagram in data(tape.taken)] == [[None], [1, 2]]


def test_without_linger_each_message_has_a_datagram_of_its_own() -> None:
    """At once, on a real socket, as its header says."""
    with raw_receiver() as receiving, Sender(url_of(receiving), linger=0) as sender:
        for number in range(200):
            sender.send("a", number)
        arrived = data(waiting(receiving))
        assert [header(datagram).count for datagram in arrived] == [1] * 200
        assert [payload for datagram in arrived for payload in payloads(datagram)] == list(range(200))


def test_numbers_rise_by_one_and_prior_counts_messages(tape: Tape, make: Make, busy: Busy) -> None:
    """Beacons are numbered too, and every datagram says how many messages came before it (R5)."""
    sender = make(linger=60)
    busy(sender)
    for number in range(500):
        sender.send("a", number)
    sender.close(0)
    heads = [header(datagram) for datagram in tape.taken]
    assert [head.sequence for head in heads] == list(range(len(heads)))
    assert [head.prior for head in heads] == [sum(head.count for head in heads[:n]) for n in range(len(heads))]
    assert len({(head.start_us, head.random64) for head in heads}) == 1
    assert [head.sent_us for head in heads] == sorted(head.sent_us for head in heads)
    assert all(head.sent_us >= head.start_us for head in heads)


def test_a_tail_is_followed_by_a_beacon(tape: Tape, make: Make) -> None:
    """Which tells how many messages there were: a lost tail is known without anybody sending more (R7)."""
    make().send("a")
    until(lambda: kinds(tape.taken)[-2:] == [Kind.DATA, Kind.BEACON])
    assert report(tape.taken[-1]).offered == 1


def test_close_hands_over_and_says_goodbye(tape: Tape, make: Make, busy: Busy) -> None:
    """Three times, each with its own number (R7); then nothing any more."""
    sender = make(linger=60)
    busy(sender)
    sender.send("a", 1)
    sender.close(0.002)
    assert tape.payloads() == [None, 1]
    assert kinds(tape.taken)[-4:] == [Kind.DATA, *[Kind.GOODBYE] * 3]
    assert len({header(datagram).sequence for datagram in tape.taken}) == len(tape.taken)
    assert tape.closed
    taken = len(tape.taken)
    sender.close()
    sender.flush()
    assert len(tape.taken) == taken


def test_after_close_messages_are_dropped_and_counted(tape: Tape, make: Make) -> None:
    """`send` goes on answering, and says so."""
    sender = make()
    sender.send("a", 1)
    sender.close(0)
    assert [sender.send("a", 2), sender.send("b", 3)] == [False, False]
    assert tape.payloads() == [1]
    stats = sender.stats()
    assert (stats.offered, stats.handed_over, stats.dropped) == (3, 1, {"closed": 2})


def test_a_sender_that_never_sent_has_nothing_to_close(tape: Tape, make: Make) -> None:
    """No session, no goodbye."""
    make().close(0.002)
    assert tape.taken == []
    assert tape.closed


def test_a_block_closes_its_sender(tape: Tape, make: Make) -> None:
    """Also when it is left by an exception."""
    sender = make()

    def fail() -> None:
        with sender:
            sender.send("a", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert kinds(tape.taken)[-1] is Kind.GOODBYE


def test_nobody_holding_a_sender_closes_it(tape: Tape, monkeypatch: pytest.MonkeyPatch, busy: Busy) -> None:
    """With one goodbye: a finalizer must not wait."""
    monkeypatch.setattr(module, "open_outlet", lambda _url: tape)
    sender = Sender("memory://tape", linger=60)
    busy(sender)
    sender.send("a", 1)
    del sender
    until(lambda: tape.closed)
    assert tape.payloads() == [None, 1]
    assert kinds(tape.taken)[-2:] == [Kind.DATA, Kind.GOODBYE]


AT_EXIT = """
import sys, atmost
sender = atmost.Sender(sys.argv[1], linger=60)
for number in range(100):
    sender.send("a", number)
if sys.argv[2] == "error":
    sys.exit("failed")
"""


def test_the_end_of_the_program_closes_its_senders() -> None:
    """What waited for company leaves, and the receiver knows that this was all."""
    with raw_receiver() as receiving:
        run(AT_EXIT, url_of(receiving), "return")
        arrived = waiting(receiving)
        assert [payload for datagram in arrived for payload in payloads(datagram)] == list(range(100))
        assert kinds(arrived)[-1] is Kind.GOODBYE


def test_pacing_drops_what_does_not_fit_and_counts_it(tape: Tape, make: Make) -> None:
    """By its reason; what is handed over stays under the rate, and closing counts what still waits."""
    sender = make(max_bytes_per_second=1000, max_buffer=2000)
    answers = [sender.send("a", b"x" * 100) for _ in range(100)]
    stats = sender.stats()
    assert stats.dropped == {"pacing": answers.count(False)}
    assert stats.offered == 100
    assert stats.open > 0
    assert sum(map(len, tape.taken)) < 1432 + 1000
    sender.close(0)
    closed = sender.stats()
    assert closed.open == 0
    assert closed.dropped == {"pacing": answers.count(False), "closed": stats.open}
    assert closed.offered == 100


def test_a_clock_set_back_begins_a_new_session(tape: Tape, make: Make) -> None:
    """Beyond F/2: below the old times a receiver would refuse everything (GUARANTEE §2). Messages go on."""
    now_us = [1_700_000_000_000_000]
    tape.clock = lambda: now_us[0]
    sender = make(linger=0)
    for step in (0, 1000, -4000, -6001):
        now_us[0] += step
        sender.send("a", step)
    heads = [header(datagram) for datagram in tape.taken]
    assert [head.start_us for head in heads if head.sequence == 0] == [1_700_000_000_000_000, 1_699_999_999_990_999]
    sent = [
        head.sent_us for head, kind in zip(heads, kinds(tape.taken), strict=True) if kind is Kind.DATA
    ]  # beacons come as time passes
    assert sent == [1_700_000_000_000_000, 1_700_000_000_001_000, 1_700_000_000_001_000, 1_699_999_999_990_999]
    assert tape.payloads() == [0, 1000, -4000, -6001]


def test_the_account_of_a_real_exchange_agrees_with_the_receivers() -> None:
    """Everything handed over arrived, and the beacon said as much (R20)."""
    with Receiver("memory://account") as receiver:
        with Sender("memory://account") as sender:
            for number in range(1000):
                sender.send("a", number)
        stats = sender.stats()
        assert (stats.offered, stats.handed_over, stats.open, stats.dropped, stats.refused) == (1000, 1000, 0, {}, {})
        assert [receiver.receive(0).payload for _ in range(1000)] == list(range(1000))  # type: ignore[union-attr]
        assert receiver.receive(0) is None
        (session,) = receiver.ledger().sessions
        assert (session.sender_offered, session.delivered, session.tail) == (1000, 1000, "closed")
