"""What living objects do when their process forks and ends: one registry, one order, one deadline."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import atmost
from atmost import lifecycle
from atmost.lifecycle import (
    HERE,
    Floor,
    ThreadArguments,
    close_all,
    living,
    notice_fork,
    register,
    run_async,
    unregister,
)
from tests.cfork import c_fork
from tests.real import BOUND, environment, run


class Speaker:
    """Writes down what it is asked to do."""

    def __init__(self, journal: list[Any], name: str, floor: Floor = Floor.USE, repeats: int = 1) -> None:
        self.journal, self.name, self.repeats = journal, name, repeats
        register(self, floor)

    def renew(self, *, seen: bool) -> None:
        """Note the fork."""
        self.journal.append((self.name, seen))

    def last_words(self, until: float) -> Iterator[float]:
        """Say the name as often as it is to be repeated."""
        for turn in range(self.repeats):
            if turn:
                yield max(0.0, until - time.monotonic()) / (self.repeats - turn)
            self.journal.append(self.name)


class Broken(Speaker):
    """Can do nothing without raising."""

    def renew(self, *, seen: bool) -> None:
        """Fail."""
        raise OSError(9, f"{self.name} {seen}")

    def last_words(self, until: float) -> Iterator[float]:
        """Fail after a pause."""
        yield 0.0
        raise OSError(9, self.name)


@pytest.fixture
def journal() -> Iterator[list[Any]]:
    """A journal; whatever an earlier test left alive is gone, and so is what this one registers."""
    gc.collect()
    before = {id(each) for each in living()}
    yield []
    for each in living():
        if id(each) not in before:
            unregister(each)


def test_uses_speak_before_the_senders_that_carry_them(journal: list[Any]) -> None:
    """Whichever was registered first; all repeats of the uses come before the first goodbye (R7)."""
    keep = [
        Speaker(journal, "sender", Floor.ENDPOINT, 3),
        Speaker(journal, "metrics", repeats=3),
        Speaker(journal, "outlet", Floor.TRANSPORT),
        Speaker(journal, "logs", repeats=3),
    ]
    close_all(0.02)
    assert sorted(journal[:6]) == ["logs"] * 3 + ["metrics"] * 3
    assert journal[6:] == ["sender"] * 3 + ["outlet"]
    del keep


def test_each_speaks_although_another_one_raised(journal: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """The broken one is reported."""
    keep = [Broken(journal, "broken"), Speaker(journal, "whole")]
    close_all(0)
    assert journal == ["whole"]
    assert "Broken could not say its last words: OSError(9, 'broken')" in caplog.text
    del keep


def test_many_share_one_deadline(journal: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred repeat side by side: the pauses of one are the pauses of all."""
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(lifecycle.time, "sleep", sleep)
    monkeypatch.setattr(lifecycle.time, "monotonic", lambda: now[0])
    keep = [Speaker(journal, str(number), repeats=3) for number in range(200)]
    close_all(0.3)
    assert sum(slept) == pytest.approx(0.3)
    assert len(journal) == 600
    assert set(journal[:200]) == set(journal[200:400]) == set(journal[400:])
    del keep


def test_what_is_gone_or_forgotten_says_nothing(journal: list[Any]) -> None:
    """The registry holds nothing alive; forgetting twice is no error."""
    kept, dropped = Speaker(journal, "kept"), Speaker(journal, "dropped")
    del dropped
    gone = Speaker(journal, "gone")
    unregister(gone)
    unregister(gone)
    close_all(0)
    assert journal == ["kept"]
    assert kept in living(Floor.USE)
    assert kept not in living(Floor.ENDPOINT)


@pytest.mark.parametrize("timeout", [-1, 86_401, float("nan"), "1"])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    """And at most a day."""
    with pytest.raises(atmost.OptionError, match="timeout="):
        close_all(timeout)


def test_an_event_loop_goes_on_meanwhile(journal: list[Any]) -> None:
    """The pauses are awaited."""
    speaker = Speaker(journal, "words", repeats=3)

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.005, journal.append, "loop")
        await run_async(speaker.last_words(time.monotonic() + 0.04))

    asyncio.run(main())
    assert journal == ["words", "loop", "words", "words"]


def test_a_child_is_told_from_its_parent(journal: list[Any]) -> None:
    """From the bottom up, once, at the fork."""
    keep = [Broken(journal, "broken"), Speaker(journal, "use"), Speaker(journal, "outlet", Floor.TRANSPORT)]
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        notice_fork()
        os.write(writing, repr((HERE[0], journal)).encode())
        os._exit(0)
    assert _ended(child) == 0
    os.close(writing)
    with os.fdopen(reading) as file:
        assert file.read() == repr((2, [("outlet", True), ("use", True)]))
    assert journal == []
    del keep


def test_a_child_forked_past_the_hook_is_noticed(journal: list[Any]) -> None:
    """C code forked: the first who looks renews everything, once; a grandchild begins anew as well."""
    keep = Speaker(journal, "use")
    reading, writing = os.pipe()
    child = c_fork()
    if not child:
        before = HERE[0]
        notice_fork()
        notice_fork()
        grandchild = c_fork()
        if grandchild:
            os.waitpid(grandchild, 0)
        else:
            notice_fork()
            os.write(writing, repr((before, journal, HERE[0])).encode())
        os._exit(0)
    assert _ended(child) == 0
    os.close(writing)
    with os.fdopen(reading) as file:
        assert file.read() == repr((0, [("use", False), ("use", False)], 3))
    assert journal == []
    del keep


def test_a_renewal_that_a_signal_interrupts_goes_on(journal: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """At the object it had come to; those before are not renewed twice."""
    keep = [Speaker(journal, name) for name in ("first", "second", "third")]
    renew = Speaker.renew

    def interrupted(self: Speaker, *, seen: bool) -> None:
        if self.name == "second" and len(journal) == 1:
            journal.append("interrupted")
            raise KeyboardInterrupt
        renew(self, seen=seen)

    monkeypatch.setattr(Speaker, "renew", interrupted)
    monkeypatch.setattr(lifecycle, "_told_in", os.getpid())
    HERE[0] = 0
    with pytest.raises(KeyboardInterrupt):
        notice_fork()
    assert HERE[0] == 0
    notice_fork()
    assert HERE[0] > 0
    assert journal == [("first", False), "interrupted", ("second", False), ("third", False)]
    del keep


def test_without_a_wiped_page_process_ids_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """On other systems than Linux, and old kernels; the answers are the same."""
    monkeypatch.setattr(lifecycle.sys, "platform", "darwin")
    assert lifecycle._page() is None
    here = lifecycle._ByProcessId()
    assert here[0]
    pid = os.getpid()
    monkeypatch.setattr(lifecycle.os, "getpid", lambda: pid + 1)
    assert not here[0]
    here[0] = 1
    assert here[0]


EXIT_ORDER = """
import atexit, sys
url = sys.argv[1]
def first():
    sender.send("exit", "registered before the import")
    second.send("exit", "by another sender")
atexit.register(first)
import atmost
sender, second = atmost.Sender(url, linger=60), atmost.Sender(url, linger=60)
atexit.register(lambda: sender.send("exit", "registered after it"))
sender.send("exit", "before the end")
"""


def test_exit_functions_may_send_whenever_they_were_registered() -> None:
    """Everything arrives, and every session ends with a goodbye."""
    with atmost.Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0) as receiver:
        run(EXIT_ORDER, receiver.url)
        payloads = [message.payload for message in iter(lambda: receiver.receive(1.0), None)]
        ledger = receiver.ledger()
    assert sorted(payloads) == [
        "before the end",
        "by another sender",
        "registered after it",
        "registered before the import",
    ]
    assert ledger.lost == 0
    assert {session.tail for session in ledger.sessions} == {"closed"}


def _ended(child: int) -> int:
    """The status of a child; one that C forked hangs where another thread waited for the interpreter's lock at the fork."""
    for _ in range(2000):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("another thread of this process waited for the interpreter's lock when C forked")


UWSGI = """
import os, sys, threading, types
server = types.ModuleType("uwsgi")
server.number, server.parent, said = 0, os.getpid() if sys.argv[2] == "master" else 0, []
server.worker_id, server.masterpid = lambda: server.number, lambda: server.parent
server.atexit = lambda: said.append("the program's")
sys.modules["uwsgi"] = server
import atmost
from tests.cfork import c_fork

class Speaker:
    def renew(self, *, seen):
        pass
    def resume(self):
        said.append(f"resumed as {server.number}")
    def last_words(self, until):
        said.append("last words")
        yield from ()

class Broken(Speaker):
    def resume(self):
        raise OSError(9, "broken")

keep = Broken(), Speaker()
for each in keep:
    atmost.lifecycle.register(each, atmost.lifecycle.Floor.USE)
server.post_fork_hook = lambda before=server.post_fork_hook: (before(), said.append("the program's, after a fork"))
metrics = atmost.Metrics(sys.argv[1], interval=60)
metrics.counter("loads_total").inc()
for number in range(3):
    metrics.sender.send("loading", number)
heartbeat = atmost.Heartbeat(sys.argv[1], "web").start()
cache = atmost.HintedCache(max_ttl=300, receiver=sys.argv[3])
assert cache.get_or_load("a", lambda: 1) == 1
assert threading.active_count() == 1, threading.enumerate()
"""
FORKED = (
    UWSGI
    + """
assert not heartbeat.running
child = c_fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert said.count("last words") == 2, said      # of both, before the fork
    assert threading.active_count() == 1, threading.enumerate()
    os._exit(0)                                     # as the master ends: no Python runs any more
del said[:]
server.number = 1
server.post_fork_hook()
server.post_fork_hook()
assert said == ["resumed as 1", *2 * ["the program's, after a fork"]], said
assert heartbeat.running
metrics.counter("loads_total").inc()
assert cache.get_or_load("a", lambda: 1) == 1
names = {thread.name for thread in threading.enumerate()}
assert {"atmost-metrics", "atmost-heartbeat", "atmost-hints"} <= names, names
del said[:]
server.atexit()
assert said[0] == "the program's" and said.count("last words") == 2, said
os._exit(0)
"""
)
ALONE = (
    UWSGI
    + """
server.number = 1                                   # the process itself becomes the worker
server.post_fork_hook()
assert heartbeat.running
names = {thread.name for thread in threading.enumerate()}
assert {"atmost-metrics", "atmost-heartbeat"} <= names, names
"""
)


@pytest.mark.needs("linux")
@pytest.mark.parametrize(("program", "how"), [(FORKED, "master"), (ALONE, "alone")], ids=["forked", "alone"])
def test_uwsgi_loads_without_a_thread(program: str, how: str) -> None:
    """What is sent meanwhile leaves at once, the process says its last words before it forks, and its worker has the threads."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        free = taken.getsockname()[1]
    with atmost.Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0) as receiver:
        done = subprocess.run(
            [sys.executable, "-c", program, receiver.url, how, f"udp://127.0.0.1:{free}-{free + 7}"],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=BOUND,
        )
        assert done.returncode == 0, done.stderr
        assert "Broken could not begin its work: OSError(9, 'broken')" in done.stderr
        messages = list(iter(lambda: receiver.receive(0.5), None))
        tails = [session.tail for session in receiver.ledger().sessions]
    assert [message.payload for message in messages if message.subject == "loading"] == [0, 1, 2]
    assert any(message.subject == "heartbeats.web" for message in messages)
    assert set(tails) == {"closed"}


SIGNALLED = """
import os, signal, sys
import atmost
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
sender = atmost.Sender(sys.argv[1], linger=60)

class Signalled:
    def renew(self, *, seen):
        pass
    def last_words(self, until):
        os.kill(os.getpid(), signal.SIGTERM)
        sender.send("end", "before the signal's exception")
        yield 0.0
        sender.send("end", "after the pause")

keep = Signalled()
atmost.lifecycle.register(keep, atmost.lifecycle.Floor.USE)
def end():
    try:
        atmost.lifecycle._close_at_exit()
    except SystemExit as error:
        assert error.code == 3
        os._exit(0)
end()
"""
CUT_SHORT = """
import multiprocessing, multiprocessing.util, sys
import atmost
sender = atmost.Sender(sys.argv[1], linger=60)

def work():
    sender.send("end", "at the end of the child")
    multiprocessing.util.Finalize(None, sys.exit, (3,), exitpriority=5)

child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
assert child.exitcode == 3, child.exitcode
"""


@pytest.mark.parametrize(
    ("program", "wanted"),
    [(SIGNALLED, ["before the signal's exception", "after the pause"]), (CUT_SHORT, ["at the end of the child"])],
    ids=["last-words", "finalizers"],
)
def test_an_exit_that_a_signal_cuts_short_says_everything(program: str, wanted: list[str]) -> None:
    """Its handler's exception comes when the last words are said; and what ends a pool's finalizers does not end ours."""
    with atmost.Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0) as receiver:
        run(program, receiver.url)
        payloads = [message.payload for message in iter(lambda: receiver.receive(0.5), None)]
        tails = [session.tail for session in receiver.ledger().sessions]
    assert payloads == wanted
    assert tails == ["closed"]


SEVERAL = """
import os, signal, sys
import atmost
heard = []
def raising(number, _frame):
    heard.append(number)
    raise KeyError(number)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, raising)
try:
    with atmost.lifecycle._signals_put_off():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert heard == []
except KeyError:
    pass
assert heard == [signal.SIGTERM, signal.SIGHUP], heard
assert {signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)} == {raising}
"""


def test_each_signal_that_was_put_off_is_handled() -> None:
    """Also where the handler of the first raises; and every handler is back in its place."""
    run(SEVERAL)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_end_of_a_thread_is_noticed_however_it_ends() -> None:
    """Once, after its function, whether that returned or raised; not where no thread was started."""
    told: list[object] = []

    def ends(how: str) -> None:
        told.append(how)
        if how == "raises":
            raise SystemExit

    for how in ("returns", "raises"):
        thread = threading.Thread(target=ends, args=ThreadArguments((how,), partial(told.append, "ended")))
        thread.start()
        thread.join(BOUND)
    arguments = ThreadArguments((), partial(told.append, "never"))
    arguments.forget()
    del arguments
    assert told == ["returns", "ended", "raises", "ended"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_child_does_not_hear_of_its_parents_threads() -> None:
    """It has none of them."""
    told: list[object] = []
    arguments = ThreadArguments((), partial(told.append, "ended"))
    child = os.fork()
    if not child:
        del arguments
        os._exit(len(told))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    del arguments
    assert told == ["ended"]
