"""The figures of one arm, made of its book and of the network's counts."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

from atmost.lab.compare.network import REPLY, Purpose, Traffic
from atmost.lab.compare.options import CompareOptions

# What became of the messages of one arm, written down as it happens; the figures are made of it afterwards.
#
# A plain book with bounds: one entry a processing, one a message that was acknowledged. Not thread-safe.


class Tally:
    """One arm's book."""

    def __init__(self) -> None:
        self.offered = array("d")
        """When each message was offered, seconds; its place is its number."""
        self.order = array("I")
        """The message of each processing, in the order of the processings."""
        self.times = array("d")
        """When each of them was, seconds."""
        self.waits = array("d")
        """From the offer to the acknowledgement, seconds, of each message that was acknowledged."""
        self.crashes = 0
        self.told = 0
        """Messages the receiver itself knows to be lost."""
        self.max_held = 0
        """The most bytes of messages the sender held at once."""
        self.receiver_bytes = 0
        """Bytes the receiver must remember in memory, at the end."""
        self.persistent_bytes = 0
        """Bytes the receiver must keep over a crash, at the end."""

    def processed(self, message: int, now: float) -> None:
        """Its effect happened, again or for the first time."""
        self.order.append(message)
        self.times.append(now)

    def acknowledged(self, message: int, now: float) -> None:
        """The sender knows that it was processed; here a caller that must know may go on."""
        self.waits.append(now - self.offered[message])

    def crashed(self) -> None:
        """The receiver lost what it had in memory, and began anew."""
        self.crashes += 1


# What a guarantee does to each use, from the sequence in which its receiver processed the messages, and when.
#
# The same messages are read in five ways: as readings that are averaged and deltas that are added up, as heartbeats, as
# cache-invalidation hints, as log lines, as payments. Each is the plain use, without the means this library adds against
# loss (cumulative readings, patience by measured loss, gaps that invalidate): what the guarantee alone does is the question.

MISSES: Final = 3
"""Heartbeats missed in a row before a plain monitor raises an alarm, half an interval after the last was due."""
KEYS: Final = 100
"""Keys in the cache; they change in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Of one arm, on each use."""

    average_skew: float | None
    """Average of the readings processed against the true average, relative; None when nothing was processed."""
    total_skew: float
    """Sum of the deltas processed against the true sum, relative: lost ones lower it, repeated ones raise it."""
    false_alerts: int
    """Times a monitor called the living sender down."""
    stale_reads: int
    """Of one read for each change of a key: those that found the old value in the cache."""
    missing_lines: int
    """Lines that are not in the log."""
    repeated_lines: int
    """Lines that are in it once more than they were written."""
    misplaced_lines: int
    """Lines that stand after one that was written later."""
    lost_payments: int
    """Payments never made."""
    double_charges: int
    """Charges beyond the first of each payment."""


class GroundTruth:
    """What the messages of one run really meant; the same for every arm."""

    def __init__(self, options: CompareOptions, messages: int) -> None:
        """Args: options: the seed and the interval. messages: how many were offered."""
        random = Random(f"{options.seed} uses")
        draw = random.random
        self._interval = options.interval
        # Response times have long tails, which is what makes an average easy to skew.
        self.readings = array("d", (random.lognormvariate(0.0, 1.0) for _ in range(messages)))
        # A key is read once between two of its changes, at any moment.
        self.reads = array("d", (draw() * KEYS * options.interval for _ in range(messages)))
        self._total = math.fsum(self.readings)

    def effects(self, tally: Tally, first: array[float]) -> Effects:
        """What the arm made of it.

        Args:
            tally: the arm's book.
            first: when each message was first processed, negative for never.
        """
        readings = self.readings
        count = len(tally.order)
        total = math.fsum(readings[message] for message in tally.order)
        true = self._total
        missing = sum(time < 0 for time in first)
        return Effects(
            average_skew=(total / count) / (true / len(readings)) - 1 if count else None,
            total_skew=total / true - 1,
            false_alerts=self._false_alerts(tally),
            stale_reads=sum(
                not 0 <= time <= sent + read for time, sent, read in zip(first, tally.offered, self.reads, strict=True)
            ),
            missing_lines=missing,
            repeated_lines=count - (len(first) - missing),
            misplaced_lines=_misplaced(tally.order),
            lost_payments=missing,
            double_charges=count - (len(first) - missing),
        )

    def _false_alerts(self, tally: Tally) -> int:
        """Silences longer than the misses explain; each beat processed ends one, be it old or repeated."""
        if not tally.offered:
            return 0
        longest = (MISSES + 0.5) * self._interval
        alerts, last = 0, tally.offered[0]
        for time in tally.times:
            alerts += time - last > longest
            last = time
        return alerts + (tally.offered[-1] + self._interval - last > longest)


def _misplaced(order: array[int]) -> int:
    newest, count = -1, 0
    for message in order:
        if message < newest:
            count += 1
        else:
            newest = message
    return count


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
