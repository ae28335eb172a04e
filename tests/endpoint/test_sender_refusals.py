"""What the transport refuses: counted by its name, never handed over twice, never in the caller's way (R4–R6)."""

import socket
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from atmost import PayloadTooLarge, Receiver, Sender, SenderStats
from atmost.core.datagram import Kind
from tests.endpoint.conftest import Busy, Make
from tests.endpoint.tape import Tape, data, kinds, payloads, report
from tests.real import header, raw_receiver, until, url_of, waiting


def settled(sender: Sender) -> SenderStats:
    """Wait until nothing is buffered or held any more; return what became of everything."""
    return until(lambda: None if sender.stats().open else sender.stats())


@pytest.mark.parametrize("error", ["ECONNREFUSED", "EPERM", "ENOBUFS", "ENETUNREACH", "EUNKNOWN"])
def test_a_refusal_is_one_attempt_and_is_counted(error: str, tape: Tape, make: Make) -> None:
    """By its name, in messages. Its number is spent: the receiver sees a gap (R5, R6)."""
    refusing = {1, 3}
    tape.answer = lambda datagram: error if set(payloads(datagram)) & refusing else None
    sender = make(linger=0)
    assert all(sender.send("a", number) for number in range(5))
    assert tape.payloads() == [0, 2, 4]
    assert len(data(tape.attempts)) == 5
    # One after the other; on a busy machine a beacon may come in between, and spends a number too.
    assert [header(datagram).sequence for datagram in tape.attempts] == list(range(len(tape.attempts)))
    assert len(tape.attempts) - len(tape.taken) == len(refusing)
    assert sender.stats() == SenderStats(5, {}, 0, 3, {error: 2})


def test_the_refused_messages_are_told_in_the_beacons(tape: Tape, make: Make) -> None:
    """Cumulatively, so that a report that is lost loses nothing (R5)."""
    tape.answer = lambda datagram: "EPERM" if 1 in payloads(datagram) else None
    sender = make(linger=0)
    sender.send("a", 0)
    sender.send("a", 1)
    sender.close(0.002)
    said = [report(datagram) for datagram in tape.taken[-3:]]
    assert [(told.offered, told.refused) for told in said] == [(2, {"EPERM": 1})] * 3


@pytest.mark.parametrize("seed", range(5))
def test_nothing_that_may_have_been_transmitted_is_offered_again(seed: int, tape: Tape, make: Make) -> None:
    """Whatever the transport answers, in whatever order; only what was certainly refused as "not now" is (R6)."""
    random = Random(seed)
    answers: dict[bytes, list[str | None]] = {}

    def answer(datagram: bytes) -> str | None:
        error = random.choice([None, None, "EAGAIN", "EAGAIN", "ECONNREFUSED", "ENOBUFS", "EMSGSIZE"])
        answers.setdefault(datagram, []).append(error)
        return error

    tape.answer, tape.path = answer, 1432
    sender = make(linger=0.001, max_hold=60)
    for number in range(300):
        sender.send("a", number)
        if number % 7 == 0:
            sender.flush()
    stats = settled(sender)
    sender.close(0)
    assert all(error == "EAGAIN" for told in answers.values() for error in told[:-1])
    numbers = [header(datagram).sequence for datagram in tape.attempts]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == len(answers)
    arrived = Counter(tape.payloads())
    assert max(arrived.values()) == 1
    assert len(arrived) == stats.handed_over
    assert stats.offered == 300 == stats.handed_over + sum(stats.refused.values())


def test_not_now_is_held_and_offered_again(tape: Tape, make: Make) -> None:
    """The same bytes, before anything newer, until they are taken; what comes meanwhile waits its turn."""
    full = [True]
    tape.answer = lambda datagram: "EAGAIN" if full[0] and payloads(datagram) else None
    sender = make(max_hold=60)
    sender.send("a", 0)
    for number in range(1, 50):
        assert sender.send("a", number)
    until(lambda: len(tape.attempts) > 5)
    assert len(set(data(tape.attempts))) == 1
    assert sender.stats() == SenderStats(50, {}, 50, 0, {})
    full[0] = False
    assert settled(sender) == SenderStats(50, {}, 0, 50, {})
    assert tape.payloads() == list(range(50))


def test_what_is_held_too_long_is_refused(tape: Tape, make: Make) -> None:
    """And the next gets its chance; nothing waits for ever."""
    tape.answer = lambda datagram: "EAGAIN" if 0 in payloads(datagram) else None
    sender = make(max_hold=0.01)
    for number in range(10):
        sender.send("a", number)
    stats = settled(sender)
    assert stats.refused == {"EAGAIN": 1}
    assert tape.payloads() == list(range(1, 10))


def test_what_outgrows_the_buffer_is_dropped_and_counted(tape: Tape, make: Make) -> None:
    """`send` answers False, and memory does not grow (R4)."""
    tape.answer = lambda _datagram: "EAGAIN"
    sender = make(max_hold=60, max_buffer=5000)
    answers = [sender.send("a", b"x" * 90) for _ in range(1000)]
    stats = sender.stats()
    assert stats.dropped == {"buffer_full": answers.count(False)}
    assert stats.offered == 1000 == stats.open + answers.count(False)
    assert sum(map(len, sender._core.open)) <= 5000
    sender.close(0)
    closed = sender.stats()
    assert (closed.offered, closed.open, closed.handed_over) == (1000, 0, 0)
    assert sum(closed.dropped.values()) + sum(closed.refused.values()) == 1000


def test_a_transport_that_takes_again_at_close_gets_what_waits(tape: Tape, make: Make) -> None:
    """Closing tries for as long as it may take."""
    answers = iter(["EAGAIN"] * 3)
    tape.answer = lambda datagram: next(answers, None) if payloads(datagram) else None
    sender = make(max_hold=60, linger=60)
    for number in range(20):
        sender.send("a", number)
    sender.close(1)
    assert tape.payloads() == list(range(20))
    assert kinds(tape.taken).count(Kind.GOODBYE) == 3
    assert sender.stats() == SenderStats(20, {}, 0, 20, {})


def test_nothing_is_numbered_after_the_goodbye(tape: Tape, make: Make) -> None:
    """A receiver takes it for the end (R21): what could not leave before it is dropped, and the goodbye says so."""
    tape.answer = lambda datagram: "EAGAIN" if payloads(datagram) else None
    sender = make(linger=0, max_hold=60)
    for number in range(300):
        sender.send("a", number)
    sender.close(0.01)
    kinds_after = kinds(tape.attempts)[kinds(tape.attempts).index(Kind.GOODBYE) :]
    assert Kind.DATA not in kinds_after
    assert kinds_after.count(Kind.GOODBYE) == 3
    stats = sender.stats()
    assert (stats.offered, stats.open) == (300, 0)
    told = report(tape.taken[-1])
    assert (told.offered, told.dropped, told.refused) == (300, stats.dropped, stats.refused)


@pytest.mark.parametrize(("path", "fits"), [(700, 700), (None, 716)])
def test_after_emsgsize_datagrams_are_smaller(path: int | None, fits: int, tape: Tape, make: Make, busy: Busy) -> None:
    """As small as the path says, or half; the one that did not fit is gone (R2, R6)."""
    tape.path = path
    tape.answer = lambda datagram: "EMSGSIZE" if len(datagram) > 720 else None
    sender = make(linger=60)
    busy(sender)
    for number in range(1000):
        assert sender.send("a", number)
    sender.flush()
    first, *others = data(tape.attempts)[1:]
    assert 1400 < len(first) <= 1432
    assert all(fits - 10 <= len(datagram) <= fits for datagram in others[:-1])
    lost = len(payloads(first))
    assert sender.stats() == SenderStats(1001, {}, 0, 1001 - lost, {"EMSGSIZE": lost})
    assert tape.payloads() == [None, *range(lost, 1000)]


def test_a_message_that_was_allowed_stays_allowed(tape: Tape, make: Make) -> None:
    """The largest payload is fixed at construction: what does not fit the path any more is refused and counted (R2)."""
    tape.path = 700
    tape.answer = lambda datagram: "EMSGSIZE" if len(datagram) > 700 else None
    sender = make(linger=0)
    assert sender.send("a", b"x" * 1300)
    assert sender.send("a", b"y" * 1300)
    assert sender.send("a", b"small")
    with pytest.raises(PayloadTooLarge):
        sender.send("a", b"x" * 1400)
    assert sender.stats().refused == {"EMSGSIZE": 2}
    assert tape.payloads() == [b"small"]


@pytest.mark.needs("linux", "ipv6")
def test_a_real_path_that_takes_less_shrinks_the_datagrams() -> None:
    """IPv6 on the loopback interface takes 65,488 bytes; what comes after the refusal arrives (R2)."""
    with Receiver("udp://[::1]:0", clock_guard=0) as receiver, Sender(receiver.url, max_datagram=65_507) as sender:
        sender.send("a", b"")
        assert sender.send("a", b"x" * (65_507 - 48 - 3 - 16 - 6))
        sender.flush()
        assert sender.stats().refused == {"EMSGSIZE": 1}
        sender.send("a", b"y" * 60_000)
        sender.flush()
        sizes = [len(receiver.receive(10).payload) for _ in range(2)]  # type: ignore[union-attr]
        assert sizes == [0, 60_000]
        assert sender._core.room == 65_488 - 67


@pytest.mark.needs("linux")
def test_without_a_receiver_refusals_are_counted_by_errno() -> None:
    """The kernel tells with the next datagram; `send` neither raises nor repeats (R6)."""
    with raw_receiver() as gone:
        url = url_of(gone)
    with Sender(url, linger=0) as sender:
        assert all(sender.send("a", number) for number in range(100))
        until(lambda: not sender.stats().open)  # the background thread may be at it
        stats = sender.stats()
        assert stats.refused.keys() == {"ECONNREFUSED"}
        assert stats.handed_over + stats.refused["ECONNREFUSED"] == 100 == stats.offered
        assert stats.refused["ECONNREFUSED"] >= 40


def test_a_full_unix_queue_holds_and_then_delivers(tmp_path: Path) -> None:
    """A receiver that reads again gets all of it, in order: the kernel takes ten datagrams, the sender holds the rest."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(tmp_path / "a.sock"))
        with Sender(url_of(receiving), max_datagram=1432, max_hold=60) as sender:
            sent = 0
            while sender._core.held is None:
                assert sender.send("a", sent)
                sent += 1
            for _ in range(100):
                assert sender.send("a", sent)
                sent += 1
            assert sender.stats().open >= 100
            arrived: list[object] = []
            until(lambda: arrived.extend(p for d in waiting(receiving) for p in payloads(d)) or len(arrived) == sent)
            assert arrived == list(range(sent))
            assert sender.stats() == SenderStats(sent, {}, 0, sent, {})


def test_a_unix_queue_that_stays_full_is_counted(tmp_path: Path) -> None:
    """What was held longer than `max_hold` is refused by its errno, and the rest dropped when the buffer is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stopped:
        stopped.bind(str(tmp_path / "a.sock"))
        sender = Sender(url_of(stopped), max_datagram=1432, max_hold=0.005, max_buffer=3000)
        answers = 0
        while not (sender.stats().refused and sender.stats().dropped):
            answers += sender.send("a", b"x" * 100)
        sender.close(0)
        stats = sender.stats()
        assert stats.refused.keys() == {"EAGAIN"}
        assert stats.dropped.keys() <= {"buffer_full", "closed"}
        assert stats.open == 0
        arrived = [payload for datagram in waiting(stopped) for payload in payloads(datagram)]
        assert len(arrived) == stats.handed_over
        assert stats.offered == stats.handed_over + sum(stats.refused.values()) + sum(stats.dropped.values())
        assert answers == stats.offered - stats.dropped["buffer_full"]
