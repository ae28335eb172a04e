"""The compiled `Sender.send` over real sockets: the datagrams and the account of the readable one, whatever comes in between (R4 to R9)."""

from __future__ import annotations

import errno
import inspect
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any, Self

import pytest

from atmost import Receiver, Sender, SenderStats
from atmost.core import sending
from atmost.endpoint import sender as endpoint
from atmost.endpoint.background import Background
from atmost.transport.udp import UdpOutlet
from tests.core.by_hand import read
from tests.harness import Interrupted
from tests.real import header, raw_receiver, run, until, url_of, waiting

READABLE: Callable[..., bool] = inspect.unwrap(Sender.send)
FIELDS = ("prior", "count", "flags", "key_id")
"""Not the sequence: beacons come by the clock, and spend numbers too."""


@pytest.fixture
def busy() -> Iterator[None]:
    """No message leaves at once because the sender is idle: what shares a datagram does not depend on the clock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "_IMMEDIATE_EVERY", 1e9)
        endpoint._bind()
        yield
    endpoint._bind()


def flushed(sender: Sender) -> SenderStats:
    """Return a sender's account when nothing waits any more; its thread may have the turn for a moment."""
    return until(lambda: (sender.flush(), None if sender.stats().open else sender.stats())[1])


def sent_by(send: Callable[..., bool], payloads: list[Any], size: int) -> tuple[list[Any], SenderStats]:
    """Return the datagrams of messages that a sender sends, without what is its own, and its account."""
    with raw_receiver() as sock:
        sender = Sender(url_of(sock), name="n", linger=60, max_datagram=size)
        READABLE(sender, "a.b", "the beacon and this one leave at once")
        for payload in payloads:
            sender._core.beacon_at = 1e18  # nor does a beacon
            assert send(sender, "a.b", payload) is True
        stats = flushed(sender)
        datagrams = waiting(sock)
        sender.close(0)
    sequences = [header(one).sequence for one in datagrams]
    assert sequences == sorted(set(sequences))
    made = [(*(getattr(header(one), name) for name in FIELDS), one[48:-16]) for one in datagrams if one[1] & 15 == 1]
    return made, stats


@pytest.mark.parametrize("size", [508, 1432, 9000])
@pytest.mark.parametrize("seed", range(3))
def test_the_datagrams_are_those_of_the_readable_python(seed: int, size: int, busy: None) -> None:
    """The same messages in the same datagrams, and the same account."""
    random = Random(seed)
    payloads = [random.choice([None, n, "x" * random.randrange(300), {"n": n}, [n, 1.5, b"b"]]) for n in range(400)]
    assert sent_by(Sender.send, payloads, size) == sent_by(READABLE, payloads, size)


def test_datagrams_leave_the_compiled_way(busy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full datagram of a busy sender passes no turn of the readable Python; a beacon that is due does."""
    turns: list[object] = []
    whole = Sender._hand_over
    monkeypatch.setattr(
        Sender, "_hand_over", lambda self, *given, **named: (turns.append(given), whole(self, *given, **named))
    )
    with raw_receiver() as sock, Sender(url_of(sock), name="n", linger=60, max_datagram=508) as sender:
        sender.send("a.b", "first")
        core = sender._core
        core.beacon_at = core._session.load_until = 1e18  # type: ignore[union-attr]
        core.background.stop()
        core.background.comes_at = 0.0  # as when its thread is at work: nobody need wake it
        core.together = 1
        sender.send("a.b", "armed")
        turns.clear()
        for number in range(200):
            sender.send("a.b", [number] * 10)
            core.beacon_at = core._session.load_until = 1e18  # type: ignore[union-attr]
        assert not turns
        assert core.datagrams > 5
        core.beacon_at = 0.0
        for number in range(100):
            sender.send("a.b", [number] * 10)
        assert turns


def test_a_refusal_is_one_attempt_and_is_counted() -> None:
    """By its name, in messages; its number is spent, and what comes afterwards is sent (R5, R6)."""
    with raw_receiver() as sock:
        url = url_of(sock)
    sender = Sender(url, name="n", linger=60, max_datagram=508)  # nobody is there now
    for number in range(300):
        sender.send("a.b", ["x" * 40, number])
    stats = flushed(sender)
    assert stats.refused.keys() == {"ECONNREFUSED"}
    assert stats.offered == 300 == stats.handed_over + stats.refused["ECONNREFUSED"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", int(url.rpartition(":")[2])))
        refused = sender.stats().refused["ECONNREFUSED"]
        for number in range(300):
            sender.send("a.b", ["x" * 40, number])
        flushed(sender)
        arrived = [one for one in waiting(again) if one[1] & 15 == 1]
    stats = sender.stats()
    sender.close(0)
    lately = stats.refused["ECONNREFUSED"] - refused
    assert sum(header(one).count for one in arrived) == 300 - lately
    sequences = [header(one).sequence for one in arrived]
    assert sequences == sorted(set(sequences))
    assert header(arrived[-1]).prior + header(arrived[-1]).count == 600


def test_a_datagram_too_large_makes_them_smaller() -> None:
    """After EMSGSIZE, whoever handed it over (R2)."""
    with raw_receiver() as sock, Sender(url_of(sock), name="n", max_datagram=60_000) as sender:
        core = sender._core
        outlet = core.outlet
        assert isinstance(outlet, UdpOutlet)
        outlet.path_datagram = lambda: 9000  # type: ignore[method-assign]
        sender._after_refusal(core, errno.EMSGSIZE)
        assert core.room == 9000 - 67
        sender._after_refusal(core, errno.ENOBUFS)
        assert core.room == 9000 - 67


def test_a_full_socket_holds_what_it_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """EAGAIN takes the readable way: the datagram is held, sent later, and nothing is counted twice (R6)."""
    with raw_receiver() as sock:
        sender = Sender(url_of(sock), name="n", linger=60, max_datagram=508, max_hold=60)
        sender.send("a.b", "first")
        outlet = sender._core.outlet
        with monkeypatch.context() as patch:
            patch.setattr(
                outlet, "_send", lambda _data: (_ for _ in ()).throw(BlockingIOError(11, "full")), raising=True
            )
            for number in range(50):
                sender.send("a.b", ["x" * 40, number])
            assert sender.stats().open > 0
        flushed(sender)
        for number in range(50):
            sender.send("a.b", ["x" * 40, number])
        assert flushed(sender) == SenderStats(101, {}, 0, 101, {})
        assert sum(header(one).count for one in waiting(sock)) == 101
        sender.close(0)


class Storm:
    """Signals at random moments, each running one of several handlers; the last one is quiet, so that none comes afterwards."""

    def __init__(self, seed: int, many: int, handlers: list[Callable[[], object]]) -> None:
        self._random, self._many, self._handlers = Random(seed), many, handlers
        self.came = 0

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGALRM, self._handle)
        self._next()
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _next(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._random.uniform(0.000_02, 0.001))

    def _handle(self, _number: int, _frame: object) -> None:
        self.came += 1
        if self.came < self._many:
            try:
                self._random.choice(self._handlers)()
            finally:
                self._next()

    def over(self) -> bool:
        """Say whether all of them came."""
        return self.came >= self._many


class Trap:
    """Ends what is under way by an exception, once each time it is set."""

    def __init__(self) -> None:
        self.is_set = False

    def __call__(self) -> None:
        if self.is_set:
            self.is_set = False
            raise Interrupted


@pytest.mark.parametrize("seed", range(3))
def test_signals_at_random_moments(seed: int) -> None:
    """Handlers that send, flush and raise: no message twice, none that is not accounted for (R9)."""
    with Receiver("udp://127.0.0.1:0", clock_guard=0) as receiver:
        got: list[Any] = []
        consumer = threading.Thread(target=receiver.run, args=(lambda message: got.append(message.payload),))
        consumer.start()
        sender = Sender(receiver.url, name="n", linger=0.001, max_datagram=508)
        inside, outside, interrupted = count(), count(), 0
        trap = Trap()
        handlers = [lambda: sender.send("a.b", ["in", next(inside)]), sender.flush, sender.stats, trap]
        with Storm(seed, 200, handlers) as storm:
            while not storm.over():
                try:
                    trap.is_set = True
                    while not storm.over():
                        sender.send("a.b", ["out", next(outside)])
                except Interrupted:
                    interrupted += 1
        sender.close()
        until(lambda: not sender.stats().open)  # on a busy machine the background thread ends what a close left to it
        stats = sender.stats()
        assert interrupted
        assert stats.offered == stats.handed_over + sum(stats.dropped.values()) + sum(stats.refused.values())
        assert next(outside) + next(inside) - interrupted <= stats.offered
        until(lambda: receiver.ledger().sessions and receiver.ledger().sessions[0].tail == "closed")
        until(lambda: not receiver.ledger().queued)
        ledger = receiver.ledger()
    consumer.join()
    assert not [payload for payload, times in Counter(map(tuple, got)).items() if times > 1]
    assert ledger.balanced()
    # What is numbered is what was handed over or refused: the receiver's count is the sender's.
    assert ledger.sent == stats.handed_over + sum(stats.refused.values())


def test_threads_share_a_sender() -> None:
    """Four of them, with a flusher in between: every message is handed over once."""
    with raw_receiver() as sock:
        sender = Sender(url_of(sock), name="n", linger=0.001, max_datagram=1432)
        barrier = threading.Barrier(4)

        def work(number: int) -> None:
            barrier.wait()
            for at in range(500):
                assert sender.send("a.b", [number, at])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert flushed(sender) == SenderStats(2000, {}, 0, 2000, {})
        data = [one for one in waiting(sock) if one[1] & 15 == 1]
        sender.close(0)
    assert sum(header(one).count for one in data) == 2000
    ends = [header(one).prior + header(one).count for one in data]
    assert [header(one).prior for one in data][1:] == ends[:-1]


FORKS = """
import os, sys
import atmost
assert atmost.is_compiled()
sender = atmost.Sender(sys.argv[1], name="n", linger=60, max_datagram=508)
for number in range(20):
    sender.send("a.b", ["parent", number])
child = os.fork()
who = "parent" if child else "child"
for number in range(20, 60):
    sender.send("a.b", [who, number])
while sender.stats().open:
    sender.flush()
if not child:
    sender.close(0)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
sender.close(0)
"""


def test_a_forked_child_sends_in_a_session_of_its_own() -> None:
    """Nothing of the parent's leaves the child (R8)."""
    with raw_receiver() as sock:
        run(FORKS, url_of(sock))
        data = [one for one in waiting(sock) if one[1] & 15 == 1]
    said: dict[int, list[Any]] = {}
    for one in data:
        payloads = read(one).payloads
        said.setdefault(read(one).random64, []).extend(payloads)
    assert sorted(said.values()) == [
        [["child", number] for number in range(20, 60)],
        [["parent", number] for number in range(60)],
    ]


def test_it_is_the_readable_function_in_all_but_speed() -> None:
    """Its text, its signature, its name; bound and unbound."""
    import inspect

    assert Sender.send.__doc__ == READABLE.__doc__
    assert str(inspect.signature(Sender.send)) == str(inspect.signature(READABLE))
    assert inspect.isfunction(Sender.send)
    with Sender("memory://it-is") as sender:
        assert inspect.ismethod(sender.send)
        assert sender.send(subject="a", payload=1)
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'subject'"):
            sender.send()  # type: ignore[call-arg]
        with pytest.raises(AttributeError):  # as a function of Python's takes any first argument
            Sender.send(object(), "a")  # type: ignore[arg-type]


def test_switched_off_it_is_gone() -> None:
    """`ATMOST_PURE=1` is for the whole process."""
    code = "import atmost; print(atmost.is_compiled(), hasattr(atmost.Sender.send, '__wrapped__'))"
    assert run(code, ATMOST_PURE="1") == "False False\n"
    assert run(code, ATMOST_PURE="0") == run(code, ATMOST_PURE="") == "True True\n"


def test_one_that_an_older_checkout_left_behind_is_not_used() -> None:
    """Its names and arguments may be others."""
    code = "import atmost._native as n; n.INTERFACE = 0; import atmost; print(atmost.is_compiled(), atmost.Sender)"
    assert run(code).startswith("False ")


def test_without_a_thread_each_message_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would come when the linger is over, so nothing lingers."""
    monkeypatch.setattr(Background, "_start", lambda _self: False)
    with raw_receiver() as sock:
        sender = Sender(url_of(sock), name="n", linger=60)
        for number in range(3):
            sender.send("a.b", number)
            assert sender.stats().open == 0
        sender.close(0)
        assert sum(header(one).count for one in waiting(sock)) == 3


FORKED_WHILE_WAKING = """
import ctypes, os, sys, time
from atmost import Sender
from atmost.endpoint.background import Background

def forks(self, when):
    global child
    if child is None and number > 20 and bool(sender._core.open) == (sys.argv[2] == "armed"):
        child = os.fork() if sys.argv[4] == "python" else ctypes.PyDLL(None).fork()
        time.sleep(0.001)  # long enough that the sender is idle again, and no beacon is due
    return sys.argv[3] == "comes"

child, number = None, 0
Background.wake_at = forks
sender = Sender(sys.argv[1], name="n", linger=0.001, max_datagram=508)
while child is None and number < 1000:
    sender.send("a.b", [number, "x" * 40])
    number += 1
if child == 0:
    sender.flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
sender.send("a.b", [number, ""])
sender.close(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.parametrize("when", ["armed", "handed over"])
@pytest.mark.parametrize("thread", ["comes", "does not"])
@pytest.mark.parametrize("fork", ["python", "c"])
def test_r8_a_fork_while_the_thread_is_called_leaves_all_with_the_parent(when: str, thread: str, fork: str) -> None:
    """A signal handler may fork there: with the first message of a datagram, or when one has left."""
    with raw_receiver() as sock:
        run(FORKED_WHILE_WAKING, url_of(sock), when, thread, fork)
        data = [one for one in waiting(sock) if one[1] & 15 == 1]
    numbers = [payload[0] for one in data for payload in read(one).payloads]
    assert len(numbers) > 1
    assert numbers == list(range(len(numbers)))
    assert len({read(one).random64 for one in data}) == 1
