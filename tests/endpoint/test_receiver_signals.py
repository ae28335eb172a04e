"""Signal handlers that come into a receiver: they drain it, raise out of it, change its keys, close it; by real signals at any moment."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter

import pytest

from atmost import Receiver, Sender
from atmost.core.keys import KeyMode, new_key
from tests.endpoint.tape import Hand
from tests.real import run, until

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="this platform has no timers that send signals"
)

INTERRUPTED = """
import json, os, signal, sys, threading, time
import atmost
way, count = sys.argv[1], int(sys.argv[2])
receiver = atmost.Receiver("memory://signals", max_queue=1000)
got, drained, raised = [], [], [0]
class Alarm(Exception):
    pass
inside = [False]
def handler(number, frame):
    if way == "drain":
        if inside[0]:
            return
        inside[0] = True
        while (message := receiver.receive(0)) is not None:
            drained.append(message.payload)
        inside[0] = False
    elif f"{os.sep}atmost{os.sep}" in frame.f_code.co_filename:
        raised[0] += 1
        raise Alarm
def send():
    with atmost.Sender("memory://signals", linger=0.0005) as sender:
        for number in range(count):
            sender.send("a", number)
            if number % 50 == 0:
                time.sleep(0.0005)
sending = threading.Thread(target=send)
signal.signal(signal.SIGALRM, handler)
sending.start()
signal.setitimer(signal.ITIMER_REAL, 0.0004, 0.0004)
while sending.is_alive():
    try:
        if (message := receiver.receive(0.005)) is not None:
            got.append(message.payload)
    except Alarm:
        pass
for _ in range(100):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        break
    except Alarm:
        pass
sending.join()
while (message := receiver.receive(0)) is not None:
    got.append(message.payload)
deadline = time.monotonic() + 10
while receiver.ledger().pending and time.monotonic() < deadline:
    time.sleep(0.01)
ledger = receiver.ledger()
receiver.close()
again = atmost.Receiver("memory://signals")
again.close()
print(json.dumps({"got": got, "drained": drained, "raised": raised[0], "delivered": ledger.delivered, "sent": ledger.sent,
    "pending": ledger.pending, "queued": ledger.queued, "overflow": ledger.overflow, "lost": ledger.lost,
    "balanced": ledger.balanced(), "refused": ledger.refused}))
"""


def interrupted(way: str, count: int) -> dict[str, object]:
    """What a program got that was interrupted thousands of times a second."""
    return json.loads(run(INTERRUPTED, way, str(count)))  # type: ignore[no-any-return]


def test_h2_a_handler_that_drains_in_the_middle_of_a_turn_repeats_nothing() -> None:
    """Each message goes to one of the two, and the account says so."""
    found = interrupted("drain", 30_000)
    both = [*found["got"], *found["drained"]]  # type: ignore[misc]
    assert max(Counter(both).values()) == 1
    assert found["refused"] == {}
    assert found["delivered"] == len(both)
    assert found["sent"] == len(both) + found["overflow"] + found["lost"]  # type: ignore[operator]
    assert (found["pending"], found["queued"], found["balanced"]) == (0, 0, True)


def test_an_exception_raised_by_a_signal_leaves_the_account_whole() -> None:
    """What was interrupted is finished by the next call; what was handed out at that moment, and never arrived, is called delivered."""
    found = interrupted("raise", 30_000)
    got: list[int] = found["got"]  # type: ignore[assignment]
    assert max(Counter(got).values()) == 1
    assert found["refused"] == {}
    assert 0 <= found["delivered"] - len(got) <= found["raised"]  # type: ignore[operator]
    assert found["sent"] == found["delivered"] + found["overflow"] + found["lost"]  # type: ignore[operator]
    assert (found["pending"], found["queued"], found["balanced"]) == (0, 0, True)


def test_the_keys_may_change_in_the_middle_of_anything() -> None:
    """From another thread: a rotation loses nothing while both are accepted, and raises nowhere."""
    old, new = (new_key(bytes([number]) * 32, number, KeyMode.SIGNED).text() for number in (1, 2))
    over = threading.Event()
    with Receiver("memory://rotating", key=[old, new]) as receiver:

        def rotate() -> None:
            while not over.is_set():
                receiver.accept_keys([new, old])
                receiver.accept_keys([old, new])

        rotating = threading.Thread(target=rotate)
        rotating.start()
        try:
            with Sender("memory://rotating", key=old) as one, Sender("memory://rotating", key=new) as other:
                for number in range(3000):
                    one.send("a", number)
                    other.send("a", number)
            got = Counter(message.payload for message in iter(lambda: receiver.receive(0.5), None))
        finally:
            over.set()
            rotating.join()
        assert set(got.values()) == {2}
        assert receiver.ledger().refused == {}


def test_a_close_in_the_middle_of_a_turn_is_done_by_the_turn() -> None:
    """The receiver is closed when the turn is over, its address is free, and what is queued is counted."""
    receiver = Receiver("memory://closed-inside")
    hand = Hand("memory://closed-inside")
    for number in range(10):
        hand.data(number)
    receive = receiver._intake.inlet.receive
    calls = []

    def closing() -> bytes | None:
        calls.append(1)
        if len(calls) == 5:
            receiver.close()
            assert not receiver.closed
            assert receiver.receive() is None
        return receive()

    receiver._intake.inlet.receive = closing  # type: ignore[method-assign]
    assert receiver.receive(0) is None
    assert receiver.closed
    ledger = receiver.ledger()
    assert (ledger.discarded, ledger.delivered) == (4, 0)
    assert ledger.balanced()
    Receiver("memory://closed-inside").close()
    until(lambda: receiver.closed)
