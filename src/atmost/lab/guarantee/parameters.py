"""The parameters of one run: every seed draws its own small ones, so that a campaign reaches rare corners.

The method is swarm testing (Groce, Zhang, Eide, Chen and Regehr, *Swarm testing*, ISSTA 2012): each kind of fault is
left out of many runs, because faults hide each other: where everything is lost, nothing can be doubled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from atmost.core.receiving import ReceiverOptions
from atmost.core.sending import SenderOptions
from atmost.lab.faults import LinkFaults

RECEIVER: Final = "r"
"""The receiver to which all senders send."""
STRANGER: Final = "q"
"""A receiver of another audience, to which the adversary replays the tape."""
WORKER: Final = "w"
"""The second receiver at the same port, in runs with workers (R17)."""
AUDIENCES: Final = {RECEIVER: "", STRANGER: "strangers", WORKER: ""}
_SHARDS: Final = {RECEIVER: (0, 2), WORKER: (1, 2)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypotheses:
    """H1 and H2 of docs/guarantee.md; the defaults keep them, and a run that breaks one must show the duplicate."""

    excess: float = 0.0
    """Seconds beyond G by which the receiver's clock is set back before a restart (H1)."""
    cumulative: bool = True
    """H1 counts from the greatest clock reading of all earlier incarnations; False: from that of the last one only."""
    one_at_a_time: bool = True
    """H2; False: the previous incarnation stays alive when the next one starts."""

    @property
    def kept(self) -> bool:
        """Whether all hypotheses of the guarantee hold."""
        return self == KEPT


KEPT: Final = Hypotheses()
BEYOND_GUARD: Final = Hypotheses(excess=60.0)
"""A clock set back so far that everything of the last minute is accepted once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """Probabilities (0 to 1), each for the occasion that its field names."""

    waiting: float = 0.0
    """At a receiver's start: the senders wait until it is ready."""
    silence: float = 0.0
    """At the adversary's moments: nothing happens for more than a minute."""
    receiver_crash: float = 0.0
    """At the arrival of a datagram that is about to be accepted; at others a tenth of it."""
    receiver_close: float = 0.0
    """Instead of a crash: the receiver closes in good order."""
    receiver_step: float = 0.0
    """At an arrival: the receiver's clock is set."""
    slow: float = 0.0
    """At an arrival: the handler is slow."""
    raising: float = 0.0
    """At an arrival: the handlers raise."""
    partition: float = 0.0
    """At a sender's turn: the link is cut for a while."""
    sender_crash: float = 0.0
    """At a sender's turn: it crashes."""
    sender_close: float = 0.0
    """At a sender's turn: it closes, and is started again later."""
    sender_step: float = 0.0
    """At a sender's turn: its clock is set."""
    stamp_at_bound: float = 0.0
    """At a sender's turn: its clock is set so that its stamp meets the floor or the future bound, ± 1 µs."""
    fork: float = 0.0
    """At a sender's turn: its process forks."""
    flood: float = 0.0
    """At a sender's turn: more sessions appear than the table holds."""
    refusal: float = 0.0
    """At a hand-over: the socket refuses."""
    replay: float = 0.0
    """At each of the adversary's moments: it replays a datagram."""
    forge: float = 0.0
    """At a sender's turn: the adversary forges a datagram."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Everything that defines a run, except its chance events."""

    receiver: ReceiverOptions
    max_queue: int
    """Most messages between core and handler."""
    kernel_buffer: int
    """Most datagrams in a receiver's socket."""
    sender: SenderOptions
    senders: int
    payload: int
    """Bytes of padding in a message."""
    burst: int
    """Most messages offered at once."""
    pause: float
    """Mean seconds between two turns of a sender."""
    faults: LinkFaults
    chances: Chances
    wild_clocks: bool
    """Senders' clocks may be days away, and drift by up to a tenth."""
    workers: bool
    """Two workers share the sessions (R17)."""
    signals: float = 0.0
    """Probability that a signal handler raises in the middle of what a sender or the receiver does (R9)."""

    def shard(self, receiver: str) -> tuple[int, int] | None:
        """A receiver's number among the workers and how many there are; None where it receives all sessions."""
        return _SHARDS.get(receiver) if self.workers else None


def draw(random: Random) -> Parameters:
    """Draws a run's parameters."""
    future_bound = random.choice((0.0, 0.001, 0.01, 0.05, 0.5))
    clock_guard = random.choice((0.0, 0.001, 0.01, 0.05, 0.5))
    receiver = ReceiverOptions(
        future_bound=future_bound,
        clock_guard=clock_guard,
        window=random.choice((1, 2, 3, 4, 5, 8, random.randint(1, 64))),
        max_sessions=random.choice((1, 1, 2, 3, random.randint(1, 8))),
        grace=random.choice((0.0, 0.005, 0.05, 0.5, 1.0)),
        max_age=random.choice((None, None, None, 0.02, 0.2, 2.0)),
    )
    # At least a few dozen turns of all senders must come after the boot floor.
    pause = max((future_bound + clock_guard) / random.choice((5, 20, 80)), 10.0 ** random.uniform(-3.5, -1.0))
    return Parameters(
        receiver=receiver,
        max_queue=random.choice((1, 4, 64, 4096)),
        kernel_buffer=random.choice((4, 64, 1024, 4096)),
        sender=_draw_sender(random),
        senders=random.randint(1, 4),
        payload=random.choice((0, 0, 60, 200)),
        burst=random.choice((1, 3, 10)),
        pause=pause,
        faults=_draw_faults(random, pause),
        chances=_draw_chances(random),
        wild_clocks=random.random() < 0.3,
        workers=random.random() < 0.2,
        signals=random.choice((0.0, 0.0, 0.05, 0.3)),
    )


def undisturbed(parameters: Parameters) -> Parameters:
    """The same parameters without the faults that could hide a violation: datagrams that are lost or late."""
    chances = replace(parameters.chances, receiver_step=0.0, sender_step=0.0, silence=0.0, waiting=1.0)
    return replace(
        parameters,
        receiver=replace(parameters.receiver, max_age=None),
        sender=replace(parameters.sender, max_bytes_per_second=None),
        faults=LinkFaults(duplicate=parameters.faults.duplicate, copies=parameters.faults.copies),
        chances=chances,
        wild_clocks=False,
        workers=False,
        signals=0.0,
    )


def _draw_sender(random: Random) -> SenderOptions:
    return SenderOptions(
        linger=random.choice((0.0, 0.0, 0.005, 0.05)),
        max_datagram=random.choice((508, 508, 1432)),
        max_bytes_per_second=random.choice((None, None, None, 2000.0, 50_000.0)),
        max_buffer=random.choice((508, 2048, 262_144)),
        max_hold=random.choice((0.0, 0.005, 1.0)),
    )


def _draw_faults(random: Random, pause: float) -> LinkFaults:
    """Draws a link's faults; most delays let a few datagrams be overtaken, some outlast an incarnation."""

    def often(*values: float) -> float:
        """One of the values, or 0 to leave this fault out."""
        return random.choice(values) if random.random() < 0.5 else 0.0

    copies = random.choice((2, 2, 3, 10, 200, 1000))
    many = copies > 100
    jitter = often(pause, 5 * pause, 0.5)
    return LinkFaults(
        loss=often(0.02, 0.1, 0.3, 0.6) if random.random() < 0.98 else 1.0,
        burst=random.choice((1.0, 1.0, 3.0, 20.0)),
        duplicate=often(0.01) if many else often(0.05, 0.3, 1.0),
        copies=copies,
        reorder=often(0.02, 0.2, 0.5),
        reorder_delay=random.choice((pause, 3 * pause, 10 * pause, 2.0)),
        corrupt=often(0.02, 0.2),
        delay=often(0.0005, pause, 0.5),
        jitter=0.0 if many else jitter,
    )


def _draw_chances(random: Random) -> Chances:
    def often(*values: float) -> float:
        return random.choice(values) if random.random() < 0.5 else 0.0

    return Chances(
        waiting=random.choice((0.0, 0.7, 1.0)),
        silence=often(0.02, 0.1),
        receiver_crash=often(0.005, 0.02, 0.1, 0.3),
        receiver_close=often(0.2, 0.5),
        receiver_step=often(0.01, 0.05),
        slow=often(0.02, 0.2),
        raising=often(0.05, 0.5),
        partition=often(0.01),
        sender_crash=often(0.01, 0.05),
        sender_close=often(0.01),
        sender_step=often(0.01, 0.1),
        stamp_at_bound=often(0.05, 0.3),
        fork=often(0.01, 0.05),
        flood=often(0.005, 0.02),
        refusal=often(0.05, 0.3),
        replay=random.choice((0.0, 0.1, 0.3, 0.8)),
        forge=often(0.05, 0.2),
    )


# The wall clocks of simulated nodes: an offset, a drift, and steps in both directions; virtual time itself never steps.

EPOCH_US: Final = 1_800_000_000_000_000
"""What a true clock reads when a run begins, µs since 1970."""
HOUR_US: Final = 3_600_000_000
LEAP_US: Final = 50_000
"""A clock that gains more than this between two readings, beyond the time that passed, was set forward (µs)."""


class WallClock:
    """One node's clock."""

    __slots__ = ("_offset_us", "_ppm")

    def __init__(self, offset_us: int = 0, drift_ppm: int = 0) -> None:
        """Args: offset_us: how far it is ahead of the truth (µs). drift_ppm: µs gained in every second."""
        self._offset_us = EPOCH_US + offset_us
        self._ppm = drift_ppm

    def read(self, now_us: int) -> int:
        """Its reading at a moment of virtual time (µs since 1970)."""
        return self._offset_us + now_us + now_us * self._ppm // 1_000_000

    def step(self, by_us: int) -> None:
        """Sets it forward or back."""
        self._offset_us += by_us

    def set(self, reading_us: int, now_us: int) -> None:
        """Sets it to a reading."""
        self._offset_us += reading_us - self.read(now_us)
