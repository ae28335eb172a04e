"""The two loops around a monitor: the same changes from a thread that waits and from an event loop that does not."""

import asyncio
import time

import pytest

from atmost import AsyncReceiver, Heartbeat, HeartbeatMonitor, OptionError, Receiver, Sender
from atmost.heartbeats import watch, watch_async
from tests.endpoint.loops import go
from tests.real import BOUND

SEEN = ["up", "stopped"]


def test_a_thread_sees_a_life_and_its_end():
    """Every change is yielded, and the loop ends with its receiver."""
    states = []
    with Receiver("udp://127.0.0.1:0") as receiver, Sender(receiver.url) as sender:
        heartbeat = Heartbeat(sender, "one", 0.05).start()
        for change in watch(receiver, HeartbeatMonitor(), BOUND):
            states.append(str(change.state))
            if states == SEEN[:1]:
                heartbeat.stop()
            if states[-1] == "stopped":
                receiver.close()
    assert [state for state in states if state in SEEN] == SEEN


def test_an_event_loop_sees_the_same_and_goes_on_with_other_work():
    """While it waits, other tasks have their turns."""

    async def main():
        states, turns = [], 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        task = asyncio.create_task(other())
        async with AsyncReceiver("udp://127.0.0.1:0") as receiver:
            with Sender(receiver.url) as sender:
                heartbeat = Heartbeat(sender, "one", 0.05).start()
                async for change in watch_async(receiver, HeartbeatMonitor(), BOUND):
                    states.append(str(change.state))
                    if states == SEEN[:1]:
                        await asyncio.sleep(0.1)
                        heartbeat.stop()
                    if states[-1] == "stopped":
                        receiver.close()
        task.cancel()
        assert [state for state in states if state in SEEN] == SEEN
        assert turns > 5

    go(main)


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_it_ends_when_it_was_watched_for_long_enough(seconds):
    """A silence that never becomes a change does not keep it."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        began = time.monotonic()
        assert list(watch(receiver, HeartbeatMonitor(), seconds)) == []
        assert time.monotonic() - began >= seconds

        async def main():
            async with AsyncReceiver("udp://127.0.0.1:0") as other:
                assert [change async for change in watch_async(other, HeartbeatMonitor(), seconds)] == []

        go(main)


def test_each_loop_needs_its_own_receiver():
    """A thread that got the other kind would turn without end."""

    async def main():
        async with AsyncReceiver("memory://wrong") as in_loop:
            with pytest.raises(OptionError, match="receiver"):
                next(watch(in_loop, HeartbeatMonitor()))
        with Receiver("memory://wrong") as plain, pytest.raises(OptionError, match="receiver"):
            await anext(watch_async(plain, HeartbeatMonitor()))

    asyncio.run(main())
