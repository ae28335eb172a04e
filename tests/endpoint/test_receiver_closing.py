"""Closing a receiver ends whatever waits for it, from wherever it is closed, and leaves an exact account."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from atmost import Message, Receiver, Sender
from atmost.core.events import Event
from atmost.core.receiving import ReceiverCore
from tests.endpoint.tape import Hand
from tests.real import BOUND, program, run, until

WAYS: dict[str, Callable[[Receiver], object]] = {
    "receive": Receiver.receive,
    "next_event": Receiver.next_event,
    "iteration": list,
    "events": lambda receiver: list(receiver.events()),
    "run": lambda receiver: receiver.run(lambda _message: None),
}


@pytest.fixture(params=["udp://127.0.0.1:0", "unix://{folder}/a.sock", "memory://closing"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    """A receiver on each kind of transport."""
    with Receiver(request.param.format(folder=tmp_path), clock_guard=0) as receiver:
        yield receiver


@pytest.mark.parametrize("way", WAYS)
def test_closing_from_another_thread_ends_it(way: str, receiver: Receiver) -> None:
    """Whatever the consuming thread is waiting in; the address is free by then."""
    ended: list[object] = []
    consumer = threading.Thread(target=lambda: ended.append(WAYS[way](receiver)), daemon=True)
    with Sender(receiver.url) as sender:
        if way not in {"receive", "next_event"}:
            sender.send("a", 1)
        consumer.start()
        if way not in {"receive", "next_event"}:
            until(lambda: receiver.ledger().delivered)
        receiver.close()
        consumer.join(BOUND)
    assert not consumer.is_alive()
    assert len(ended) == 1
    assert receiver.closed
    with Receiver(receiver.url, clock_guard=0) as next_one:
        assert next_one.url == receiver.url


def test_closing_from_the_handler_ends_the_run(receiver: Receiver) -> None:
    """Nothing is handled after it."""
    handled = []

    def handle(message: Message) -> None:
        handled.append(message.payload)
        receiver.close()

    with Sender(receiver.url) as sender:
        for number in range(3):
            sender.send("a", number)
        receiver.run(handle)
    assert handled == [0]
    ledger = receiver.ledger()
    assert ledger.delivered == 1
    assert ledger.balanced()


def test_a_block_closes_its_receiver() -> None:
    """Also when it is left by an exception."""
    receiver = Receiver("memory://block")

    def fail() -> None:
        with receiver:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert receiver.closed
    receiver.close()


def test_each_message_is_handled_or_discarded_while_another_thread_closes() -> None:
    """Never both, and never neither (R14)."""
    for number in range(100):
        receiver = Receiver("memory://race")
        hand = Hand("memory://race")
        hand.data(*range(50))
        hand.data(*range(50))
        handled: list[Message] = []
        consumer = threading.Thread(target=receiver.run, args=(handled.append,), daemon=True)
        closer = threading.Thread(target=receiver.close)
        consumer.start()
        if number % 2:
            until(lambda got=handled: got)
        closer.start()
        consumer.join(BOUND)
        closer.join(BOUND)
        ledger = receiver.ledger()
        assert ledger.delivered == len(handled)
        assert ledger.discarded == ledger.sent - len(handled)
        assert ledger.balanced()


def test_the_account_can_be_read_after_closing() -> None:
    """It stays what it was at the end."""
    receiver = Receiver("udp://127.0.0.1:0", clock_guard=0)
    with Sender(receiver.url) as sender:
        sender.send("a", 1)
        assert receiver.receive(BOUND) is not None
    receiver.close()
    first, second = receiver.ledger(), receiver.ledger()
    assert (first.delivered, first.kernel_drops) == (second.delivered, second.kernel_drops)
    assert first.delivered == 1


TERMINATED = """
import signal, sys
import atmost
receiver = atmost.Receiver(sys.argv[1], clock_guard=0)
signal.signal(signal.SIGTERM, lambda *_: receiver.close())
print(receiver.url, flush=True)
handled = 0
def handle(_message):
    global handled
    handled += 1
    if handled == 1:
        print("busy", flush=True)
receiver.run(handle)
ledger = receiver.ledger()
assert ledger.delivered == handled and ledger.balanced()
print("ended", flush=True)
"""


@pytest.mark.parametrize("load", ["idle", "busy"])
@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "unix://{folder}/a.sock"])
def test_a_signal_handler_may_close_the_receiver(load: str, url: str, tmp_path: Path) -> None:
    """Wherever it interrupts the receiving thread: waiting, reading, or in the handler."""
    with program(TERMINATED, url.format(folder=tmp_path)) as other:
        address = other.line()
        over = threading.Event()
        with Sender(address) as sender:

            def send() -> None:
                while not over.is_set():
                    sender.send("a", b"x" * 100)

            sending = threading.Thread(target=send, daemon=True)
            if load == "busy":
                sending.start()
                assert other.line() == "busy"
            os.kill(other.pid, signal.SIGTERM)
            assert other.line() == "ended"
            over.set()
            if load == "busy":
                sending.join(BOUND)
        assert other.end() == 0
    assert list(tmp_path.iterdir()) == []


FORGOTTEN = """
import sys, threading, atmost
receiver = atmost.Receiver(sys.argv[1], clock_guard=0)
threading.Thread(target=receiver.run, args=(print,), daemon=True).start()
"""


def test_a_program_that_forgets_its_receiver_ends_all_the_same(tmp_path: Path) -> None:
    """Nothing of it keeps the interpreter; the next receiver finds a stale socket at most."""
    assert run(FORGOTTEN, f"unix://{tmp_path}/a.sock") == ""
    Receiver(f"unix://{tmp_path}/a.sock", clock_guard=0).close()


def test_what_was_being_booked_when_a_signal_handler_closed_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It interrupts the receiver's own thread anywhere in a turn; nothing is delivered after it has closed."""
    with Receiver("memory://closing") as receiver:
        Hand(receiver.url).data(1, 2, 3)
        take = ReceiverCore.receive

        def interrupted(core: ReceiverCore, datagram: bytes, now: float, wall_us: int) -> Sequence[Event]:
            events = take(core, datagram, now, wall_us)
            receiver.close()
            return events

        monkeypatch.setattr(ReceiverCore, "receive", interrupted)
        assert list(receiver) == []
        ledger = receiver.ledger()
    assert (ledger.delivered, ledger.queued, ledger.discarded) == (0, 0, 3)
    assert ledger.balanced()


def test_what_was_taken_from_the_queue_when_a_signal_handler_closed_is_discarded() -> None:
    """As before, between the queue and the consumer."""
    with Receiver("memory://closing") as receiver:
        Hand(receiver.url).data(1, 2, 3)
        intake = receiver._intake
        intake.pump()

        class Interrupted(deque[Sequence[Event]]):
            def popleft(self) -> Sequence[Event]:
                batch = super().popleft()
                receiver.close()
                return batch

        intake._queue = Interrupted(intake._queue)
        assert receiver.receive(0) is None
        ledger = receiver.ledger()
    assert (ledger.delivered, ledger.queued, ledger.discarded) == (0, 0, 3)
    assert ledger.balanced()


def test_a_signal_handler_that_asks_for_the_account_books_no_loss_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """R19: what is due is left to the turn that it has interrupted, whether that reads or settles."""
    with Receiver("memory://closing", grace=0) as receiver:
        hand = Hand(receiver.url)
        hand.data(1)
        hand.make(*range(5))
        hand.data(2)
        core = receiver._intake._core
        settle, take, depths = core.handle_deadline, core.receive, [0]

        def interrupted(work: Callable[..., Sequence[Event]], *arguments: Any) -> Sequence[Event]:
            depths.append(depths[-1] + 1)
            receiver.ledger()
            events = work(*arguments)
            receiver.ledger()
            depths.append(depths[-1] - 1)
            return events

        monkeypatch.setattr(ReceiverCore, "handle_deadline", lambda _core, *given: interrupted(settle, *given))
        monkeypatch.setattr(ReceiverCore, "receive", lambda _core, *given: interrupted(take, *given))
        assert [receiver.receive(0) is not None for _ in range(2)] == [True, True]
        assert receiver.ledger().lost == 5
        assert max(depths) == 1


@pytest.mark.parametrize(("step", "turns"), [("receive", 3), ("handle_deadline", 1)])
def test_the_account_goes_on_after_an_interrupt_in_the_middle_of_a_turn(
    step: str, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R19: whoever ends a loop with Ctrl-C asks for the account then, and what is due by then is lost, not pending."""
    with Receiver("memory://closing", grace=0) as receiver:
        hand, core, left = Hand(receiver.url), receiver._intake._core, [turns]
        hand.data(1)
        hand.make(*range(5))
        hand.data(2)
        hand.data(3)
        work = getattr(core, step)

        def interrupted(_core: ReceiverCore, *arguments: Any) -> Sequence[Event]:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return work(*arguments)  # type: ignore[no-any-return]

        monkeypatch.setattr(ReceiverCore, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            receiver.receive(0)
        ledger = receiver.ledger()
    assert (ledger.lost, ledger.pending) == (5, 0)
