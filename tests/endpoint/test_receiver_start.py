"""A receiver that is there is ready: the first message of a newcomer arrives, on every transport (R10)."""

import threading
import time
from pathlib import Path

import pytest

from atmost import AddressInUse, Receiver, Sender
from tests.real import BOUND, program

EVERY_TRANSPORT = [
    "udp://127.0.0.1:0",
    "udp://0.0.0.0:0",
    pytest.param("udp://[::1]:0", marks=pytest.mark.needs("ipv6")),
    pytest.param("udp://239.255.71.40:0?interface=lo", marks=pytest.mark.needs("multicast")),
    "unix://{folder}/a.sock",
    "memory://start",
]


@pytest.mark.parametrize("url", EVERY_TRANSPORT)
def test_the_first_message_of_a_newcomer_arrives(url: str, tmp_path: Path) -> None:
    """With the bounds that are usual there; at once, not only after some time."""
    with Receiver(url.format(folder=tmp_path)) as receiver, Sender(receiver.url, name="newcomer") as sender:
        assert sender.send("a", "first")
        message = receiver.receive(BOUND)
        assert message is not None
        assert (message.payload, message.session.name) == ("first", "newcomer")
        ledger = receiver.ledger()
        assert (ledger.delivered, ledger.before_join, ledger.lost, ledger.refused) == (1, 0, 0, {})


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "unix://{folder}/a.sock"])
def test_what_is_sent_during_the_start_is_refused_and_the_rest_arrives(url: str, tmp_path: Path) -> None:
    """It might be a repetition of what an earlier incarnation has processed; nothing of it is called lost."""
    with Receiver(url.format(folder=tmp_path), clock_guard=0) as earlier:
        address = earlier.url
    over = threading.Event()
    sender = Sender(address, linger=0)

    def send() -> None:
        number = 0
        while not over.is_set():
            sender.send("a", number)
            number += 1
            over.wait(0.001)

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    with Receiver(address, clock_guard=0.1) as receiver:
        assert receiver.ledger().refused["boot_quarantine"] > 10  # read by then, and not left in the socket's buffer
        numbers = [receiver.receive(BOUND).payload for _ in range(50)]  # type: ignore[union-attr]
        over.set()
        sending.join(BOUND)
        ledger = receiver.ledger()
    sender.close(0)
    assert numbers == list(range(numbers[0], numbers[0] + 50))
    assert numbers[0] > 0
    assert ledger.refused.keys() == {"boot_quarantine"}
    assert (ledger.before_join, ledger.lost) == (numbers[0], 0)


def test_a_start_that_is_interrupted_frees_the_address() -> None:
    """By Ctrl-C while it waits."""
    started = time.monotonic()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("atmost.endpoint.intake.Intake.boot_wait", lambda _intake: interrupt())
        with pytest.raises(KeyboardInterrupt):
            Receiver("memory://interrupted")
    Receiver("memory://interrupted").close()
    assert time.monotonic() - started < BOUND


HOLD = """
import sys, atmost
receiver = atmost.Receiver(sys.argv[1], clock_guard=0)
print(receiver.url, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "unix://{folder}/a.sock"])
def test_a_second_receiver_is_refused_until_the_first_is_gone(url: str, tmp_path: Path) -> None:
    """Killed without a chance to clean up: the next one starts at once (H2)."""
    with program(HOLD, url.format(folder=tmp_path)) as other:
        address = other.line()
        with pytest.raises(AddressInUse, match="is in use by "):
            Receiver(address)
        other.kill()
        with Receiver(address, clock_guard=0) as next_one, Sender(address) as sender:
            sender.send("a", 1)
            assert next_one.receive(BOUND) is not None
