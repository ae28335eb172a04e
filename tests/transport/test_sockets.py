"""What the two kinds of sockets share: reading until empty, waiting, being woken, and letting go."""

import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from atmost.transport.base import SAME_HOST
from atmost.transport.sockets import SocketInlet, Waker, errno_name
from tests.real import BOUND, run, until


@pytest.fixture
def inlet() -> Iterator[SocketInlet]:
    """A receiving end on the loopback interface."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    inlet = SocketInlet(sock, f"udp://127.0.0.1:{sock.getsockname()[1]}", preset=SAME_HOST)
    yield inlet
    inlet.close()


@pytest.fixture
def send(inlet: SocketInlet) -> Iterator[Callable[[bytes], object]]:
    """A function that sends to the receiving end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(inlet._sock.getsockname())
        yield sock.send


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (errno.ECONNREFUSED, "ECONNREFUSED"),
        (errno.EMSGSIZE, "EMSGSIZE"),
        (errno.EPERM, "EPERM"),
        (errno.ENOBUFS, "ENOBUFS"),
        (errno.ENETUNREACH, "ENETUNREACH"),
        (errno.EAGAIN, "EAGAIN"),
        (errno.EWOULDBLOCK, "EAGAIN"),
        (99999, "EUNKNOWN"),
    ],
)
def test_each_refusal_has_a_name(number: int, name: str) -> None:
    """The symbolic one, as the counters show it; whatever means "not now" is one (R6)."""
    assert errno_name(OSError(number, "refused")) == name


def test_a_refusal_without_a_number_has_a_name_too() -> None:
    """Nothing goes uncounted."""
    assert errno_name(OSError("refused")) == "EUNKNOWN"


def test_datagrams_are_given_up_one_by_one(inlet: SocketInlet, send: Callable[[bytes], object]) -> None:
    """In order, an empty one too, until none waits; and without waiting."""
    assert inlet.receive() is None
    for datagram in (b"first", b"", b"third"):
        send(datagram)
    assert [inlet.receive() for _ in range(4)] == [b"first", b"", b"third", None]


def test_the_largest_datagram_arrives_whole(inlet: SocketInlet, send: Callable[[bytes], object]) -> None:
    """None is cut."""
    largest = os.urandom(65_507)
    send(largest)
    assert inlet.receive() == largest


def test_waiting_ends_for_a_datagram_and_when_the_time_is_over(
    inlet: SocketInlet, send: Callable[[bytes], object]
) -> None:
    """What is already there is not waited for."""
    inlet.wait(0.001)
    send(b"x")
    inlet.wait(None)
    assert inlet.receive() == b"x"


def test_a_waker_is_heard_once_however_often_it_rings() -> None:
    """It never blocks, and nothing is left after it was heard."""
    waker = Waker()
    for _ in range(100_000):
        waker.wake()
    waker.clear()
    with pytest.raises(BlockingIOError):
        waker.reader.recv(1)
    waker.close()
    waker.wake()
    waker.clear()


def test_wake_ends_a_wait_once(inlet: SocketInlet) -> None:
    """From any thread; the next wait waits again."""
    waiter = threading.Thread(target=inlet.wait, args=(None,), daemon=True)
    waiter.start()
    until(lambda: inlet._waiter)
    inlet.wake()
    waiter.join(BOUND)
    assert not waiter.is_alive()
    inlet.wait(0.001)
    inlet.wake()
    inlet.wait(None)


def test_a_signal_handler_can_end_a_wait(inlet: SocketInlet) -> None:
    """That of the waiting thread: Python resumes a wait that a signal has interrupted."""
    before = signal.signal(signal.SIGALRM, lambda *_: inlet.wake())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        inlet.wait(BOUND)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_handler_can_close_what_its_thread_waits_on(inlet: SocketInlet) -> None:
    """As a SIGTERM handler does: the wait ends, and the address is free."""
    before = signal.signal(signal.SIGALRM, lambda *_: inlet.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        inlet.wait(None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert inlet.fileno() == -1


CLOSE_UNDER_A_WAIT = """
import os, socket, threading
from atmost.transport.url import open_inlet
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for _ in range(50):
    inlet = open_inlet("udp://127.0.0.1:0")
    port = int(inlet.url.rsplit(":", 1)[1])
    waiter = threading.Thread(target=inlet.wait, args=(None,), daemon=True)
    waiter.start()
    while inlet._waiter is None:
        pass
    inlet.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", port))
    waiter.join(10)
    assert not waiter.is_alive()
print("free")
"""


def test_closing_ends_a_wait_and_frees_the_address() -> None:
    """By the time `close` returns; on one processor, where the waiting thread cannot look before everything is closed."""
    assert run(CLOSE_UNDER_A_WAIT) == "free\n"


def test_what_is_closed_gives_up_nothing_and_never_waits(inlet: SocketInlet) -> None:
    """And the last word on drops stands."""
    drops = inlet.kernel_drops()
    inlet.close()
    inlet.close()
    assert inlet.receive() is None
    inlet.wait(None)
    inlet.wake()
    assert inlet.kernel_drops() == drops
    assert inlet.fileno() == -1


def test_a_copy_that_is_abandoned_leaves_the_address_to_the_other(inlet: SocketInlet) -> None:
    """As a forked child does (H2)."""
    copy = SocketInlet(inlet._sock.dup(), inlet.url, preset=SAME_HOST)
    copy.abandon()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.sendto(b"x", inlet._sock.getsockname())
    assert copy.receive() is None
    assert inlet.receive() == b"x"
