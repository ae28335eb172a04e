"""The network inside the process: the same interface, and its own clock."""

import select
import threading
import time
from collections.abc import Iterator

import pytest

from atmost.core.limits import MAX_DATAGRAM
from atmost.errors import AddressInUse
from atmost.transport.memory import MemoryInlet, MemoryOutlet, memory_network
from atmost.transport.url import parse_url
from tests.real import BOUND, run

NETWORK = parse_url("memory://twin")


@pytest.fixture
def inlet() -> Iterator[MemoryInlet]:
    """A receiving end."""
    inlet = MemoryInlet(NETWORK)
    yield inlet
    inlet.close()


def test_datagrams_come_out_in_order_and_unchanged(inlet: MemoryInlet) -> None:
    """From every sending end of the name, and from no other."""
    MemoryOutlet(NETWORK).send(b"first")
    MemoryOutlet(parse_url("memory://other")).send(b"elsewhere")
    MemoryOutlet(NETWORK).send(b"second")
    assert [inlet.receive() for _ in range(3)] == [b"first", b"second", None]


def test_the_largest_datagram_is_udps() -> None:
    """What fits here fits a real network; nothing ever has to shrink."""
    outlet = MemoryOutlet(NETWORK)
    assert outlet.max_datagram == MAX_DATAGRAM
    assert outlet.path_datagram() is None


def test_without_a_receiver_a_datagram_is_gone() -> None:
    """As on a real network: it is not kept for who comes later."""
    assert MemoryOutlet(NETWORK).send(b"into the void") is None
    later = MemoryInlet(NETWORK)
    assert later.receive() is None
    later.close()


def test_a_name_has_one_receiver_at_a_time(inlet: MemoryInlet) -> None:
    """The second is refused, until the first has closed (H2)."""
    with pytest.raises(AddressInUse, match=r"^memory://twin is in use by a receiver of this process: ") as refused:
        MemoryInlet(NETWORK)
    assert refused.value.holder == "a receiver of this process"
    inlet.close()
    second = MemoryInlet(NETWORK)
    inlet.close()
    MemoryOutlet(NETWORK).send(b"to the second")
    assert second.receive() == b"to the second"
    second.close()


def test_a_full_queue_drops_and_counts(inlet: MemoryInlet) -> None:
    """Memory is bounded, and a drop is told as the kernel tells one."""
    outlet = MemoryOutlet(NETWORK)
    for number in range(5000):
        assert outlet.send(b"%d" % number) is None
    assert inlet.kernel_drops() == 5000 - 4096
    arrived = list(iter(inlet.receive, None))
    assert arrived == [b"%d" % number for number in range(4096)]


def test_the_clock_is_strictly_increasing() -> None:
    """Also when eight threads read it at once: so F and G can be 0."""
    clock, readings = memory_network("clock").clock, [[0] * 500 for _ in range(8)]

    def read(mine: list[int]) -> None:
        for turn in range(len(mine)):
            mine[turn] = clock()

    threads = [threading.Thread(target=read, args=(mine,)) for mine in readings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    assert all(mine == sorted(mine) for mine in readings)
    assert len({reading for mine in readings for reading in mine}) == 4000


def test_waiting_ends_when_the_time_is_over(inlet: MemoryInlet) -> None:
    """Nobody has to send anything."""
    inlet.wait(0)
    inlet.wait(0.001)
    assert inlet.receive() is None


@pytest.mark.parametrize("ending", ["send", "wake", "close"])
def test_a_waiting_thread_is_woken(ending: str, inlet: MemoryInlet) -> None:
    """By a datagram, by `wake`, and by closing from another thread."""
    waiter = threading.Thread(target=inlet.wait, args=(None,), daemon=True)
    waiter.start()
    {"send": lambda: MemoryOutlet(NETWORK).send(b"x"), "wake": inlet.wake, "close": inlet.close}[ending]()
    waiter.join(BOUND)
    assert not waiter.is_alive()
    inlet.wake()


def test_nobody_waits_for_what_is_there_or_closed(inlet: MemoryInlet) -> None:
    """Without a time limit: either would be for ever."""
    MemoryOutlet(NETWORK).send(b"x")
    inlet.wait(None)
    inlet.receive()
    inlet.close()
    inlet.wait(None)


def test_an_event_loop_sees_what_is_there(inlet: MemoryInlet) -> None:
    """What came before it asked for the socket counts too; an empty queue is quiet."""
    outlet = MemoryOutlet(NETWORK)
    outlet.send(b"before")
    watched = inlet.fileno()
    assert select.select([watched], [], [], 0)[0]
    assert list(iter(inlet.receive, None)) == [b"before"]
    assert not select.select([watched], [], [], 0)[0]
    outlet.send(b"after")
    assert inlet.fileno() == watched
    assert select.select([watched], [], [], 0)[0]
    inlet.close()
    assert inlet.fileno() == -1


def test_a_forked_child_gives_the_name_free(inlet: MemoryInlet) -> None:
    """Its networks are its own: there the name has no receiver any more."""
    inlet.abandon()
    MemoryInlet(NETWORK).close()


def test_a_race_between_senders_and_the_receiver_loses_nothing(inlet: MemoryInlet) -> None:
    """A datagram that comes while the queue is found empty still wakes the receiver."""
    total, outlet = 4000, MemoryOutlet(NETWORK)
    sender = threading.Thread(target=lambda: [outlet.send(b"x") for _ in range(total)])
    sender.start()
    arrived, deadline = 0, time.monotonic() + BOUND
    while arrived < total and time.monotonic() < deadline:
        inlet.wait(BOUND)
        arrived += sum(1 for _ in iter(inlet.receive, None))
    sender.join(BOUND)
    assert arrived == total


def test_a_dropped_receiver_gives_the_name_free() -> None:
    """Nobody need close it for the next one to come."""
    inlet = MemoryInlet(NETWORK)
    assert MemoryOutlet(NETWORK).send(b"x") is None
    del inlet
    MemoryInlet(NETWORK).close()


IN_HANDLERS = """
import signal, sys, atmost
from atmost.transport.url import open_outlet
outlet, readings, handled = open_outlet("memory://signals"), [], 0
atmost.Receiver("memory://loaded").close()

def handler(*_):
    global handled
    handled += 1
    readings.append(outlet.clock())
    with atmost.Receiver(f"memory://inside{handled}"):
        outlet.send(b"x")

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
with atmost.Receiver("memory://signals") as receiver:
    while handled < 200:
        readings.append(outlet.clock())
        outlet.send(b"x")
        receiver.receive(0)
signal.setitimer(signal.ITIMER_REAL, 0)
assert len(set(readings)) == len(readings)
print("done")
"""


def test_a_signal_handler_may_use_it_in_the_middle_of_anything() -> None:
    """R9: clock, sending, opening a receiver; the readings stay different ones."""
    assert run(IN_HANDLERS) == "done\n"


FORKS = """
import os, sys, threading, atmost
from atmost.transport.url import open_inlet, open_outlet
outlet, going = open_outlet("memory://forks"), True

def busy():
    while going:
        outlet.clock()
        outlet.send(b"x")
        open_outlet("memory://forks")

inlet = open_inlet("memory://forks")
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(20):
    pid = os.fork()
    if not pid:
        outlet.clock()
        with atmost.Receiver("memory://forks") as receiver, atmost.Sender("memory://forks") as sender:
            sender.send("a", 1)
            sender.flush()
            os._exit(receiver.receive(5) is None)
    assert os.waitpid(pid, 0)[1] == 0
going = False
for thread in threads:
    thread.join()
print("done")
"""


def test_a_child_forked_at_any_moment_has_networks_of_its_own() -> None:
    """R8: whatever other threads were in the middle of; nothing hangs, and the parent's receiver holds no name in the child."""
    assert run(FORKS) == "done\n"
