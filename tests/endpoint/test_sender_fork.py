"""A forked child begins a life of its own: nothing of the parent's is sent twice, nothing of either is lost (R8)."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from atmost import Ledger, Message, Receiver
from atmost.core.datagram import Kind
from tests.real import BOUND, header, raw_receiver, run, until, url_of, waiting

PREPARE = """
import json, os, sys, threading, time
import atmost, atmost.core.sending
def busy(sender):
    atmost.core.sending._IMMEDIATE_EVERY = 1e9
    sender.send("parent", 0)
def wait(child):
    assert os.waitpid(child, 0)[1] == 0
"""


class Collected:
    """What arrived at a receiver, and its account after it has closed."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.ledger: Ledger | None = None

    def payloads(self, subject: str) -> list[Any]:
        """Return the payloads on one subject, in the order of their arrival."""
        return [message.payload for message in self.messages if message.subject == subject]

    def pids(self, subject: str) -> set[int]:
        """Return the processes they came from."""
        return {message.session.pid for message in self.messages if message.subject == subject}

    def sessions(self) -> int:
        """Return how many sessions there were."""
        return len({message.session.id for message in self.messages})


@contextmanager
def collecting() -> Iterator[tuple[str, Collected]]:
    """Receive until the block ends and everything has been taken; yields the address."""
    collected = Collected()
    with Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0) as receiver:
        consumer = threading.Thread(target=receiver.run, args=(collected.messages.append,))
        consumer.start()
        yield receiver.url, collected
        until(lambda: all(session.tail == "closed" for session in receiver.ledger().sessions))
        until(lambda: not receiver.ledger().queued)
    consumer.join(BOUND)
    collected.ledger = receiver.ledger()


FULL_BUFFER = (
    PREPARE
    + """
sender = atmost.Sender(sys.argv[1], name="forking", linger=60)
busy(sender)
for number in range(1, 100):
    sender.send("parent", number)
assert sender.stats().open == 99
if child := os.fork():
    wait(child)
    for number in range(100, 105):
        sender.send("parent", number)
    assert sender.stats().offered == 105
else:
    assert sender.stats().offered == 0
    for number in range(5):
        sender.send("child", number)
    assert sender.stats().offered == 5
sender.close(0)
print(os.getpid(), flush=True)
if not child:
    os._exit(0)
"""
)


def test_a_full_buffer_is_sent_by_the_parent_only() -> None:
    """The child starts with an empty one, in a session that carries its own process id."""
    with collecting() as (url, collected):
        child, parent = map(int, run(FULL_BUFFER, url).split())
    assert collected.payloads("parent") == list(range(105))
    assert collected.payloads("child") == list(range(5))
    assert (collected.pids("parent"), collected.pids("child")) == ({parent}, {child})
    assert collected.sessions() == 2
    assert collected.ledger is not None
    assert (collected.ledger.lost, collected.ledger.refused) == (0, {})


SILENT_CHILD = (
    PREPARE
    + """
sender = atmost.Sender(sys.argv[1], linger=60)
busy(sender)
sender.send("parent", 1)
if child := os.fork():
    wait(child)
    print("parent goes on")
    sender.send("parent", 2)
elif sys.argv[2] == "close":
    sender.close()
    sys.exit(0)
elif sys.argv[2] == "forget":
    del sender
    sys.exit(0)
else:
    sys.exit(0)
"""
)


@pytest.mark.parametrize("ending", ["exit", "close", "forget"])
def test_a_child_that_sends_nothing_says_nothing(ending: str) -> None:
    """Not even goodbye when it ends: the parent's session is not its own to end."""
    with raw_receiver() as receiving:
        run(SILENT_CHILD, url_of(receiving), ending)
        heads = [header(datagram) for datagram in waiting(receiving)]
    assert len({head.random64 for head in heads}) == 1
    assert [head.sequence for head in heads] == list(range(len(heads)))
    assert heads[-1].kind is Kind.GOODBYE


HELD = (
    PREPARE
    + """
sender = atmost.Sender(sys.argv[1], linger=0, max_datagram=508, max_hold=60)
number = 0
while sender._core.held is None:
    sender.send("parent", number)
    number += 1
if child := os.fork():
    wait(child)
    assert sender._core.held is not None
else:
    assert sender._core.held is None
    assert sender.stats() == atmost.SenderStats(0)
    os._exit(0)
"""
)


def test_a_held_datagram_stays_the_parents(tmp_path: Any) -> None:
    """The child never offers it, whenever the transport takes again."""
    with Receiver(f"unix://{tmp_path}/a.sock", clock_guard=0) as receiver:
        run(HELD, receiver.url)


THREADS = (
    PREPARE
    + """
sender = atmost.Sender(sys.argv[1], linger=0.001)
sys.setswitchinterval(1e-5)
go_on = True
def work(thread):
    number = 0
    while go_on:
        sender.send("parent", (thread, number))
        number += 1
        if number % 20 == 0:  # a receiver on a busy machine keeps up, so that no child's whole session is dropped
            time.sleep(0.005)
    sent[thread] = number
sent = [0] * 4
threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
for thread in threads:
    thread.start()
for name in range(20):
    time.sleep(0.001)
    if not (child := os.fork()):
        for number in range(50):
            sender.send("child", (name, number))
        sender.close(0.2)
        stats = sender.stats()
        os._exit(0 if (stats.offered, stats.open) == (50, 0) else 1)
    wait(child)
go_on = False
for thread in threads:
    thread.join()
sender.close(0)
stats = sender.stats()
print(json.dumps([sent, stats.offered, sum(stats.dropped.values())]))
"""
)


def test_children_forked_among_sending_threads() -> None:
    """Whatever the threads were in the middle of: no lock is inherited, and every message arrives at most once."""
    with collecting() as (url, collected):
        sent, offered, dropped = json.loads(run(THREADS, url, PYTHONWARNINGS="ignore"))
    assert offered == sum(sent)
    ledger = collected.ledger
    assert ledger is not None
    assert collected.sessions() == 21
    assert ledger.refused == {}
    assert ledger.sent == offered - dropped + 20 * 50
    arrived = Counter(map(tuple, collected.payloads("parent")))
    assert set(arrived.values()) <= {1}
    children = Counter(map(tuple, collected.payloads("child")))
    assert set(children.values()) <= {1}
    assert len(arrived) + len(children) == ledger.delivered == ledger.sent - ledger.lost


MULTIPROCESSING = (
    PREPARE
    + """
import multiprocessing
sender = atmost.Sender(sys.argv[1], linger=60)
def work(name):
    for number in range(10):
        sender.send("child", (name, number))
    sender.flush()
    sender.close(0)
busy(sender)
sender.send("parent", 1)
context = multiprocessing.get_context("fork")
workers = [context.Process(target=work, args=(name,)) for name in range(4)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
    assert worker.exitcode == 0
"""
)


def test_workers_of_multiprocessing_use_what_they_inherit() -> None:
    """Each in a session of its own."""
    with collecting() as (url, collected):
        run(MULTIPROCESSING, url)
    assert collected.payloads("parent") == [0, 1]
    assert sorted(map(tuple, collected.payloads("child"))) == [(w, n) for w in range(4) for n in range(10)]
    assert collected.sessions() == 5


FORK_IN_HANDOVER = (
    PREPARE
    + """
sender = atmost.Sender(sys.argv[1], linger=0, max_datagram=508)
sender.send("parent", 0)
take, forked = sender._core.outlet.send, []
def send_and_fork(*arguments):
    error = take(*arguments)
    if not forked:
        forked.append(os.fork())
    return error
sender._core.open = [atmost.core.datagram.encode_message(("parent", n)) for n in range(1, 50)]
sender._core.outlet.send = send_and_fork
sender.flush()
if forked[0]:
    wait(forked[0])
else:
    sender.send("child", 0)
sender.close(0)
"""
)


def test_a_fork_in_the_middle_of_a_hand_over() -> None:
    """As from a signal handler: the child comes back into the parent's hand-over, and lets it be."""
    with collecting() as (url, collected):
        run(FORK_IN_HANDOVER, url)
    assert collected.payloads("parent") == list(range(50))
    assert collected.payloads("child") == [0]
    assert collected.ledger is not None
    assert collected.ledger.refused == {}


EARLIER_HOOK = (
    """
import os, threading  # whose own hook comes first: threads may be started after it
os.register_at_fork(after_in_child=lambda: sender.send("child", 0))
"""
    + PREPARE
    + """
sender = atmost.Sender(sys.argv[1], linger=0)
sender.send("parent", 0)
if child := os.fork():
    wait(child)
    sender.close(0)
else:
    sender.send("child", 1)
    assert sender.stats() == atmost.SenderStats(2, {}, 0, 2, {})
    sender.close(0)
    os._exit(0)
"""
)


def test_another_hook_may_send_before_the_senders_own() -> None:
    """The child's life began with that, and is not begun again: both messages are of one session, and counted."""
    with collecting() as (url, collected):
        run(EARLIER_HOOK, url)
    assert collected.payloads("parent") == [0]
    assert collected.payloads("child") == [0, 1]
    assert collected.sessions() == 2


def test_a_closed_sender_is_closed_in_the_child_too() -> None:
    """Its parent has said goodbye to everybody."""
    code = "sender = atmost.Sender('memory://a'); sender.close(0)\nif not os.fork(): os._exit(sender.send('a'))\n"
    run(PREPARE + code + "print(os.wait()[1])")
