"""`Heartbeat`: beats that never harm, a goodbye that tells how it ended, threads, event loops and forks."""

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest

import atmost
from atmost import AddressError, Heartbeat, Message, OptionError, Receiver, Sender, SessionClosed, SubjectError
from atmost.core.sending import SenderStats
from atmost.heartbeats import HeartbeatEnding, read_beat
from atmost.heartbeats import heartbeat as module
from atmost.heartbeats.ending import ending_of, ending_of_child
from atmost.heartbeats.heartbeat import GOODBYES
from tests.real import BOUND, environment, run, until


class FakeSender:
    """Keeps what is sent; `trouble` is raised instead."""

    name = "fake"

    def __init__(self):
        self.sent = []
        self.trouble = None
        self.open = True

    def send(self, subject, payload=None):
        if self.trouble:
            raise self.trouble
        self.sent.append((subject, read_beat(payload)))
        return self.open

    def stats(self):
        return SenderStats(offered=len(self.sent), dropped={} if self.open else {"closed": 1}, refused={"EPERM": 2})

    def flush(self):
        if self.trouble:
            raise self.trouble

    @property
    def beats(self):
        return [beat for _, beat in self.sent]


@pytest.fixture
def sender():
    """A sender without a network; what still beats at the end is stopped."""
    yield FakeSender()
    for heartbeat in list(module._running):
        heartbeat.stop(0)


def test_it_beats_at_once_and_in_rhythm(sender):
    """Contiguous numbers in one life, on its subject, from a daemon thread; a second start changes nothing."""
    heartbeat = Heartbeat(sender, "worker-7", 0.02).start()
    assert sender.sent[0][0] == "heartbeats.worker-7"
    heartbeat.start()
    until(lambda: len(sender.sent) >= 5)
    [thread] = [one for one in threading.enumerate() if one.name == "atmost-heartbeat"]
    assert thread.daemon
    heartbeat.stop()
    assert [beat.number for beat in sender.beats[:-GOODBYES]] == list(range(len(sender.sent) - GOODBYES))
    assert len({beat.life for beat in sender.beats}) == 1
    assert {(beat.interval, beat.refused) for beat in sender.beats} == {(0.02, 2)}
    until(lambda: not thread.is_alive())


def test_stop_says_goodbye_often_under_one_number(sender):
    """Copies, so that one loss does not make a death of it; the second stop says nothing."""
    heartbeat = Heartbeat(sender, "w", 60).start()
    heartbeat.stop()
    heartbeat.stop()
    assert [(beat.number, beat.ending) for beat in sender.beats] == [(0, None)] + [
        (1, HeartbeatEnding.STOPPED)
    ] * GOODBYES
    assert not heartbeat.running
    heartbeat.start()
    assert sender.beats[-1].number == 0
    assert sender.beats[-1].life != sender.beats[0].life


def test_a_job_ends_as_stopped_or_failed(sender):
    """A normal end, an exit with success, and an exception, which passes; its text stays here, only its class is told."""
    with Heartbeat(sender, "job"):
        pass
    assert sender.beats[-1].ending is HeartbeatEnding.STOPPED
    with pytest.raises(SystemExit), Heartbeat(sender, "job"):
        raise SystemExit(0)
    assert sender.beats[-1].ending is HeartbeatEnding.STOPPED
    with pytest.raises(ValueError, match="secret"), Heartbeat(sender, "job"):
        raise ValueError("secret")
    assert (sender.beats[-1].ending, sender.beats[-1].reason) == (HeartbeatEnding.FAILED, "ValueError")
    with pytest.raises(SystemExit), Heartbeat(sender, "job"):
        raise SystemExit(3)
    assert sender.beats[-1].ending is HeartbeatEnding.FAILED


def test_a_beat_never_raises(sender):
    """Whatever the sender does is counted, and told by the next beat."""
    sender.trouble = RuntimeError("no")
    heartbeat = Heartbeat(sender, "w", 0.01).start()
    until(lambda: heartbeat.stats().errors >= 3)
    sender.trouble = None
    until(lambda: sender.sent)
    assert sender.beats[0].errors >= 3
    sender.trouble = RuntimeError("no")
    heartbeat.stop(0)


def test_a_job_can_say_that_it_failed(sender):
    """Without a `with`: by an exception, its class, or nothing; a goodbye that cannot be flushed is counted."""
    for error, reason in ((ValueError("x"), "ValueError"), (KeyError, "KeyError"), (None, "")):
        Heartbeat(sender, "job", 60).start().fail(error, timeout=0)
        assert (sender.beats[-1].ending, sender.beats[-1].reason) == (HeartbeatEnding.FAILED, reason)
    heartbeat = Heartbeat(sender, "job", 60).start()
    assert heartbeat.name == "job"
    sender.trouble = OSError()
    heartbeat.fail(timeout=0)
    assert heartbeat.stats().errors == 2


def test_it_is_held_until_its_sender_is_closed(sender):
    """`Heartbeat(sender, name).start()` beats although nobody keeps it, and ends with its sender."""
    Heartbeat(sender, "w", 0.01).start()
    gc.collect()
    until(lambda: len(sender.sent) >= 5)
    sender.open = False
    until(lambda: not module._running)


def test_a_thread_that_cannot_be_had_is_counted(sender, monkeypatch):
    """The interpreter is ending, or the system out of threads."""

    def refuse(_self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    heartbeat = Heartbeat(sender, "w").start()
    assert heartbeat.stats().errors == 1
    heartbeat.stop(0)


def test_an_event_loop_beats_only_while_it_runs(sender):
    """`async with` beats from the loop: while it is blocked there are no beats, and the goodbye blocks nobody."""

    async def main():
        async with Heartbeat(sender, "loop", 0.01) as heartbeat:
            assert heartbeat.running
            await asyncio.sleep(0.05)
            assert heartbeat.stats().beats
            before = len(sender.sent)
            time.sleep(0.1)  # noqa: ASYNC251  that is the point
            assert len(sender.sent) == before
        assert not heartbeat.running
        with pytest.raises(KeyError):
            async with Heartbeat(sender, "loop", 0.01):
                raise KeyError

    asyncio.run(main())
    endings = [beat.ending for beat in sender.beats if beat.ending]
    assert endings == [HeartbeatEnding.STOPPED] * GOODBYES + [HeartbeatEnding.FAILED] * GOODBYES
    assert [one for one in threading.enumerate() if one.name == "atmost-heartbeat"] == []


def test_a_cancelled_run_says_goodbye(sender):
    """`run` as a task of its own: cancelling it is how it is stopped."""

    async def main():
        heartbeat = Heartbeat(sender, "task", 0.01)
        task = asyncio.create_task(heartbeat.run())
        await asyncio.sleep(0.03)
        await heartbeat.run()  # it beats already
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert [beat.ending for beat in sender.beats][-1] is HeartbeatEnding.STOPPED


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"timeout": 1.9}, "at least 2 × interval = 2 seconds"),
        ({"interval": 10, "timeout": 10}, "one lost or delayed beat would count as death"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": 10**400}, "timeout"),
        ({"interval": 0}, "interval"),
        ({"interval": "1"}, "interval"),
        ({"interval": float("nan")}, "interval"),
        ({"interval": 1e6}, "interval"),
    ],
)
def test_rhythms_that_cannot_work_are_refused(sender, options, why):
    """A timeout below two intervals with the reason, and intervals out of range."""
    with pytest.raises(OptionError, match=why):
        Heartbeat(sender, "w", **options)


def test_names_that_are_no_subject_are_refused(sender):
    """At construction, not in a beat."""
    for name in ("", "a b", "a.*", "x" * 300):
        with pytest.raises(SubjectError):
            Heartbeat(sender, name)
    with pytest.raises(OptionError):
        Heartbeat(sender, 7)
    with pytest.raises(SubjectError):
        Heartbeat(sender, "w", subject=None)


def test_what_is_no_sender_is_refused():
    """Or else it would never beat, and nobody would know; what cannot be an address says so."""
    with pytest.raises(OptionError, match="sender"):
        Heartbeat(7, "w")
    with pytest.raises(AddressError):
        Heartbeat("worker-7")


@pytest.mark.parametrize("given", ["url", "mapping", "nothing"])
def test_it_makes_a_sender_of_a_url_or_of_nothing(given, monkeypatch):
    """A URL, a sender's arguments, or `ATMOST_URL`; its session ends with the heartbeat, and a new life has a new one."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        monkeypatch.setenv("ATMOST_URL", receiver.url)
        sender = {"url": receiver.url, "mapping": {"url": receiver.url, "name": "shop"}, "nothing": None}[given]
        heartbeat = Heartbeat(sender, None if given == "mapping" else "w", 60)
        assert heartbeat.name == ("shop" if given == "mapping" else "w")
        for _ in range(2):
            heartbeat.start()
            heartbeat.stop(0.01)
        events = list(iter(lambda: receiver.next_event(0.3), None))
    beats = [read_beat(event.payload) for event in events if isinstance(event, Message)]
    assert [beat.number for beat in beats] == 2 * [0, *[1] * GOODBYES]
    assert sum(isinstance(event, SessionClosed) for event in events) == 2


def test_it_cannot_be_copied(sender):
    """A copy would beat in the same name."""
    with pytest.raises(TypeError, match="each process"):
        pickle.dumps(Heartbeat(sender, "w"))
    assert "not running" in repr(Heartbeat(sender, "w"))


@pytest.mark.parametrize("hook", [True, False])
def test_a_forked_child_is_silent_in_its_parents_name(hook):
    """Forked with or past the hook: the child neither beats nor says goodbye for its parent, and can begin its own life."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        run(
            "import os, sys, time\n"
            "import atmost\n"
            "from tests.cfork import c_fork\n"
            "sender = atmost.Sender(sys.argv[1], name='forking')\n"
            "with atmost.Heartbeat(sender, 'parent', 0.02 if sys.argv[2] == 'True' else 60) as parent:\n"
            "    child = os.fork() if sys.argv[2] == 'True' else c_fork()\n"
            "    if not child:\n"
            "        assert sys.argv[2] == 'False' or not parent.running\n"
            "        time.sleep(0.1)\n"
            "        parent.stop()\n"
            "        with atmost.Heartbeat(sender, 'child', 0.02):\n"
            "            time.sleep(0.1)\n"
            "        sender.close()\n"
            "        os._exit(0)\n"
            "    assert os.waitpid(child, 0)[1] == 0\n"
            "    time.sleep(0.05)\n"
            "sender.close()\n",
            receiver.url,
            hook,
        )
        beats: dict[str, list] = {}
        while (message := receiver.receive(0.2)) is not None:
            beats.setdefault(message.subject, []).append((message.session.id, read_beat(message.payload)))
    assert set(beats) == {"heartbeats.parent", "heartbeats.child"}
    for got in beats.values():
        assert len({session for session, _ in got}) == 1
        assert [beat.number for _, beat in got][: 1 - GOODBYES] == list(range(len(got) + 1 - GOODBYES))
        assert [beat.ending for _, beat in got][-GOODBYES:] == [HeartbeatEnding.STOPPED] * GOODBYES
    assert beats["heartbeats.parent"][0][0] != beats["heartbeats.child"][0][0]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("end", "ending", "reason"),
    [
        ("", "stopped", ""),
        pytest.param("sys.exit()", "stopped", "", marks=SLOW),
        ("sys.exit(0)", "stopped", ""),
        pytest.param("sys.exit(128 + 15)", "stopped", "", marks=SLOW),
        ("os.kill(os.getpid(), 2)", "stopped", ""),
        ("try: sys.exit(1)\nexcept SystemExit: pass", "stopped", ""),
        ("t = threading.Thread(target=sys.exit, args=(1,)); t.start(); t.join()", "stopped", ""),
        ("sys.exit(1)", "failed", "exit status 1"),
        pytest.param(
            "def main():\n try: 1 / 0\n except Exception: sys.exit(3)\nmain()", "failed", "exit status 3", marks=SLOW
        ),
        ("sys.exit(128 + 11)", "failed", "exit status 139"),
        ("sys.exit('cannot connect\\nto it')", "failed", "cannot connect"),
        ("import asyncio\nasync def main(): sys.exit(4)\nasyncio.run(main())", "failed", "exit status 4"),
        pytest.param(
            "try: sys.exit(5)\nexcept SystemExit as error:\n kept = error\n raise",
            "failed",
            "exit status 5",
            marks=SLOW,
        ),
        pytest.param(
            "def main():\n try: sys.exit(6)\n except SystemExit as e: return e\nkept = main()",
            "stopped",
            "",
            marks=SLOW,
        ),
        pytest.param("exit(2)", "failed", "exit status 2", marks=SLOW),
        pytest.param("quit()", "stopped", "", marks=SLOW),
        ("raise SystemExit", "stopped", ""),
        pytest.param("raise SystemExit()", "stopped", "", marks=SLOW),
        pytest.param("raise SystemExit(0)", "stopped", "", marks=SLOW),
        ("raise SystemExit(1)", "failed", "exit status 1"),
        pytest.param("raise SystemExit('cannot connect')", "failed", "cannot connect", marks=SLOW),
        pytest.param(
            "try: 1 / 0\nexcept Exception: raise SystemExit(70000)", "failed", "exit status 70000", marks=SLOW
        ),
        pytest.param(
            "try: 1 / 0\nexcept Exception as error: raise SystemExit(8) from error",
            "failed",
            "exit status 8",
            marks=SLOW,
        ),
        ("try: 1 / 0\nexcept Exception: raise SystemExit(9) from None", "failed", "exit status 9"),
        pytest.param("try: raise SystemExit(1)\nexcept SystemExit: pass", "stopped", "", marks=SLOW),
        (
            "before = sys.exit; sys.exit = lambda status=None: before(status)\natmost.heartbeats.ending.watch_the_exit()\nsys.exit(3)",
            "failed",
            "exit status 3",
        ),
        pytest.param("raise SystemExit(int('0'))", "stopped", "", marks=SLOW),
        ("def main(): raise SystemExit(7)\nmain()", "stopped", ""),  # leaves no trace, see `ending`
        ("1 / 0", "failed", "ZeroDivisionError"),
    ],
)
def test_a_process_that_ends_says_how(end, ending, reason):
    """Without a `with` around anything: the end of the process is the goodbye, and its exception a failure."""
    with Receiver("udp://127.0.0.1:0") as receiver:
        code = (
            "import os, sys, threading\n"
            "sys.stderr = open(os.devnull, 'w')\n"
            "import atmost\n"
            "sender = atmost.Sender(sys.argv[1], name='ending')\n"
            "atmost.Heartbeat(sender, 'w', 60).start()\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code + end, receiver.url], env=environment(), check=False, timeout=2 * BOUND
        )
        assert (ended.returncode == 0) == (
            ending == "stopped" and not end.startswith(("sys.exit(128", "os.kill", "def main(): raise"))
        )
        beats = []
        while (message := receiver.receive(0.2)) is not None:
            beats.append(read_beat(message.payload))
    assert [beat.ending for beat in beats] == [None] + [ending] * GOODBYES
    assert {beat.reason for beat in beats[1:]} == {reason}


def test_over_a_real_sender():
    """The counts of the sender travel with the beats."""
    with Receiver("memory://beating") as receiver, Sender("memory://beating", name="real") as sender:
        sender.send("orders.new", 1)
        with Heartbeat(sender, "w", 60):
            pass
        beats = [message for message in iter(lambda: receiver.receive(1.0), None) if message.subject != "orders.new"]
    assert len(beats) == 1 + GOODBYES
    assert beats[-1].payload["offered"] == 1 + GOODBYES
    assert os.getpid() == beats[0].session.pid or beats[0].session.pid == 0
    assert atmost.Heartbeat is Heartbeat


POOL_PROCESS = """
import multiprocessing, os, sys, time
import atmost

def work(url, end):
    sys.stderr = open(os.devnull, "w")
    sender = atmost.Sender(url, name="pool")
    atmost.Heartbeat(sender, "w", 60).start()
    exec(end)

if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[2]).Process(target=work, args=(sys.argv[1], sys.argv[3]))
    process.start()
    process.join()
"""


@pytest.mark.parametrize(
    ("method", "end", "ending", "reason"),
    [
        ("fork", "pass", "stopped", ""),
        ("fork", "sys.exit(0)", "stopped", ""),
        ("fork", "raise SystemExit(1)", "failed", "exit status 1"),
        ("fork", "raise ValueError('secret')", "failed", "ValueError"),
        ("fork", "sys.exit('cannot connect')", "failed", "cannot connect"),
        ("spawn", "sys.exit('cannot connect')", "failed", "cannot connect"),
        ("forkserver", "raise ValueError('secret')", "failed", "ValueError"),
    ],
)
def test_a_process_of_multiprocessing_that_ends_says_how(tmp_path, method, end, ending, reason):
    """Such a process runs no exit functions of its own; what ends it is found all the same."""
    script = tmp_path / "pool_process.py"
    script.write_text(POOL_PROCESS)
    with Receiver("udp://127.0.0.1:0") as receiver:
        done = subprocess.run(
            [sys.executable, script, receiver.url, method, end],
            env=environment(),
            check=False,
            timeout=2 * BOUND,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        beats = [read_beat(message.payload) for message in iter(lambda: receiver.receive(0.2), None)]
    assert [beat.ending for beat in beats] == [None] + [ending] * GOODBYES
    assert {beat.reason for beat in beats[1:]} == {reason}


@pytest.mark.parametrize(
    ("error", "ending", "reason"),
    [
        (None, "stopped", ""),
        (KeyboardInterrupt(), "stopped", ""),
        (asyncio.CancelledError(), "stopped", ""),
        (SystemExit(None), "stopped", ""),
        (SystemExit(-1), "failed", "exit status -1"),
        (SystemExit(-15), "failed", "exit status -15"),
        (SystemExit(143), "stopped", ""),
        (SystemExit(255), "failed", "exit status 255"),
        (SystemExit(""), "failed", "exit status 1"),
        (SystemExit("x" * 500), "failed", "x" * 128),
        (SystemExit("\ud800"), "failed", "?"),
        (KeyError("secret"), "failed", "KeyError"),
        (KeyError, "failed", "KeyError"),
    ],
)
def test_what_is_a_failure(error, ending, reason):
    """Success and being told to stop are not; of an exception only the class is told, and of an exit its own text."""
    assert ending_of(error) == (ending, reason)


@pytest.mark.parametrize(
    ("status", "ending", "reason"),
    [
        (0, "stopped", ""),
        (-15, "stopped", ""),
        (143, "stopped", ""),
        (-11, "failed", "SIGSEGV"),
        (-64, "failed", "SIGRTMAX"),
        (7, "failed", "exit status 7"),
    ],
)
def test_what_a_childs_status_means(status, ending, reason):
    """To its parent a status below 0 is a signal, which to `sys.exit` it is not."""
    assert ending_of_child(status) == (ending, reason)


def test_what_fails_may_say_why(sender):
    """A text is its own reason, and is bounded."""
    Heartbeat(sender, "job", 60).start().fail("disk full " + "x" * 300, timeout=0)
    assert sender.beats[-1].reason == ("disk full " + "x" * 300)[:128]
