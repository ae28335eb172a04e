"""Between socket and handler: a start that forgets nothing, a bounded queue, and an account that is right at any moment."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atmost import Message, Receiver, Sender
from atmost.core.limits import MAX_DATAGRAM
from atmost.core.shards import Shards
from atmost.endpoint import intake as module
from atmost.endpoint.intake import Intake, IntakeOptions
from atmost.transport.base import Inlet, wall_clock
from atmost.transport.url import open_inlet, open_outlet
from tests.endpoint.tape import Hand
from tests.real import BOUND, forge, until

URL = "memory://intake"


@pytest.fixture
def intake() -> Iterator[Intake]:
    """One on the network inside the process, with a queue of ten messages."""
    intake = Intake(IntakeOptions(max_queue=10), URL)
    yield intake
    intake.close()


def drain(intake: Intake) -> list[object]:
    """Take what is queued, as a consumer would; return the payloads."""
    taken = []
    while intake.next_batch():
        taken += [event.payload for event in intake.current if isinstance(event, Message)]
    return taken


@pytest.mark.parametrize(("url", "f_and_g"), [("udp://127.0.0.1:0", 510_000), ("udp://0.0.0.0:0", 1_000_000)])
def test_the_clock_is_read_after_the_bind(url: str, f_and_g: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor lies F + G above a reading made when datagrams of the address could already arrive (R10)."""
    bound_us = []

    def bind(url: str, shards: Shards | None) -> Inlet:
        inlet = open_inlet(url, shards)
        bound_us.append(wall_clock())
        return inlet

    monkeypatch.setattr(module, "open_inlet", bind)
    intake = Intake(IntakeOptions(), url)
    ready_us = wall_clock()
    intake.close()
    assert bound_us[0] + f_and_g <= intake._core.floor_us <= ready_us + f_and_g


def test_what_arrives_before_it_is_ready_is_refused_and_counted() -> None:
    """It is read all the same: the socket's buffer must not hold it until later (R10)."""
    intake = Intake(IntakeOptions(clock_guard=0.2), "udp://127.0.0.1:0")
    with Sender(intake.inlet.url, linger=0) as early, Sender(intake.inlet.url, linger=0) as late:
        early.send("a", "early")
        until(lambda: [intake.pump()] and intake.ledger().datagrams_in == 2)
        assert intake.ledger().refused == {"boot_quarantine": 2}
        assert 0 < intake.boot_wait() <= 0.2101
        while wait := intake.boot_wait():
            intake.inlet.wait(wait)
            intake.pump()
        early.send("a", "in time")
        until(lambda: [intake.pump()] and intake._queue)
        late.send("a", "first")
        until(lambda: [intake.pump()] and len(intake._queue) == 2)
        assert drain(intake) == ["in time", "first"]
        ledger = intake.ledger()
        assert ledger.refused.keys() == {"boot_quarantine"}
        assert [session.before_join for session in ledger.sessions] == [1, 0]
    intake.close()


def test_a_clock_set_back_during_the_start_delays_it_by_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the monotonic clock (R10); until the wall clock has passed the floor, what arrives is refused."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    intake = Intake(IntakeOptions(future_bound=0.25, clock_guard=0.5), URL)
    hour_ago_us = intake.inlet.clock() - 3_600_000_000
    monkeypatch.setattr(intake.inlet, "clock", lambda: hour_ago_us)
    assert intake.boot_wait() == pytest.approx(1.75)
    now[0] += 1.74
    assert intake.boot_wait() == pytest.approx(0.01)
    now[0] += 0.01
    assert intake.boot_wait() == 0
    intake.close()


@pytest.mark.parametrize("counts", [[1] * 40, [4, 4, 4, 4], [25], [10, 1]])
def test_what_finds_the_queue_full_is_dropped_and_counted_exactly(counts: list[int], intake: Intake) -> None:
    """After it was marked (R14): sending it again does not help."""
    hand, number = Hand(URL), 0
    datagrams = []
    for count in counts:
        datagrams.append(hand.data(*range(number, number + count)))
        number += count
    intake.pump(messages=1000)
    ledger = intake.ledger()
    assert (ledger.queued, ledger.overflow, ledger.delivered) == (10, number - 10, 0)
    assert ledger.balanced()
    for datagram in datagrams:
        hand.pass_on(datagram)
    assert drain(intake) == list(range(10))
    intake.pump()
    ledger = intake.ledger()
    assert (ledger.queued, ledger.overflow, ledger.delivered) == (0, number - 10, 10)
    assert ledger.refused == {"duplicate": len(counts)}
    hand.data("more")
    intake.pump()
    assert drain(intake) == ["more"]


@pytest.mark.parametrize(
    ("sizes", "queued"),
    [
        ([1024] * 8, 5),  # each counts as two
        ([511] * 12, 10),
        ([60_000], 1),  # a single one always finds room
        ([60_000, 1], 1),
        ([1, 60_000], 1),
    ],
)
def test_large_messages_count_as_several(sizes: list[int], queued: int, intake: Intake) -> None:
    """Or they would fill the memory long before the queue is full."""
    hand = Hand(URL)
    for size in sizes:
        hand.data("x" * (size - 100 if size > 100 else size))
    intake.pump(messages=1000)
    ledger = intake.ledger()
    assert (ledger.queued, ledger.overflow) == (queued, len(sizes) - queued)
    assert len(drain(intake)) == queued
    hand.data("more")
    intake.pump()
    assert drain(intake) == ["more"]
    assert intake.ledger().balanced()


def test_of_a_datagram_of_large_messages_as_many_are_kept_as_find_room(intake: Intake) -> None:
    """The first ones, as of small ones."""
    hand = Hand(URL)
    hand.data(0)
    hand.data(*(f"{number}{'x' * 1024}" for number in range(8)))
    intake.pump(messages=1000)
    ledger = intake.ledger()
    assert (ledger.queued, ledger.overflow) == (1 + 7, 1)
    assert [str(payload)[0] for payload in drain(intake)] == list("00123456")


def test_a_slow_handler_does_not_keep_the_socket_from_being_read() -> None:
    """What arrives meanwhile goes into the queue, and beyond it is counted here: not lost in the kernel, unseen."""
    handled = []
    with (
        Receiver("udp://127.0.0.1:0", clock_guard=0, max_queue=20) as receiver,
        Sender(receiver.url, linger=0) as sender,
    ):

        def handle(message: Message) -> None:
            handled.append(message.payload)
            if message.payload == 0:
                for number in range(1, 60):
                    sender.send("a", number)
                sender.close(0)
            if message.payload < 2:
                slow_until = time.monotonic() + 2 * module._SLOW_HANDLER
                while time.monotonic() < slow_until:
                    pass
            if message.payload == 21:
                receiver.close()

        sender.send("a", 0)
        receiver.run(handle)
    ledger = receiver.ledger()
    assert handled == list(range(22))
    assert (ledger.delivered, ledger.overflow, ledger.lost, ledger.pending) == (22, 38, 0, 0)
    assert ledger.sessions[0].tail == "closed"
    assert ledger.balanced()


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_what_is_queued_at_the_end_is_discarded_and_counted(taken: int, intake: Intake) -> None:
    """Half-taken datagrams too; it is neither delivered nor lost (R20)."""
    hand = Hand(URL)
    hand.data(1, 2, 3)
    hand.data(4, 5)
    Hand(URL, random64=2).data(6)
    intake.pump()
    intake.next_batch()
    for _ in range(taken):
        next(intake.current)
    intake.close()
    intake.close()
    assert list(intake.current) == []
    assert not intake.next_batch()
    ledger = intake.ledger()
    assert (ledger.delivered, ledger.discarded, ledger.queued, ledger.lost) == (taken, 6 - taken, 0, 0)
    assert [session.discarded for session in ledger.sessions] == [5 - taken, 1]
    assert ledger.balanced()


def test_the_account_balances_at_any_moment() -> None:
    """Asked for by other threads while one consumes (R20)."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    handled, unbalanced, looks = [0], [], [0]
    over = threading.Event()
    try:
        with Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0, max_queue=200) as receiver:

            def look() -> None:
                while not over.is_set():
                    ledger = receiver.ledger()
                    looks[0] += 1
                    if not ledger.balanced() or ledger.delivered < 0:
                        unbalanced.append(ledger)

            def handle(_message: Message) -> None:
                handled[0] += 1

            threads = [threading.Thread(target=look, daemon=True) for _ in range(2)]
            threads.append(threading.Thread(target=receiver.run, args=(handle,)))
            for thread in threads:
                thread.start()
            with Sender(receiver.url, linger=0.001, max_datagram=1432) as sender:
                for number in range(20_000):
                    sender.send("a", number)
            until(lambda: receiver.ledger().sessions[0].tail == "closed" and not receiver.ledger().queued)
            over.set()
            receiver.close()
            for thread in threads:
                thread.join(BOUND)
    finally:
        sys.setswitchinterval(before)
    ledger = receiver.ledger()
    assert not unbalanced
    assert looks[0] > 20
    assert ledger.delivered == handled[0] > 0
    assert ledger.sent == 20_000 == ledger.delivered + ledger.overflow + ledger.lost + ledger.discarded


def test_one_turn_reads_a_bounded_number(intake: Intake) -> None:
    """However many wait: between two turns the handler has its chance."""
    hand = Hand(URL)
    for number in range(200):
        hand.data(number)
    assert intake.pump() is True
    assert intake.ledger().datagrams_in == 64
    assert [intake.pump() for _ in range(3)] == [True, True, False]
    assert intake.ledger().datagrams_in == 200


def test_one_turn_ends_when_it_takes_long(monkeypatch: pytest.MonkeyPatch, intake: Intake) -> None:
    """Large datagrams hold up nothing else: it looks at the clock in between, and reads on in the next turn."""
    outlet = open_outlet(URL)
    for _ in range(8):
        outlet.send(bytes(50_000))
    monkeypatch.setattr(module, "_TURN", -1.0)  # any time is too long
    taken = []
    for more in (True, True, False):
        assert intake.pump() is more
        taken.append(sum(intake.ledger().refused.values()))
    assert taken == [3, 6, 8]
    outlet.close()


def test_the_largest_datagrams_are_taken(tmp_path: Path) -> None:
    """From a Unix socket as from UDP."""
    content = os.urandom(MAX_DATAGRAM - 48 - 3 - 16 - 6)
    for url in (f"unix://{tmp_path}/a.sock", "udp://127.0.0.1:0"):
        with Receiver(url, clock_guard=0) as receiver:
            outlet = open_outlet(receiver.url)
            datagram = forge([("a", content)])
            assert len(datagram) == MAX_DATAGRAM
            assert outlet.send(datagram) is None
            assert receiver.receive(BOUND).payload == content  # type: ignore[union-attr]
            outlet.close()
