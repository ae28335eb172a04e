"""The figures of one arm, computed from its book and the network's counts."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

from atmost.lab.compare.network import REPLY, Purpose, Traffic
from atmost.lab.compare.options import CompareOptions

# The book of one arm records what becomes of its messages as it happens; the figures are computed from it afterwards.
#
# Its size is bounded: one entry per processing and one per acknowledged message. Not thread-safe.


class Tally:
    """One arm's book."""

    def __init__(self) -> None:
        self.offered = array("d")
        """When each message was offered (s); the index is the message's number."""
        self.order = array("I")
        """The message of each processing, in the order of the processings."""
        self.times = array("d")
        """When each of them happened (s)."""
        self.waits = array("d")
        """Time from the offer to the acknowledgement of each message that was acknowledged (s)."""
        self.crashes = 0
        self.told = 0
        """Messages that the receiver itself reported as lost."""
        self.max_held = 0
        """The most bytes of messages the sender held at once."""
        self.receiver_bytes = 0
        """Bytes the receiver must hold in memory, at the end."""
        self.persistent_bytes = 0
        """Bytes the receiver must keep over a crash, at the end."""

    def processed(self, message: int, now: float) -> None:
        """Records that a message's effect happened, for the first time or again."""
        self.order.append(message)
        self.times.append(now)

    def acknowledged(self, message: int, now: float) -> None:
        """Records that the sender knows that a message was processed; a caller that waits for this may go on."""
        self.waits.append(now - self.offered[message])

    def crashed(self) -> None:
        """Records that the receiver lost its memory and restarted."""
        self.crashes += 1


# What a guarantee does to each use, from the sequence in which its receiver processed the messages, and when.
#
# The same messages are read in five ways: as readings that are averaged and deltas that are added up, as heartbeats, as
# cache-invalidation hints, as log lines, as payments. Each is the plain use, without the means this library adds against
# loss (cumulative readings, patience by measured loss, gaps that invalidate): the question is what the guarantee alone does.

MISSES: Final = 3
"""Heartbeats missed in a row before a plain monitor raises an alarm, half an interval after the last was due."""
KEYS: Final = 100
"""Keys in the cache; they change in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """The effects of one arm's guarantee on each use."""

    average_skew: float | None
    """Average of the readings processed against the true average, relative; None when nothing was processed."""
    total_skew: float
    """Sum of the deltas processed against the true sum, relative: lost ones lower it, repeated ones raise it."""
    false_alerts: int
    """Times a monitor called the living sender down."""
    stale_reads: int
    """Reads, one for each change of a key, that found the old value in the cache."""
    missing_lines: int
    """Lines missing from the log."""
    repeated_lines: int
    """Extra copies of lines in the log."""
    misplaced_lines: int
    """Lines placed after one that was written later."""
    lost_payments: int
    """Payments never made."""
    double_charges: int
    """Charges beyond the first of each payment."""


class GroundTruth:
    """The true content of one run's messages, the same for every arm."""

    def __init__(self, options: CompareOptions, messages: int) -> None:
        """Args: options: the seed and the interval. messages: how many were offered."""
        random = Random(f"{options.seed} uses")
        draw = random.random
        self._interval = options.interval
        # Response times have long tails, which is what makes an average easy to skew.
        self.readings = array("d", (random.lognormvariate(0.0, 1.0) for _ in range(messages)))
        # A key is read once between two of its changes, at a random moment.
        self.reads = array("d", (draw() * KEYS * options.interval for _ in range(messages)))
        self._total = math.fsum(self.readings)

    def effects(self, tally: Tally, first: array[float]) -> Effects:
        """Compares what an arm delivered with the truth.

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
        """Silences longer than the allowed misses; each beat processed ends one, even an old or repeated one."""
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
"""Stands for the time of a message that was never processed."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of a time (s); None where nothing was measured."""

    mean: float | None
    p50: float | None
    p99: float | None
    variance: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The distribution of these values; a percentile is the smallest value that so many do not exceed."""
        if not values:
            return cls(None, None, None, None)
        ordered = sorted(values)
        count = len(ordered)
        mean = sum(ordered) / count
        variance = sum((value - mean) ** 2 for value in ordered) / count
        return cls(mean, ordered[(count - 1) // 2], ordered[-(-count * 99 // 100) - 1], variance)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReport:
    """The figures of one guarantee over the same messages."""

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
    """All processings, repeated ones included."""
    told: int
    """Of `never`, how many the receiver itself reported as lost."""
    crashes: int
    """Crashes of the receiver."""
    transmissions: int
    """Datagrams that carried a message, retries included."""
    beacons: int
    acknowledgements: int
    datagrams: int
    """Datagrams of all kinds, both ways."""
    bytes: int
    """Bytes of these datagrams, without the network's own headers."""
    refused: int
    """Datagrams that this host's own socket refused; over real sockets only."""
    latency: Spread
    """Time from the offer to the first processing (s)."""
    wait: Spread
    """How long a caller waits for the acknowledgement (s); 0 for an arm without acknowledgements."""
    sender_bytes: int
    """The most bytes of messages the sender held at once."""
    receiver_bytes: int
    """Bytes the receiver must hold in memory."""
    persistent_bytes: int
    """Bytes the receiver must keep over a crash."""
    effects: Effects

    def as_dict(self) -> dict[str, Any]:
        """Its figures, as the commands print them with `--json`."""
        return asdict(self)

    @property
    def transmissions_per_message(self) -> float:
        """How often a message was sent on average, retries included."""
        return self.transmissions / self.offered

    @property
    def datagrams_per_message(self) -> float:
        """Datagrams for each message, in both directions."""
        return self.datagrams / self.offered

    @property
    def bytes_per_message(self) -> float:
        """Bytes on the wire for each message, in both directions."""
        return self.bytes / self.offered


def first_times(tally: Tally) -> array[float]:
    """When each message was processed for the first time; `NEVER` for those that were not."""
    first = array("d", [NEVER]) * len(tally.offered)
    for message, time in zip(tally.order, tally.times, strict=True):
        if first[message] < 0:
            first[message] = time
    return first


def report(arm: str, tally: Tally, traffic: Traffic, truth: GroundTruth) -> ArmReport:
    """Computes the figures of an arm that has finished.

    Args:
        arm: its name.
        tally: its book.
        traffic: the datagrams it handed to its network.
        truth: the true content of the messages.
    """
    offered = len(tally.offered)
    times = bytearray(offered)  # how often each message was processed; 2 stands for any larger number
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
