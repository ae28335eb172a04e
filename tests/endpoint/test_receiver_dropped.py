"""H2: a receiver that is dropped without `close()` gives its address free."""

import asyncio
import gc
from pathlib import Path

import pytest

from atmost import AsyncReceiver, Receiver, Sender
from tests.real import BOUND


@pytest.mark.parametrize("scheme", ["memory://dropped", "udp://127.0.0.1:0", "unix://{}/dropped.sock"])
def test_h2_a_dropped_receiver_lets_go(scheme: str, tmp_path: Path) -> None:
    """As an open file would: the next receiver there is no second one."""
    receiver = Receiver(scheme.format(tmp_path), clock_guard=0)
    url = receiver.url
    with Sender(url) as sender:
        sender.send("a", 1)
        assert receiver.receive(BOUND) is not None
    iteration = iter(receiver.events())
    del receiver, iteration
    gc.collect()
    with Receiver(url, clock_guard=0) as again, Sender(url) as sender:
        sender.send("a", 2)
        message = again.receive(BOUND)
        assert message is not None
        assert message.payload == 2


def test_h2_an_event_loop_does_not_keep_a_dropped_receiver(tmp_path: Path) -> None:
    """The loop that watches its socket holds it weakly, and watches it no more."""

    async def main() -> None:
        url = f"unix://{tmp_path}/a.sock"
        receiver = await AsyncReceiver(url, clock_guard=0).ready()
        assert await receiver.receive(0.01) is None
        del receiver
        gc.collect()
        async with AsyncReceiver(url, clock_guard=0) as again:
            with Sender(url) as sender:
                sender.send("a", "again")
                message = await again.receive(BOUND)
                assert message is not None
                assert message.payload == "again"

    asyncio.run(main())
