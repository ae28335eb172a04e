"""The receiver for asyncio: the same names and the same promises, and the loop goes on turning."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from atmost import (
    AddressInUse,
    AsyncReceiver,
    DatagramRefused,
    Loss,
    Message,
    OptionError,
    Sender,
    SessionOpened,
)
from tests.endpoint.loops import go
from tests.endpoint.tape import Hand
from tests.real import forge

URL = "memory://async"
UDP = "udp://127.0.0.1:0"


@pytest.mark.parametrize(
    "url", [UDP, pytest.param("udp://[::1]:0", marks=pytest.mark.needs("ipv6")), "unix://{folder}/a.sock", URL]
)
def test_the_first_message_of_a_newcomer_arrives(url: str, tmp_path: Path) -> None:
    """The first `await` waits until it does (R10)."""

    async def main() -> None:
        async with AsyncReceiver(url.format(folder=tmp_path)) as receiver:
            with Sender(receiver.url) as sender:
                sender.send("a", "first")
                message = await receiver.receive()
            assert message is not None
            assert message.payload == "first"
            assert receiver.ledger().refused == {}

    go(main)


def test_every_way_to_receive_waits_until_it_is_ready() -> None:
    """Also when an earlier wait was given up before its time (R10)."""

    async def main() -> None:
        receiver = AsyncReceiver(UDP, clock_guard=0.2)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(receiver.receive(), 0.01)
        assert receiver._intake.boot_wait() > 0
        assert await receiver.receive(0) is None
        assert receiver._intake.boot_wait() == 0
        receiver.close()

    go(main)


def test_messages_are_received_one_by_one() -> None:
    """None when the time is over."""

    async def main() -> None:
        async with AsyncReceiver(URL) as receiver:
            hand = Hand(URL)
            hand.data(1, 2)
            hand.data(3)
            assert [(await receiver.receive(0)).payload for _ in range(3)] == [1, 2, 3]  # type: ignore[union-attr]
            assert await receiver.receive(0) is None
            assert await receiver.receive(0.001) is None
            asyncio.get_running_loop().call_later(0.01, hand.data, 4)
            assert (await receiver.receive()).payload == 4  # type: ignore[union-attr]

    go(main)


def test_an_iteration_that_was_left_goes_on_where_it_was() -> None:
    """As with the other receiver."""

    async def main() -> None:
        async with AsyncReceiver(URL) as receiver:
            Hand(URL).data(*range(6))
            seen = []
            for _ in range(3):
                async for message in receiver:
                    seen.append(message.payload)
                    break
            async for event in receiver.events():
                assert isinstance(event, Message)
                seen.append(event.payload)
                break
            seen.append((await receiver.next_event(0)).payload)  # type: ignore[union-attr]
            seen.append((await receiver.receive(0)).payload)  # type: ignore[union-attr]
            assert seen == [0, 1, 2, 3, 4, 5]

    go(main)


def test_events_show_a_loss_in_its_place() -> None:
    """Also while nothing arrives: the grace ends by itself."""

    async def main() -> None:
        async with AsyncReceiver(URL, grace=0.01) as receiver:
            hand, seen = Hand(URL), []
            hand.data("before")
            hand.make("lost")
            hand.pass_on(hand.data("after"))
            async for event in receiver.events():
                seen.append(event)
                if isinstance(event, Loss):
                    break
            assert [type(event) for event in seen] == [SessionOpened, Message, Message, DatagramRefused, Loss]
            assert receiver.ledger().lost == 1

    go(main)


@pytest.mark.parametrize("url", [UDP, "unix://{folder}/a.sock", URL])
@pytest.mark.parametrize("way", ["receive", "next_event", "iteration", "events", "run"])
def test_closing_from_another_task_ends_it(way: str, url: str, tmp_path: Path) -> None:
    """Whatever the consuming task is waiting in; the address is free."""

    async def consume(receiver: AsyncReceiver) -> None:
        if way == "receive":
            assert await receiver.receive() is None
        elif way == "next_event":
            assert await receiver.next_event() is None
        elif way == "iteration":
            assert [message async for message in receiver] == []
        elif way == "events":
            assert [event async for event in receiver.events()] == []
        else:
            await receiver.run(lambda _message: None)

    async def main() -> None:
        receiver = AsyncReceiver(url.format(folder=tmp_path), clock_guard=0)
        await receiver.ready()
        task = asyncio.create_task(consume(receiver))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        receiver.close()
        receiver.close()
        await task
        assert receiver.closed
        assert await receiver.receive() is None
        AsyncReceiver(receiver.url, clock_guard=0).close()

    go(main)


def test_closing_before_the_first_await_ends_it_too() -> None:
    """Nothing has been watched yet."""

    async def main() -> None:
        receiver = AsyncReceiver(UDP)
        receiver.close()
        assert await receiver.receive() is None
        assert [message async for message in receiver] == []

    go(main)


def test_misuse_is_refused_as_by_the_other_receiver() -> None:
    """At construction; unknown options by name."""

    async def main() -> None:
        with pytest.raises(OptionError):
            AsyncReceiver(URL, grace=-1)
        with pytest.raises(TypeError, match="patience"):
            AsyncReceiver(URL, patience=1)
        async with AsyncReceiver(URL) as receiver:
            assert repr(receiver) == f"<AsyncReceiver on {URL}>"
            with pytest.raises(AddressInUse):
                AsyncReceiver(URL)
        assert repr(receiver) == f"<AsyncReceiver on {URL} (closed)>"

    go(main)


def test_hostile_datagrams_are_counted_and_good_ones_arrive() -> None:
    """The same core decides."""

    async def main() -> None:
        async with AsyncReceiver(URL) as receiver:
            hand = Hand(URL)
            for number in range(10):
                hand.pass_on(b"junk")
                hand.pass_on(forge([("a", "old")], sent_us=1))
                hand.data(number)
            arrived = [(await receiver.receive(0)).payload for _ in range(10)]  # type: ignore[union-attr]
            assert arrived == list(range(10))
            assert receiver.ledger().refused == {"malformed": 10, "boot_quarantine": 10}

    go(main)
