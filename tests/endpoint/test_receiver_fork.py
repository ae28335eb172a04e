"""A forked child lets go of the receiver: two processes reading one socket could each process the same message (H2)."""

import json
from pathlib import Path

import pytest

from atmost import AddressInUse, Receiver, Sender
from tests.real import BOUND, program, run

CHILD_STAYS = """
import os, signal, sys
import atmost
receiver = atmost.Receiver(sys.argv[1], clock_guard=0)
print(receiver.url, flush=True)
if not (child := os.fork()):
    assert receiver.closed
    assert receiver.receive() is None and receiver.next_event() is None and list(receiver) == []
    assert receiver.ledger().delivered == 0
    if sys.argv[2] == "close":
        receiver.close()
    elif sys.argv[2] == "forget":
        del receiver
    print(os.getpid(), flush=True)
    signal.pause()
for line in iter(sys.stdin.readline, ""):
    if line == "receive\\n":
        print(receiver.receive(30).payload, flush=True)
    elif line == "close\\n":
        receiver.close()
        print("closed", flush=True)
    elif line == "end\\n":
        os.kill(child, 9)
        os.waitpid(child, 0)
        break
"""


@pytest.mark.parametrize("what", ["stay", "close", "forget"])
@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "unix://{folder}/a.sock"])
def test_the_parent_goes_on_and_the_address_is_its_own(url: str, what: str, tmp_path: Path) -> None:
    """Whatever the child does with its copy; and when the parent closes, the child keeps nothing."""
    with program(CHILD_STAYS, url.format(folder=tmp_path), what) as other:
        address = other.line()
        other.line()
        with pytest.raises(AddressInUse):
            Receiver(address)
        with Sender(address) as sender:
            sender.send("a", "to the parent")
            other.tell("receive")
            assert other.line() == "to the parent"
        other.tell("close")
        assert other.line() == "closed"
        assert list(tmp_path.iterdir()) == []
        with Receiver(address, clock_guard=0) as next_one, Sender(address) as sender:
            sender.send("a", "to the next")
            assert next_one.receive(BOUND) is not None
        other.tell("end")
        assert other.end() == 0


QUEUED = """
import json, os, sys
import atmost
receiver = atmost.Receiver("memory://fork")
sender = atmost.Sender("memory://fork", linger=0)
for number in range(10):
    sender.send("a", number)
first = receiver.receive(0).payload
receiver._intake.pump()
if not (child := os.fork()):
    os._exit(len([message for message in receiver]))
assert os.waitpid(child, 0)[1] == 0
print(json.dumps([first, *(receiver.receive(0).payload for _ in range(9))]))
"""


def test_what_the_parent_has_queued_is_handled_by_the_parent_only() -> None:
    """The child's copy of the queue is empty."""
    assert run(QUEUED) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n"


PAST_THE_HOOK = """
import os, sys
import atmost
from tests.cfork import c_fork
receiver = atmost.Receiver(sys.argv[1], clock_guard=0)
if not (child := c_fork()):
    os._exit(0 if receiver.receive() is None and receiver.closed else 1)
assert os.waitpid(child, 0)[1] == 0
assert not receiver.closed
receiver.close()
"""


HANDLER_FORKS = """
import json, os, sys
import atmost
from tests.cfork import c_fork
way = sys.argv[1]
reader, writer = os.pipe()
receiver = atmost.Receiver("memory://fork-past")
sender = atmost.Sender("memory://fork-past")
for number in range(300):
    sender.send("a", number)
sender.flush()
parent = os.getpid()
children = []
def handle(message):
    os.write(writer, b"%d\\n" % message.payload)
    if message.payload in (0, 5, 299):
        children.append(c_fork())
        if not children[-1]:
            children.clear()
    if message.payload == 299 and os.getpid() == parent:
        receiver.close()
if way == "run":
    receiver.run(handle)
elif way == "iterate":
    for message in receiver:
        handle(message)
elif way == "events":
    for event in receiver.events():
        if isinstance(event, atmost.Message):
            handle(event)
elif way == "receive":
    while (message := receiver.receive()) is not None:
        handle(message)
else:
    import asyncio
    async def main():
        async with atmost.AsyncReceiver("memory://fork-past-async") as other:
            with atmost.Sender("memory://fork-past-async") as more:
                for number in range(300):
                    more.send("a", number)
            async def awaited(message):
                handle(message)
                if message.payload == 299:
                    other.close()
            await other.run(awaited)
    receiver.close()
    asyncio.run(main())
if os.getpid() != parent:
    os._exit(0)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
os.close(writer)
with os.fdopen(reader) as started:
    print(json.dumps([int(line) for line in started]))
"""


@pytest.mark.parametrize("way", ["run", "iterate", "events", "receive", "async"])
def test_h2_a_handler_that_forks_past_the_hook_starts_nothing_in_the_child(way: str) -> None:
    """C code that forks (daemon(3), libc.fork) tells no hook: the child looks before each message, and starts no handler."""
    assert json.loads(run(HANDLER_FORKS, way)) == list(range(300))


def test_a_child_forked_past_the_hook_lets_go_at_its_next_look() -> None:
    """The process id is checked before anything is read."""
    run(PAST_THE_HOOK, "udp://127.0.0.1:0")


FORKED_IN_A_TURN = """
import os, socket, sys
import atmost
from tests.cfork import c_fork
from tests.real import forge
receiver = atmost.Receiver("udp://127.0.0.1:0", clock_guard=0)
host, _, port = receiver.url.removeprefix("udp://").partition(":")
child, got = None, []
began_us = receiver._intake.inlet.clock()

def fork(*_):
    global child
    if child is None:
        child = c_fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0

receiver._intake.watch_refusals(fork)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect((host, int(port)))
    sock.send(b"nobody's")
    for number in range(60):
        sock.send(forge([("a", number)], sequence=number, prior=number, start_us=began_us))
while len(got) < 60 and (message := receiver.receive(30)) is not None:
    if not child:
        os._exit(1)
    got.append(message.payload)
if child == 0:
    os._exit(0)
receiver.close()
assert got == list(range(60)), got
"""


def test_h2_a_child_forked_past_the_hook_in_a_turn_takes_nothing_more() -> None:
    """It goes on in the middle of the turn, and what waits at the socket is the parent's."""
    run(FORKED_IN_A_TURN)


CHILD_CLOSES = """
import os, sys
import atmost
from tests.cfork import c_fork
url, what = sys.argv[1:]
receiver = atmost.Receiver(url, clock_guard=0)
if not (child := c_fork()):
    if what == "ledger":
        receiver.ledger()
    else:
        receiver.close()
    os._exit(0 if receiver.closed else 1)
assert os.waitpid(child, 0)[1] == 0
with atmost.Sender(url) as sender:
    sender.send("a", "to the parent")
    assert receiver.receive(30).payload == "to the parent"
try:
    atmost.Receiver(url)
except atmost.AddressInUse:
    receiver.close()
"""


@pytest.mark.parametrize("what", ["ledger", "close"])
def test_h2_a_child_forked_past_the_hook_cannot_take_the_path_away(what: str, tmp_path: Path) -> None:
    """Whichever method it calls first: the socket and its lock are the parent's, and stay."""
    run(CHILD_CLOSES, f"unix://{tmp_path}/a.sock", what)
    assert list(tmp_path.iterdir()) == []


CHILD_RECEIVES = """
import os, sys
import atmost
outer = atmost.Receiver(sys.argv[1], clock_guard=0)
if not (child := os.fork()):
    with atmost.Receiver("udp://127.0.0.1:0", clock_guard=0) as own, atmost.Sender(own.url) as sender:
        sender.send("a", "own")
        os._exit(0 if own.receive(30).payload == "own" else 1)
assert os.waitpid(child, 0)[1] == 0
outer.close()
"""


def test_a_child_may_receive_at_an_address_of_its_own() -> None:
    """Only what it inherited is closed."""
    run(CHILD_RECEIVES, "udp://127.0.0.1:0")


ASYNC = """
import asyncio, os, sys
import atmost
from tests.cfork import c_fork
async def main():
    receiver = atmost.AsyncReceiver(sys.argv[1], clock_guard=0)
    await receiver.ready()
    past_the_hook = sys.argv[2] == "past the hook"
    if not (child := c_fork() if past_the_hook else os.fork()):
        assert past_the_hook or receiver.closed
        receiver.close()
        os._exit(0 if receiver.closed else 1)
    os.waitpid(child, 0)
    receiving = asyncio.create_task(receiver.receive())
    for _ in range(100):  # until it has looked, and waits for the loop
        await asyncio.sleep(0)
    print(receiver.url, flush=True)
    print((await receiving).payload, flush=True)
    receiver.close()
asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["by Python", "past the hook"])
@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "unix://{folder}/a.sock"])
def test_a_loop_goes_on_watching_after_a_fork(url: str, how: str, tmp_path: Path) -> None:
    """Parent and child share what the loop watches with: the child must not take the parent's socket off it."""
    with program(ASYNC, url.format(folder=tmp_path), how) as other:
        with Sender(other.line()) as sender:
            sender.send("a", "still heard")
            assert other.line() == "still heard"
        assert other.end() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_child_of_a_program_that_only_sends_has_nothing_to_let_go_of() -> None:
    """Forking costs such a program nothing."""
    run(
        "import os, atmost\nsender = atmost.Sender('memory://a')\nif not os.fork(): os._exit(0)\nassert os.wait()[1] == 0"
    )
