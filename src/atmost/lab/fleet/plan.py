"""Computes what a load needs from measured costs, one row per stage.

Pure. Cores are those of processes like `Workers` or collectors with shards; they add up because each serves its own sessions.
"""

from __future__ import annotations

import math
import statistics
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from atmost.core.datagram import encode_message
from atmost.core.limits import (
    BEACON_AFTER_DATA,
    BEACON_GROWTH,
    BEACON_IDLE,
    BEACON_UNDER_LOAD,
    MAX_COUNT,
    MAX_DATAGRAM,
    OVERHEAD,
)
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import NO_KEY, no_keys
from atmost.core.sending import SenderCore, SenderOptions
from atmost.errors import OptionError
from atmost.transport.base import NETWORK_DATAGRAM

# Measures what the receiving core costs here: time per datagram and per message, and memory per session.
#
# The core is fed directly, so that the figures are its work alone; the cost of a socket or a broker's connection is an
# argument of `plan`. Times are processor time of this thread, the median of several rounds.

_EPOCH_US: Final = 1_800_000_000_000_000
_SECOND_US: Final = 1_000_000
_ROUNDS: Final = 3
_MESSAGE_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Costs:
    """What the receiving core costs on this machine, in time of one processor core."""

    datagram_us: float
    """Time to accept a datagram, without its messages (µs)."""
    message_us: float
    """Time for each message in it (µs)."""
    session_bytes: float
    """Memory per remembered session."""
    sessions: int
    """Sessions in the measurement."""


def measure_costs(sessions: int = 5_000) -> Costs:
    """Runs the core for some seconds and measures it.

    Args:
        sessions: how many to open; fewer is quicker, but hides the cost of processor caches that are too small.
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
    """The datagrams a sender hands over for so many messages: one that holds them, and a beacon if one is due."""
    made: list[bytes] = []
    now = turn * 0.001
    for number in range(messages):
        core.offer(encode_message(("scale.message", {"n": number, "text": "x" * (_MESSAGE_BYTES - 30)})), now)
    while (outgoing := core.next_datagram(now, _EPOCH_US + turn * 1000, flush=True)) is not None:
        core.handed_over(outgoing, None, now)
        made.append(outgoing.data)
    return made


def _cost(core: ReceiverCore, datagrams: list[bytes]) -> float:
    """Processor time per datagram (µs)."""
    began = time.thread_time_ns()
    for datagram in datagrams:
        core.receive(datagram, 1.0, _EPOCH_US + _SECOND_US)
    return (time.thread_time_ns() - began) / 1000 / len(datagrams)


HEADROOM: Final = 0.6
"""Share of a core that a plan uses; the rest is for bursts, beacons and takeovers."""
_BEACON_BYTES: Final = 160
_MOST: Final = {"datagrams_per_second": 1e6, "messages_per_datagram": MAX_COUNT, "datagram_bytes": MAX_DATAGRAM}
_MOST_SENDERS: Final = 10**9
_LONGEST_US: Final = 1e9


@dataclass(frozen=True, slots=True)
class Load:
    """What a fleet of senders sends."""

    senders: int
    datagrams_per_second: float
    """Datagrams of one sender, evenly spread, without beacons."""
    messages_per_datagram: float = 1.0
    datagram_bytes: float = 200.0

    def __post_init__(self) -> None:
        """Refuses a load that is out of range."""
        if not 1 <= self.senders <= _MOST_SENDERS:
            raise OptionError("senders", self.senders, f"1 to {_MOST_SENDERS:,}")
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not 0 < value <= most:
                raise OptionError(name, value, f"above 0, at most {most:,.0f}")


@dataclass(frozen=True, slots=True)
class Stage:
    """What one load needs."""

    load: Load
    datagrams: float
    """Datagrams per second, beacons included."""
    messages: float
    """Messages per second."""
    cores: float
    """Processor cores for receivers, with the headroom."""
    shards: int
    """Smallest power of two for which each shard needs at most one core."""
    session_bytes: float
    """Memory of all sessions together."""
    shard_bytes: float
    """Memory of the sessions of one shard."""
    network_bytes: float
    """Bytes per second into the receivers."""


def plan(
    loads: Sequence[Load],
    costs: Costs,
    *,
    carrier_us: float = 0.0,
    handler_us: float = 0.0,
    headroom: float = HEADROOM,
) -> list[Stage]:
    """Computes what each load needs.

    Args:
        loads: the stages.
        costs: measured by `measure_costs`.
        carrier_us: time that a socket or a broker's connection adds to a datagram (µs).
        handler_us: the handler's time for a message (µs).
        headroom: share of a core that the plan uses, above 0 to 1.

    Raises:
        OptionError: a share or a cost outside its range.
    """
    if not 0 < headroom <= 1:
        raise OptionError("headroom", headroom, "above 0, at most 1")
    for name, value in (("carrier_us", carrier_us), ("handler_us", handler_us)):
        if not 0 <= value <= _LONGEST_US:
            raise OptionError(name, value, f"µs from 0 to {_LONGEST_US:,.0f}")
    return [_stage(load, costs, carrier_us, handler_us, headroom) for load in loads]


def beacons_per_second(datagrams_per_second: float) -> float:
    """Beacons of a sender that spreads its datagrams evenly: those between two datagrams, or one a second under load (R7)."""
    gap, at, wait, count = 1 / datagrams_per_second, BEACON_AFTER_DATA, BEACON_AFTER_DATA, 0
    while at < gap:
        count += 1
        wait *= BEACON_GROWTH
        if wait >= BEACON_IDLE:
            count += math.ceil((gap - at) / BEACON_IDLE) - 1
            break
        at += wait
    return count / gap if count else 1 / BEACON_UNDER_LOAD


def _stage(load: Load, costs: Costs, carrier_us: float, handler_us: float, headroom: float) -> Stage:
    beacons = load.senders * beacons_per_second(load.datagrams_per_second)
    data = load.senders * load.datagrams_per_second
    messages = data * load.messages_per_datagram
    busy = (data + beacons) * (costs.datagram_us + carrier_us) + messages * (costs.message_us + handler_us)
    cores = busy / 1e6 / headroom
    shards = 1 << math.ceil(math.log2(max(1.0, cores)))
    memory = load.senders * costs.session_bytes
    return Stage(
        load=load,
        datagrams=data + beacons,
        messages=messages,
        cores=cores,
        shards=shards,
        session_bytes=memory,
        shard_bytes=memory / shards,
        network_bytes=data * load.datagram_bytes + beacons * _BEACON_BYTES,
    )
