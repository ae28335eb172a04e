"""The figures of one arm, made of its book and of the network's counts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from atmost.lab.compare.faults import Purpose
from atmost.lab.compare.network import REPLY, Traffic
from atmost.lab.compare.tally import Tally
from atmost.lab.compare.uses import Effects, GroundTruth

NEVER: Final = -1.0
"""In place of the time of a message that was never processed."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A time's distribution, seconds; None where nothing was measured."""

    mean: float | None
    p50: float | None
    p99: float | None
    variance: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The distribution of these; percentiles are the smallest value that so many do not exceed."""
        if not values:
            return cls(None, None, None, None)
        ordered = sorted(values)
        count = len(ordered)
        mean = sum(ordered) / count
        variance = sum((value - mean) ** 2 for value in ordered) / count
        return cls(mean, ordered[(count - 1) // 2], ordered[-(-count * 99 // 100) - 1], variance)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReport:
    """What one guarantee made of the same messages."""

    arm: str
    offered: int
    """Messages."""
    never: int
    """Processed 0 times."""
    once: int
    """Processed exactly once."""
    repeated: int
    """Processed twice or more."""
    processings: int
    """In all."""
    told: int
    """Of `never`, how many the receiver itself reported as lost."""
    crashes: int
    """Of the receiver."""
    transmissions: int
    """Datagrams that carried a message, retries included."""
    beacons: int
    acknowledgements: int
    datagrams: int
    """All of them, both ways."""
    bytes: int
    """Of these, without the network's own headers."""
    refused: int
    """Of these, how many this host's own socket refused; over real sockets only."""
    latency: Spread
    """From the offer to the first processing."""
    wait: Spread
    """How long a caller waits that must know: until the acknowledgement; 0 where nobody waits."""
    sender_bytes: int
    """Of messages, the most the sender held at once."""
    receiver_bytes: int
    """The receiver must remember in memory."""
    persistent_bytes: int
    """The receiver must keep over a crash."""
    effects: Effects

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def transmissions_per_message(self) -> float:
        """Retries included."""
        return self.transmissions / self.offered

    @property
    def datagrams_per_message(self) -> float:
        """Both ways."""
        return self.datagrams / self.offered

    @property
    def bytes_per_message(self) -> float:
        """Both ways."""
        return self.bytes / self.offered


def first_times(tally: Tally) -> array[float]:
    """When each message was processed for the first time; `NEVER` for those that were not."""
    first = array("d", [NEVER]) * len(tally.offered)
    for message, time in zip(tally.order, tally.times, strict=True):
        if first[message] < 0:
            first[message] = time
    return first


def report(arm: str, tally: Tally, traffic: Traffic, truth: GroundTruth) -> ArmReport:
    """The figures of an arm that is done.

    Args:
        arm: its name.
        tally: its book.
        traffic: what it handed to its network.
        truth: what the messages meant to each use.
    """
    offered = len(tally.offered)
    times = bytearray(offered)  # how often each was processed; beyond 2 it makes no difference here
    for message in tally.order:
        if times[message] < 2:
            times[message] += 1
    first = first_times(tally)
    latencies = [time - sent for time, sent in zip(first, tally.offered, strict=True) if time >= 0]
    at_most_once = not traffic.datagrams[REPLY] and not tally.waits
    return ArmReport(
        arm=arm,
        offered=offered,
        never=times.count(0),
        once=times.count(1),
        repeated=times.count(2),
        processings=len(tally.order),
        told=tally.told,
        crashes=tally.crashes,
        transmissions=traffic.datagrams[Purpose.FIRST] + traffic.datagrams[Purpose.AGAIN],
        beacons=traffic.datagrams[Purpose.CONTROL],
        acknowledgements=traffic.datagrams[REPLY],
        datagrams=traffic.datagrams.total(),
        bytes=traffic.bytes,
        refused=traffic.refused,
        latency=Spread.of(latencies),
        wait=Spread(0.0, 0.0, 0.0, 0.0) if at_most_once else Spread.of(tally.waits),
        sender_bytes=tally.max_held,
        receiver_bytes=tally.receiver_bytes,
        persistent_bytes=tally.persistent_bytes,
        effects=truth.effects(tally, first),
    )
