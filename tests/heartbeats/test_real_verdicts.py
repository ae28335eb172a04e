"""Each verdict by the real event: processes that are stopped, killed and restarted, a link that loses, a slow observer."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from atmost import HeartbeatMonitor, Receiver
from atmost.heartbeats import HeartbeatChange, HeartbeatState, HeartbeatVerdictKind, watch
from atmost.lab.faults import DROPPED, FaultRules, LinkFaults, Overruled
from atmost.lab.link import Link
from tests.real import BOUND, environment, program

ROOT = Path(__file__).parents[2]
INTERVAL = 0.2

SENDER = """
import sys, atmost
with atmost.Sender(sys.argv[1], name="real") as sender:
    with atmost.Heartbeat(sender, "worker", float(sys.argv[2])):
        print("beating", flush=True)
        line = sys.stdin.readline()
        if line.strip():
            raise SystemExit(5)
"""

OBSERVER = """
import sys, threading, atmost
from atmost.heartbeats import watch
receiver = atmost.Receiver("udp://127.0.0.1:0")
print(receiver.url, flush=True)
for change in watch(receiver, atmost.HeartbeatMonitor()):
    print(change.state, change.verdict.kind, flush=True)
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback."""
    with Receiver("udp://127.0.0.1:0") as one:
        yield one


@pytest.fixture
def monitor() -> HeartbeatMonitor:
    """A monitor that knows nobody."""
    return HeartbeatMonitor()


def wait_for(receiver: Receiver, monitor: HeartbeatMonitor, what: object) -> list[HeartbeatChange]:
    """The changes up to a state or kind of verdict; fails when it never comes."""
    changes = []
    for change in watch(receiver, monitor, BOUND):
        changes.append(change)
        if what in (change.state, change.verdict.kind):
            return changes
    raise AssertionError(f"no {what} in {changes}")


def idle(receiver: Receiver, monitor: HeartbeatMonitor, seconds: float) -> list[HeartbeatChange]:
    """The changes of some time."""
    return list(watch(receiver, monitor, seconds))


@contextmanager
def running(link: Link) -> Iterator[Link]:
    """The link in a thread of its own."""
    over = threading.Event()
    thread = threading.Thread(target=link.run, args=(over.is_set,))
    thread.start()
    try:
        yield link
    finally:
        over.set()
        thread.join()
        link.close()


def test_lost_by_the_link(receiver, monitor):
    """Beats that the link swallows: down by all appearance, and then explained with the exact number."""
    rules = Overruled(FaultRules(LinkFaults(duplicate=0.3), Random(1)))
    with running(Link(receiver.url, rules)) as link, program(SENDER, link.url, INTERVAL):
        wait_for(receiver, monitor, HeartbeatVerdictKind.FIRST)
        idle(receiver, monitor, 2.0)
        rules.verdict = DROPPED
        wait_for(receiver, monitor, HeartbeatState.DOWN)
        rules.verdict = None
        before = link.account().dropped_messages
        last = wait_for(receiver, monitor, HeartbeatState.UP)
        if last[-1].verdict.kind is HeartbeatVerdictKind.HEARD:  # a beacon came first
            last = wait_for(receiver, monitor, HeartbeatVerdictKind.LOST)
    assert last[-1].verdict.kind is HeartbeatVerdictKind.LOST
    assert last[-1].verdict.count == before >= 3
    [status] = monitor.status(time.monotonic())
    assert status.lost == before
    assert status.restarts == 0


def test_paused_by_sigstop(receiver, monitor):
    """A stopped process is silent; when it goes on, its contiguous numbers say that it was paused."""
    begun = time.monotonic()
    with program(SENDER, receiver.url, INTERVAL) as sender:
        wait_for(receiver, monitor, HeartbeatVerdictKind.FIRST)
        os.kill(sender.pid, signal.SIGSTOP)
        changes = wait_for(receiver, monitor, HeartbeatState.DOWN)
        assert HeartbeatVerdictKind.SILENT is changes[-1].verdict.kind
        os.kill(sender.pid, signal.SIGCONT)
        paused = wait_for(receiver, monitor, HeartbeatVerdictKind.PAUSED)[-1]
        assert paused.state is HeartbeatState.UP
        assert paused.verdict.count == 0
        assert INTERVAL * 3 < paused.verdict.seconds < time.monotonic() - begun


def test_killed_and_restarted(receiver, monitor):
    """SIGKILL leaves nobody to say goodbye: down. Another process under the same name: restarted."""
    with program(SENDER, receiver.url, INTERVAL) as sender:
        wait_for(receiver, monitor, HeartbeatVerdictKind.FIRST)
        idle(receiver, monitor, 1.0)
        sender.kill()
        changes = wait_for(receiver, monitor, HeartbeatState.DOWN)
        assert HeartbeatState.STOPPED not in [change.state for change in changes]
    with program(SENDER, receiver.url, INTERVAL):
        assert wait_for(receiver, monitor, HeartbeatVerdictKind.RESTARTED)[-1].before is HeartbeatState.DOWN
    assert monitor.status(time.monotonic())[0].restarts == 1


@pytest.mark.parametrize(("told", "state"), [("", HeartbeatState.STOPPED), ("fail", HeartbeatState.FAILED)])
def test_stopped_or_failed(receiver, monitor, told, state):
    """An orderly end is stopped, an exception failed; neither is ever down."""
    with program(SENDER, receiver.url, INTERVAL) as sender:
        wait_for(receiver, monitor, HeartbeatVerdictKind.FIRST)
        sender.tell(told)
        sender.end()
        last = wait_for(receiver, monitor, state)[-1]
    assert last.verdict.reason == ("exit status 5" if told else "")
    assert idle(receiver, monitor, 12 * INTERVAL) == []
    assert monitor.state("worker") is state


@pytest.mark.slow
def test_an_observer_that_slept_calls_nobody_dead():
    """The observer is stopped for far longer than the threshold: nobody is down when it wakes up."""
    with program(OBSERVER) as observer, program(SENDER, observer.line(), INTERVAL) as sender:
        assert observer.line() == "up first"
        for _ in range(2):
            time.sleep(0.5)
            os.kill(observer.pid, signal.SIGSTOP)
            time.sleep(3.0)
            os.kill(observer.pid, signal.SIGCONT)
        time.sleep(0.5)
        sender.tell()
        seen = []
        while (line := observer.line()) != "stopped stopped":
            seen.append(line)
    assert "down silent" not in seen


@pytest.mark.slow
def test_an_observer_that_slept_through_a_death_says_unknown_first():
    """What died meanwhile is unknown for an interval, because the observer was late, and then found down."""
    with program(OBSERVER) as observer, program(SENDER, observer.line(), INTERVAL) as sender:
        assert observer.line() == "up first"
        os.kill(observer.pid, signal.SIGSTOP)
        sender.kill()
        time.sleep(3.0)
        os.kill(observer.pid, signal.SIGCONT)
        seen = [observer.line()]
        while seen[-1] != "down silent":
            seen.append(observer.line())
    assert "unknown observer_late" in seen


@pytest.mark.slow
def test_unknown_where_half_is_lost(receiver, monitor):
    """Over a link that loses half, a death is unknown at the cap, and down only at twice that."""
    link = Link(receiver.url, FaultRules(LinkFaults(loss=0.5), Random(5)))
    with running(link), program(SENDER, link.url, 0.1) as sender:
        wait_for(receiver, monitor, HeartbeatVerdictKind.FIRST)
        idle(receiver, monitor, 5.0)
        sender.kill()
        changes = wait_for(receiver, monitor, HeartbeatState.DOWN)
    [status] = monitor.status(time.monotonic())
    assert HeartbeatVerdictKind.LOSSY in [change.verdict.kind for change in changes]
    assert status.loss == pytest.approx(0.5, abs=0.3)
    assert status.down_after == pytest.approx(2.05)


@pytest.mark.slow
def test_no_false_alarm_at_five_percent(receiver, monitor):
    """A few hundred beats over a link that loses, doubles and reorders: late now and then, never down."""
    faults = LinkFaults(loss=0.05, duplicate=0.1, reorder=0.1, reorder_delay=0.02)
    with running(Link(receiver.url, FaultRules(faults, Random(3)))) as link, program(SENDER, link.url, 0.05) as sender:
        changes = []
        while monitor.stats().beats <= 200:
            changes += idle(receiver, monitor, 0.5)
        sender.tell()
        changes += wait_for(receiver, monitor, HeartbeatState.STOPPED)
    assert HeartbeatState.DOWN not in [change.state for change in changes]


def test_example():
    """It runs, is short, and tells loss, failure and an orderly end apart."""
    example = ROOT / "examples" / "heartbeats.py"
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 30
    done = subprocess.run(
        [sys.executable, str(example)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * BOUND,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "→ failed, failed: RuntimeError" in done.stdout
    assert "lost(" in done.stdout
    assert "→ stopped" in done.stdout
    assert "down" not in done.stdout.replace("never was down", "")
