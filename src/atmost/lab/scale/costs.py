"""Measures what the receiving core costs here: time a datagram and a message, and memory a session.

The core is fed directly, so that the figures are the work itself; what a socket or a broker's connection adds is an
argument of `plan`. Processor time of this thread, the median of several rounds.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from dataclasses import dataclass
from typing import Final

from atmost.core.datagram import encode_message
from atmost.core.limits import OVERHEAD
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import NO_KEY, no_keys
from atmost.core.sending import SenderCore, SenderOptions
from atmost.transport.base import NETWORK_DATAGRAM

_EPOCH_US: Final = 1_800_000_000_000_000
_SECOND_US: Final = 1_000_000
_ROUNDS: Final = 3
_MESSAGE_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Costs:
    """What this machine's interpreter needs; one core's time."""

    datagram_us: float
    """Accepting a datagram, without its messages."""
    message_us: float
    """Each message in it."""
    session_bytes: float
    """Memory a remembered session."""
    sessions: int
    """Measured with so many."""


def measure_costs(sessions: int = 5_000) -> Costs:
    """Runs the core for some seconds.

    Args:
        sessions: how many; fewer is quicker, and says less of caches that are too small.
    """
    lives = [_life(number) for number in range(sessions)]
    per_datagram = (NETWORK_DATAGRAM - OVERHEAD) // (_MESSAGE_BYTES + 8)
    core = ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5), _EPOCH_US - 2 * _SECOND_US)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for datagram in [data for life in lives for data in _datagrams(life, 1, 0)]:
        core.receive(datagram, 1.0, _EPOCH_US)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    ones, fulls = [], []
    for turn in range(1, _ROUNDS + 1):
        ones.append(_cost(core, [data for life in lives for data in _datagrams(life, 1, 2 * turn)]))
        fulls.append(_cost(core, [data for life in lives for data in _datagrams(life, per_datagram, 2 * turn + 1)]))
    one, many = statistics.median(ones), statistics.median(fulls)
    message = max(0.0, (many - one) / (per_datagram - 1))
    return Costs(max(0.0, one - message), message, (after - before) / sessions, sessions)


def _life(number: int) -> SenderCore:
    core = SenderCore(
        SenderOptions(), NETWORK_DATAGRAM, no_keys()[NO_KEY], name=f"sender-{number}", host="host", pid=number
    )
    core.begin(number * 0x9E3779B97F4A7C15 % (1 << 64), _EPOCH_US, 0.0)
    return core


def _datagrams(core: SenderCore, messages: int, turn: int) -> list[bytes]:
    """What a sender hands over for so many messages: one datagram of them, and a beacon when it is due."""
    for number in range(messages):
        item = encode_message(("scale.message", {"n": number, "text": "x" * (_MESSAGE_BYTES - 30)}))
        core.open.append(item)
        core.size += len(item)
    made: list[bytes] = []
    now = turn * 0.001
    while (outgoing := core.next_datagram(now, _EPOCH_US + turn * 1000, flush=True)) is not None:
        core.handed_over(outgoing, None, now)
        made.append(outgoing.data)
    return made


def _cost(core: ReceiverCore, datagrams: list[bytes]) -> float:
    """µs of processor time a datagram."""
    began = time.thread_time_ns()
    for datagram in datagrams:
        core.receive(datagram, 1.0, _EPOCH_US + _SECOND_US)
    return (time.thread_time_ns() - began) / 1000 / len(datagrams)
