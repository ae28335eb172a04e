"""The hot path costs no more machine instructions than it should: counted under valgrind, so that other work on the machine does not matter."""

import pytest

from benchmarks.instructions import SET_UP, phases

ROUNDS = 300
UNIT = """
import os
def step(table, text):
    return table.get(text[2:20])
table, text = {}, bytes(200)
os.getppid()
for number in range(rounds):
    for _ in range(10):
        step(table, text)
    table[number & 63] = [number, text]
os.getppid()
"""
"""Plain Python: what is measured in, because interpreters differ."""
CORES = """
import atmost.endpoint.intake  # it puts the compiled twin in its place
core = ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5), 0)
data = datagrams(rounds + 50, 1)
for number, one in enumerate(data[:50]):
    core.receive(one, number * 0.001, 3_100_000 + number)
os.getppid()
for number, one in enumerate(data[50:]):
    core.receive(one, number * 0.001, 3_100_000 + number)
os.getppid()
datagrams(rounds, 8)
os.getppid()
"""
SENDER = """
import socket
from atmost.core import sending
from atmost.endpoint import sender as endpoint
sending._IMMEDIATE_EVERY = 1e9  # what shares a datagram does not depend on the clock
endpoint.Background.wake_at = lambda _self, _when: True  # and no thread comes in between
if atmost.is_compiled():
    endpoint._bind()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", 0))
    sender = atmost.Sender(f"udp://127.0.0.1:{sock.getsockname()[1]}", name="n", linger=60, max_datagram=1432)
    for number in range(11 * rounds):
        if number == rounds:
            os.getppid()
        sender._core.beacon_at = 1e18
        sender.send("bench.message", payload)
    os.getppid()
os._exit(0)
"""
STEPS = {
    "the core accepts a datagram of one message": 3,
    "the core makes one of 8 messages": 4,
    "ten calls of send()": 6,
}
"""Where each stands among the phases of the program."""
MOST = {"pure": (1.4, 2.3, 6.2), "compiled": (0.6, 2.3, 2.4)}
"""In units; more than half as much again as was counted with CPython 3.11 on x86-64: 0.84, 1.44, 3.83 and 0.34, 1.44, 1.37."""


@pytest.mark.slow
@pytest.mark.needs("valgrind")
@pytest.mark.parametrize("mode", ["pure", pytest.param("compiled", marks=pytest.mark.needs("compiled"))])
def test_the_hot_path_costs_what_it_should(mode):
    """A change that makes a step half as dear again shows here, on any machine, however busy; so does a compiled step that is not taken."""
    counted = phases(SET_UP + UNIT + CORES + SENDER, ROUNDS, ATMOST_PURE="1" if mode == "pure" else "0")
    assert len(counted) == 8
    shares = {name: round(counted[at] / counted[1], 2) for name, at in STEPS.items()}
    assert [share <= most for share, most in zip(shares.values(), MOST[mode], strict=True)] == [True] * 3, shares
