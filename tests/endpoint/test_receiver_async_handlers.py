"""Handlers in an event loop: one message after the other, each started once, and the loop goes on turning (R14)."""

import asyncio
import contextlib
import threading

import pytest

from atmost import AsyncReceiver, Message, Sender, SubjectError
from tests.endpoint.loops import go
from tests.endpoint.tape import Hand
from tests.real import BOUND

URL = "memory://async-handlers"
UDP = "udp://127.0.0.1:0"


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_run_calls_the_handler_with_what_matches(kind: str) -> None:
    """A plain function or a coroutine function, one message after the other; what it raises is counted (R14)."""

    async def main() -> None:
        handled = []
        async with AsyncReceiver(URL) as receiver:

            def plain(message: Message) -> None:
                handled.append(message.payload)
                if message.payload == 2:
                    raise ValueError
                if message.payload == 4:
                    receiver.close()

            async def coroutine(message: Message) -> None:
                await asyncio.sleep(0)
                plain(message)

            with Sender(URL, linger=0) as sender:
                for number in range(5):
                    sender.send("orders.new", number)
                    sender.send("other", number)
                await receiver.run(plain if kind == "plain" else coroutine, subjects=("orders.*",))
            assert handled == [0, 1, 2, 3, 4]
            ledger = receiver.ledger()
            assert (ledger.handler_errors, ledger.delivered) == (1, 9)
            assert ledger.balanced()
            with pytest.raises(SubjectError):
                await receiver.run(plain, subjects=())

    go(main)


def test_a_cancelled_handler_is_counted_and_never_started_again() -> None:
    """Whether it is cancelled by itself or with the task that runs it (R14)."""

    async def main() -> None:
        started: list[int] = []
        async with AsyncReceiver(URL) as receiver:
            hand = Hand(URL)
            hand.data(0, 1, 2, 3)

            waiting = asyncio.Event()

            async def handle(message: Message) -> None:
                started.append(message.payload)
                if message.payload == 0:
                    raise asyncio.CancelledError
                if message.payload in {1, 2}:
                    waiting.set()
                    await asyncio.sleep(2 * BOUND)
                receiver.close()

            for _ in range(2):
                waiting.clear()
                task = asyncio.create_task(receiver.run(handle))
                await waiting.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await receiver.run(handle)
            assert started == [0, 1, 2, 3]
            ledger = receiver.ledger()
            assert (ledger.handler_errors, ledger.delivered, ledger.discarded) == (3, 4, 0)

    go(main)


def test_a_cancelled_wait_loses_nothing() -> None:
    """Whatever was received meanwhile is there for the next call."""

    async def main() -> None:
        async with AsyncReceiver(UDP, clock_guard=0) as receiver:
            with Sender(receiver.url, linger=0) as sender:
                arrived = []
                for number in range(200):
                    sender.send("a", number)
                    task = asyncio.create_task(receiver.receive())
                    for _ in range(number % 4):
                        await asyncio.sleep(0)
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        message = await task
                        assert message is not None
                        arrived.append(message.payload)
                while len(arrived) < 200:
                    arrived.append((await receiver.receive(BOUND)).payload)  # type: ignore[union-attr]
                assert sorted(arrived) == list(range(200))
            assert receiver.ledger().delivered == 200

    go(main)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_busy_receiver_does_not_starve_the_loop(kind: str) -> None:
    """Here every message causes the next one: other tasks have their turns all the same."""

    async def main() -> None:
        async with AsyncReceiver(URL) as receiver:
            sender = Sender(URL, linger=0)

            def plain(_message: Message) -> None:
                sender.send("a")

            async def coroutine(message: Message) -> None:
                plain(message)

            sender.send("a")
            running = asyncio.create_task(receiver.run(plain if kind == "plain" else coroutine))
            # What the sender's thread hands over may take its time.
            while receiver.ledger().delivered < 10:  # noqa: ASYNC110  the receiver has no event for it
                await asyncio.sleep(0)
            before = receiver.ledger().delivered
            for _ in range(100):
                await asyncio.sleep(0)
            # Without a turn after each datagram: some hundred thousand.
            assert receiver.ledger().delivered - before <= 1000
            receiver.close()
            await running
            sender.close(0)

    go(main)


def test_a_burst_is_drained_and_nothing_of_it_lost() -> None:
    """Faster than the handler is: it waits in the socket and in the queue."""

    async def main() -> None:
        seen: list[int] = []
        async with AsyncReceiver(UDP, clock_guard=0) as receiver:

            async def handle(message: Message) -> None:
                seen.append(message.payload)
                if len(seen) == 5000:
                    receiver.close()

            def send() -> None:
                with Sender(receiver.url, max_datagram=1432) as sender:
                    for number in range(5000):
                        sender.send("a", number)

            thread = threading.Thread(target=send)
            thread.start()
            await receiver.run(handle)
            thread.join(BOUND)
        assert seen == list(range(5000))

    go(main)
