"""One message's life under a guarantee, written down by running the very arm of the comparison with one fault.

Nothing here says what an arm does: the witnesses write down what it transmits, replies, processes and loses, and the
at-most-once receiver's own events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from atmost.core.events import DatagramRefused, Event, Loss, Message, SessionOpened
from atmost.lab.compare import ARMS
from atmost.lab.compare.at_most_once import AtMostOnce
from atmost.lab.compare.faults import Copy, Fates, Purpose
from atmost.lab.compare.network import SimulatedNetwork
from atmost.lab.compare.options import CompareOptions
from atmost.lab.compare.running import Arm
from atmost.lab.compare.tally import Tally
from atmost.lab.explain.script import TRAVEL, Fault, ScriptedFates
from atmost.lab.simulator.cores import ObservedReceiver

_LENGTH: Final = 4.0
"""Seconds that are told: two graces, in which a loss becomes certain, and the quarantine after a restart."""


class Lane(StrEnum):
    """Where something happens, or which way it goes."""

    SENDER = "sender"
    RECEIVER = "receiver"
    THERE = "to the receiver"
    BACK = "to the sender"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened."""

    seconds: float
    """After the message was offered."""
    lane: Lane
    text: str
    lost: bool = False
    """On its way; of datagrams and acknowledgements only."""


@dataclass(frozen=True, slots=True)
class Story:
    """What became of the message."""

    guarantee: str
    fault: Fault
    lines: tuple[Line, ...]
    processed: int
    """Times."""
    datagrams: int
    """Both ways."""
    bytes: int
    told: int
    """Messages the receiver reported as lost."""
    kept: int
    """Bytes kept over a crash."""


def tell(guarantee: str, fault: Fault) -> Story:
    """Runs one message through one arm.

    Args:
        guarantee: the arm's name, `at-most-once`, `at-least-once` or `exactly-once`.
        fault: what its first transmission meets.
    """
    options = CompareOptions(messages=1, latency=TRAVEL, jitter=0.0)
    (kind,) = [arm for arm in ARMS if arm.name == guarantee]
    lines: list[Line] = []
    network = _Network(ScriptedFates(fault), options.ready_after, lines)
    tally = _Tally(network.note)
    arm: Arm = _AtMostOnce(options, network, tally) if kind is AtMostOnce else kind(options, network, tally)
    network.told_by = tally
    network.run_until(options.ready_after)
    tally.offered.append(network.now)
    arm.send(0)
    network.note(Lane.SENDER, "keeps the message until it is acknowledged" if arm.busy else "keeps nothing")
    network.run_until(options.ready_after + _LENGTH)
    return Story(
        guarantee,
        fault,
        tuple(lines),
        len(tally.order),
        network.traffic.datagrams.total(),
        network.traffic.bytes,
        tally.told,
        tally.persistent_bytes,
    )


Note = Callable[[Lane, str], None]


class _Tally(Tally):
    """Also says aloud what it writes down."""

    def __init__(self, note: Note) -> None:
        super().__init__()
        self.note = note
        self.changes = 0
        """Processings, crashes and refusals: what can come of an arrival."""

    def processed(self, message: int, now: float) -> None:
        super().processed(message, now)
        self.changes += 1
        times = self.order.count(message)
        self.note(Lane.RECEIVER, "processes it" if times == 1 else f"processes it, time {times}")

    def acknowledged(self, message: int, now: float) -> None:
        super().acknowledged(message, now)
        self.note(Lane.SENDER, f"acknowledged after {self.waits[-1] * 1000:g} ms: forgets it")

    def crashed(self) -> None:
        super().crashed()
        self.changes += 1
        self.note(Lane.RECEIVER, "crashes, and starts again")

    def refused(self, reason: str) -> None:
        """The at-most-once receiver refused a datagram."""
        self.changes += 1
        self.note(Lane.RECEIVER, f"refuses it: {reason}")


class _Network(SimulatedNetwork):
    """Also writes down what it carries."""

    told_by: _Tally

    def __init__(self, fates: Fates, began: float, lines: list[Line]) -> None:
        super().__init__(fates)
        self._began, self._lines = began, lines

    def note(self, lane: Lane, text: str, *, lost: bool = False) -> None:
        """Writes a line of this moment."""
        self._lines.append(Line(self.now - self._began, lane, text, lost))

    def transmit(self, datagram: bytes, purpose: Purpose) -> None:
        self.traffic.count(purpose, datagram)
        copies = self._fates.of(purpose)
        if purpose is Purpose.AGAIN:
            self.note(Lane.SENDER, "no acknowledgement in time")
        doubled = ", doubled on its way" if len(copies) > 1 else ""
        self.note(Lane.THERE, f"{_NAMES[purpose]}, {len(datagram)} bytes{doubled}", lost=not copies)
        for copy in copies:
            self.after(copy.delay, self._arrive_of, (datagram, copy, purpose))

    def reply(self, datagram: bytes, copy: Copy) -> None:
        self.note(Lane.BACK, f"acknowledgement, {len(datagram)} bytes", lost=copy.ack_delay is None)
        super().reply(datagram, copy)

    def _arrive_of(self, arrival: tuple[bytes, Copy, Purpose]) -> None:
        datagram, copy, purpose = arrival
        before, place = self.told_by.changes, len(self._lines)
        self._receive(datagram, copy)
        if purpose is not Purpose.CONTROL and self.told_by.changes == before:
            # Nothing came of it, so the receiver must have known it.
            self._lines.insert(place, Line(self.now - self._began, Lane.RECEIVER, "knows it: does not process it"))


class _AtMostOnce(AtMostOnce):
    """The arm, with a receiver that tells the reason of every single refusal."""

    def _start_receiver(self) -> None:
        self._receiver = ObservedReceiver(self._bounds, self._network.wall_us)

    def _receive(self, datagram: bytes, copy: Copy) -> None:
        receiver = self._receiver
        assert isinstance(receiver, ObservedReceiver)
        receiver.refused = None
        super()._receive(datagram, copy)
        if receiver.refused is not None:
            self._aloud.refused(receiver.refused.value.replace("_", " "))

    def _account(self, events: Sequence[Event]) -> list[Message]:
        for event in events:
            text = _describe(event)
            if text:
                self._aloud.note(Lane.RECEIVER, text)
        return super()._account(events)

    @property
    def _aloud(self) -> _Tally:
        assert isinstance(self._tally, _Tally)
        return self._tally


def _describe(event: Event) -> str:
    """In a few words; what the tally says itself is left to it."""
    match event:
        case Loss(_, count, _):
            return f"reports {count} message lost"
        case SessionOpened(_, before):
            return f"joins the session after {before} message" if before else "takes up the session"
        case Message() | DatagramRefused():
            return ""
        case _:
            return f"tells {type(event).__name__}"


_NAMES: Final = {
    Purpose.FIRST: "the message",
    Purpose.AGAIN: "the message again",
    Purpose.CONTROL: "a beacon",
}
