"""Many senders of one sender: threads, and `send` inside `send` (R9). Nothing is lost, doubled, stuck, or miscounted."""

import datetime as dt
import gc
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atmost import Receiver, Sender, SenderStats
from atmost.endpoint import sender as module
from tests.endpoint.conftest import Make
from tests.endpoint.tape import Tape
from tests.real import BOUND, run, until

THREADS, EACH = 8, 2500


@pytest.fixture
def hectic() -> Iterator[None]:
    """Threads that take turns a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work: Callable[[int], object]) -> None:
    """Run `work(0)` to `work(7)` in threads that begin together."""
    start = threading.Barrier(THREADS)
    failed: list[BaseException] = []

    def begin(number: int) -> None:
        start.wait(BOUND)
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001  told to the test
            failed.append(error)

    threads = [threading.Thread(target=begin, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    assert not failed
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.usefixtures("hectic")
@pytest.mark.parametrize(("linger", "each"), [(0, 300), (0.001, EACH)])
@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "unix://{folder}/a.sock"])
def test_threads_share_a_sender(url: str, linger: float, each: int, tmp_path: Path) -> None:
    """Every message is accounted for once at both ends: offered, dropped, refused, handed over, delivered, lost (R20)."""
    answers = [0] * THREADS
    arrived: list[tuple[int, int]] = []
    with Receiver(url.format(folder=tmp_path), clock_guard=0, grace=0.01) as receiver:
        consumer = threading.Thread(target=receiver.run, args=(lambda message: arrived.append(tuple(message.payload)),))
        consumer.start()
        sender = Sender(receiver.url, linger=linger, max_datagram=1432)

        def work(thread: int) -> None:
            for number in range(each):
                answers[thread] += sender.send("a.b", (thread, number))

        at_once(work)
        assert sum(answers) == THREADS * each - sum(sender.stats().dropped.values())
        sender.close(1)
        stats = sender.stats()
        assert stats.offered == THREADS * each
        assert stats.open == 0
        assert stats.offered == stats.handed_over + sum(stats.refused.values()) + sum(stats.dropped.values())
        until(lambda: receiver.ledger().sessions[0].tail == "closed" and not receiver.ledger().pending)
        until(lambda: not receiver.ledger().queued)
    consumer.join(BOUND)
    ledger = receiver.ledger()
    assert len(set(arrived)) == len(arrived) == ledger.delivered
    assert ledger.sent == stats.handed_over + sum(stats.refused.values())
    assert ledger.lost == ledger.sent - ledger.delivered
    assert ledger.refused == {}
    assert ledger.balanced()


@pytest.mark.usefixtures("hectic")
def test_threads_keep_their_own_order(tape: Tape, make: Make) -> None:
    """Messages of one thread never overtake each other, and each is handed over once."""
    sender = make(linger=0.001)
    at_once(lambda thread: [sender.send("a", (thread, number)) for number in range(EACH)])
    sender.close(0)
    for thread in range(THREADS):
        assert [number for mine, number in tape.payloads() if mine == thread] == list(range(EACH))
    assert sender.stats() == SenderStats(THREADS * EACH, {}, 0, THREADS * EACH, {})


@pytest.mark.usefixtures("hectic")
def test_threads_that_are_refused_are_all_counted(tape: Tape, make: Make) -> None:
    """Drops as exactly as the rest."""
    tape.answer = lambda _datagram: "EAGAIN"
    sender = make(max_hold=60, max_buffer=2000)
    accepted = [0] * THREADS

    def work(thread: int) -> None:
        for number in range(EACH):
            accepted[thread] += sender.send("a", number)

    at_once(work)
    stats = sender.stats()
    assert stats.dropped == {"buffer_full": THREADS * EACH - sum(accepted)}
    assert stats.offered == THREADS * EACH


def test_two_that_come_at_once_are_not_left_behind(tape: Tape, make: Make) -> None:
    """Each finds the other's message in the buffer and is not the first: still somebody sees to both."""
    sender = make(linger=0.001)

    class Crowded(list[bytes]):
        def append(self, item: bytes) -> None:
            super().append(item)
            if len(self) == 1:
                sender.send("a", "inner")

    sender._core.open = Crowded()
    sender.send("a", "outer")
    until(lambda: tape.payloads() == ["outer", "inner"])


def test_a_transport_may_send_in_its_turn(tape: Tape, make: Make) -> None:
    """Whatever runs inside a hand-over finds the lock taken and leaves its message to the one who holds it."""
    more = iter(range(1, 10))

    def answer(_datagram: bytes) -> None:
        if (number := next(more, None)) is not None:
            sender.send("a", number)

    tape.answer = answer
    sender = make(linger=0)
    sender.send("a", 0)
    sender.flush()
    assert sorted(tape.payloads()) == list(range(10))


def test_a_turn_that_takes_long_is_not_looked_at_by_every_caller(
    tape: Tape, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at another thread's stack costs more than a message, and would keep the turn waiting even longer."""
    begun, over, looks = threading.Event(), threading.Event(), []

    def answer(_datagram: bytes) -> None:
        begun.set()
        over.wait(BOUND)

    is_on_stack = module._is_on_stack
    monkeypatch.setattr(module, "_is_on_stack", lambda *call: (looks.append(call), is_on_stack(*call))[1])
    tape.answer = answer
    sender = make(linger=0)
    slow = threading.Thread(target=sender.send, args=("a", "slow"))
    slow.start()
    assert begun.wait(BOUND)
    until(lambda: (sender.send("a", "other"), looks)[1])  # from here on the turn might be abandoned
    before = time.monotonic()
    for number in range(300):
        sender.send("a", number)
    many, took = len(looks), time.monotonic() - before
    over.set()
    slow.join(BOUND)
    assert many <= 2 + took / module._ABANDONED
    sender.close(1)
    assert tape.payloads()[-300:] == list(range(300))


def test_a_payload_may_send_while_it_is_encoded(tape: Tape, make: Make) -> None:
    """Encoding may run code of the user's."""
    sender = make(linger=60)

    class Somewhere(dt.tzinfo):
        def utcoffset(self, _moment: dt.datetime | None) -> dt.timedelta:
            sender.send("a", "inner")
            return dt.timedelta(0)

    sender.send("a", dt.datetime(2026, 1, 2, tzinfo=Somewhere()))
    sender.flush()
    *inner, outer = tape.payloads()
    assert set(inner) == {"inner"}
    assert outer == dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def test_a_logging_handler_may_send(tape: Tape, make: Make) -> None:
    """Under logging's own lock, from many threads."""
    sender = make(linger=0.001)

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sender.send("logs", record.getMessage())

    logger, handler = logging.getLogger("shop"), Handler()
    logger.addHandler(handler)
    at_once(lambda thread: [logger.warning("%d:%d", thread, number) for number in range(200)])
    logger.removeHandler(handler)
    sender.close(0)
    assert sorted(tape.payloads()) == sorted(f"{t}:{n}" for t in range(THREADS) for n in range(200))


def test_a_finalizer_may_send(tape: Tape, make: Make) -> None:
    """The garbage collector runs it anywhere, inside `send` too."""
    sender = make(linger=0.001)
    inside: list[bool] = []

    class Garbage:
        def __init__(self) -> None:
            self.ring = self

        def __del__(self) -> None:
            frames, frame = [], sys._getframe()
            while frame is not None:
                frames.append(frame.f_code.co_name)
                frame = frame.f_back  # type: ignore[assignment]
            inside.append("send" in frames)
            sender.send("a", "finalizer")

    before = gc.get_threshold()
    gc.set_threshold(3)
    try:
        for number in range(3000):
            Garbage()
            sender.send("a", [number])
    finally:
        gc.set_threshold(*before)
    gc.collect()
    sender.close(0)
    assert any(inside)
    assert tape.payloads().count("finalizer") == 3000
    assert [payload[0] for payload in tape.payloads() if payload != "finalizer"] == list(range(3000))
    assert sender.stats() == SenderStats(6000, {}, 0, 6000, {})


ALARMED = """
import itertools, json, signal, sys, time
import atmost
sender = atmost.Sender(sys.argv[1], linger=float(sys.argv[2]))
counter, alarms = itertools.count(), 0
def alarm(*_):
    global alarms
    alarms = next(counter) + 1
    sender.send("alarm", alarms - 1)
signal.signal(signal.SIGALRM, alarm)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
number = 0
while alarms < 500 or number < 5000:
    sender.send("main", number)
    number += 1
signal.setitimer(signal.ITIMER_REAL, 0)
alarms = next(counter)
while sender.stats().open:
    time.sleep(0.02)
    sender.flush()
sender.close()
stats = sender.stats()
numbered = stats.handed_over + sum(stats.refused.values())
print(json.dumps([number, alarms, stats.offered, stats.open, numbered, sum(stats.dropped.values())]))
"""


@pytest.mark.parametrize("linger", [0, 0.001])
def test_a_signal_handler_may_send(linger: float) -> None:
    """Also one that comes in the middle of `send`: nothing hangs, nothing is lost count of, nothing arrives twice."""
    arrived: list[tuple[str, int]] = []
    with Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver:
        consumer = threading.Thread(
            target=receiver.run, args=(lambda message: arrived.append((message.subject, message.payload)),)
        )
        consumer.start()
        number, alarms, offered, waiting, numbered, dropped = json.loads(run(ALARMED, receiver.url, linger))
        until(lambda: receiver.ledger().sessions[0].tail == "closed" and not receiver.ledger().queued)
        sent = receiver.ledger().sent
    consumer.join(BOUND)
    assert offered == number + alarms == numbered + dropped
    assert numbered == sent
    assert waiting == 0
    assert len(set(arrived)) == len(arrived)
    assert set(arrived) <= {("main", n) for n in range(number)} | {("alarm", n) for n in range(alarms)}


def test_a_close_hands_over_all_that_another_thread_left(tape: Tape, make: Make) -> None:
    """R21: while one thread stands in the transport, more waits than one turn hands over; the close that comes then drops nothing."""
    go_on, closing = threading.Event(), threading.Event()
    tape.answer = lambda _datagram: go_on.wait(BOUND) and None
    sender = make(linger=60, max_buffer=1 << 20)

    def stands() -> None:
        while not tape.attempts:
            sender.send("a", "x" * 100)

    def lets_go() -> None:
        closing.wait(BOUND)
        until(lambda: sender._core.closed)
        go_on.set()

    threads = [threading.Thread(target=work, daemon=True) for work in (stands, lets_go)]
    for thread in threads:
        thread.start()
    until(lambda: tape.attempts)
    for number in range(5000):
        sender.send("a", [number, "x" * 100])
    closing.set()
    sender.close(0)
    for thread in threads:
        thread.join(BOUND)
    stats = sender.stats()
    assert stats.dropped == {}
    assert (stats.open, stats.handed_over) == (0, stats.offered)
    assert tape.payloads()[-1][0] == 4999
