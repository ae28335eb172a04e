"""Beside other programs on the same servers: nats-py sees whole datagrams, and what it sends again is refused."""

import asyncio
import warnings

import pytest

import atmost
from tests.real import header

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import nats

pytestmark = pytest.mark.needs("nats-server")


def test_a_tape_of_everything_played_by_another_client_is_refused(server):
    """Ten times everything, on the subject where it was: nothing is processed twice, and all of it is counted."""
    url = server.url(options="lease=3")  # nobody may lose it, however busy the machine is

    async def tape(receiver):
        client = await nats.connect(f"nats://{server.address}")
        seen, complete = [], asyncio.Event()

        async def keep(message):
            seen.append((message.subject, message.data))
            if sum(header(data).count for _, data in datagrams(seen)) == 1_000:
                complete.set()

        await client.subscribe("atmost.test.*", cb=keep)
        await client.flush()
        await asyncio.to_thread(send, url)
        await complete.wait()
        original = datagrams(seen)
        for _ in range(10):
            for subject, data in original:
                await client.publish(subject, data)
        await client.flush()
        await client.close()
        return len(original)

    with atmost.Receiver(url, future_bound=0.05, clock_guard=0.05) as receiver:
        played = asyncio.run(tape(receiver))
        seen = []
        while (message := receiver.receive(0.3)) is not None:
            seen.append(message.payload)
        ledger = receiver.ledger()
    assert seen == list(range(1_000))
    assert ledger.refused == {"duplicate": 10 * played}


def datagrams(seen):
    """Return what is no announcement."""
    return [(subject, data) for subject, data in seen if not subject.endswith(".owners")]


def send(url):
    """Send a thousand messages."""
    with atmost.Sender(url) as sender:
        for number in range(1_000):
            sender.send("a.b", number)
    assert sender.stats().handed_over == 1_000
