"""Green threads that are patched in late, interpreters inside the interpreter, and exits with something broken: nothing stands still."""

import subprocess
import sys

import pytest

from atmost import Receiver
from tests.real import BOUND, environment, run

PATCHED_LATE = """
import logging, sys, time, threading
import atmost
sender = atmost.Sender(sys.argv[2], linger=0.01)
metrics = atmost.Metrics(sender, interval=0.05)
jobs = metrics.counter("jobs_total")
logger = logging.getLogger("shop")
logger.addHandler(atmost.LogHandler(sender))
if sys.argv[3] == "used":
    sender.send("a", "before")
    jobs.inc()
    logger.error("before")
if sys.argv[1] == "gevent":
    import gevent.monkey
    gevent.monkey.patch_all()
else:
    import warnings
    warnings.simplefilter("ignore")
    import eventlet
    eventlet.monkey_patch()
for number in range(20):
    sender.send("a", number)
    jobs.inc()
    logger.error("job %d", number)
    time.sleep(0.005)
sender.send("a", "waits for its linger")
time.sleep(0.2)
print(sender.stats().open)
sender.close()
"""


@pytest.mark.parametrize("used", ["used", "unused"])
@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_a_patch_that_comes_late_stops_nothing(library: str, used: str) -> None:
    """Whether or not a thread of ours runs already: messages leave, the linger ends, the program too."""
    with Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0) as receiver:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PATCHED_LATE, library, receiver.url, used],
            env=environment(PYTHONWARNINGS="ignore"),
            capture_output=True,
            text=True,
            check=False,
            timeout=BOUND,
        )
        assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
        payloads = [m.payload for m in iter(lambda: receiver.receive(0.5), None) if m.subject == "a"]
    assert [payload for payload in payloads if payload != "before"] == [*range(20), "waits for its linger"]


SUBINTERPRETER = """
import sys, threading
import _xxsubinterpreters as interpreters
import msgspec, xxhash
inner = interpreters.create()
interpreters.run_string(inner, '''
import atmost
with atmost.Sender("udp://127.0.0.1:9", linger=0.001) as sender:
    for number in range(100):
        sender.send("a", number)
left = atmost.Sender("udp://127.0.0.1:9", linger=0.001)
left.send("a", 1)
''')
interpreters.destroy(inner)
print("went on")
"""


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="the extension modules of the wire load in the main interpreter only"
)
def test_an_interpreter_inside_the_interpreter_ends() -> None:
    """No thread of ours outlives what was closed, nor what was left open: CPython aborts where one does."""
    assert run(SUBINTERPRETER) == "went on\n"


BROKEN_AT_EXIT = """
import logging, os, sys
import atmost
senders = [atmost.Sender(sys.argv[1], linger=60) for _ in range(5)]
for number, sender in enumerate(senders):
    sender.send("a", number)
    sender.send("a", number + 10)
broken = senders[2]
type(broken._core).goodbye_of_all = type(broken._core).goodbye
def goodbye(core, *arguments):
    if core is broken._core:
        raise OSError(9, "Bad file descriptor")
    return core.goodbye_of_all(*arguments)
type(broken._core).goodbye = goodbye
logging.getLogger("atmost").addHandler(logging.NullHandler())
logging.getLogger("atmost").propagate = False
"""


def test_one_that_breaks_at_the_exit_costs_the_others_nothing() -> None:
    """All of them say goodbye but the broken one."""
    with Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0) as receiver:
        run(BROKEN_AT_EXIT, receiver.url)
        payloads = {m.payload for m in iter(lambda: receiver.receive(0.5), None)}
        tails = [session.tail for session in receiver.ledger().sessions]
    assert payloads == {number + ten for number in range(5) for ten in (0, 10)}
    assert sorted(tails) == ["alive", *["closed"] * 4] or sorted(tails) == [*["closed"] * 4, "silent"]


MANY = """
import logging, sys, time
import atmost
sender = atmost.Sender(sys.argv[1])
loggers = []
for number in range(200):
    logger = logging.getLogger(f"part{number}")
    logger.addHandler(atmost.LogHandler(sender))
    logger.error("once")
    loggers.append(logger)
slept = []
sleep, time.sleep = time.sleep, lambda seconds: (slept.append(seconds), sleep(seconds))[1]
atmost.close_all(0.1)
print(sum(slept))
"""


def test_two_hundred_handlers_share_their_pauses() -> None:
    """Their repeats lie side by side: what is slept is what one of them would sleep."""
    with Receiver("udp://127.0.0.1:0", clock_guard=0, grace=0) as receiver:
        slept = float(run(MANY, receiver.url))
        assert sum(1 for m in iter(lambda: receiver.receive(0.5), None) if m.payload.get("final")) >= 200
    assert slept < 0.3  # all of it may have been used up otherwise
