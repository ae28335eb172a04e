"""What can happen in the simulated world: steps, whose list makes up a run.

Every step holds its own readings of the clocks, and names datagrams by the step that produced them.
So a list with some steps removed is again a run, and a violation's list can be shortened until it is readable;
a step that refers to a removed one does nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from atmost.lab.guarantee.tape import Tape

ALL: Final = 1 << 30
"""No limit: as many as there are."""

NOT_NOW: Final = "EAGAIN"
"""The socket is full; the sender may hold the datagram (R6)."""
TOO_LARGE: Final = "EMSGSIZE"
"""The datagram is too large for the path (R2)."""
AMBIGUOUS: Final = "ECONNRESET"
"""The connection broke, but the datagram was transmitted all the same; hence R6 forbids handing it over again."""
CERTAIN: Final = ("ECONNREFUSED", "ENOBUFS", "EPERM")
"""Refusals after which the datagram was certainly not transmitted."""


class CrashPoint(StrEnum):
    """Where a receiver is when it crashes; its core, its queue and its socket's buffer are lost."""

    IDLE = "idle"
    STARTING = "starting"
    """Before the clock has passed the boot floor (R10)."""
    BEFORE_TAG = "before_tag"
    """A datagram was read from the socket but not yet examined."""
    AFTER_MARK = "after_mark"
    """A datagram was accepted, but its messages never reached the queue."""
    QUEUED = "queued"
    """Messages wait for their handler."""
    IN_HANDLER = "in_handler"
    """A handler was started and did not return."""


class SenderCrashPoint(StrEnum):
    """Where a sender is when it crashes; after a restart it has a new session."""

    BEFORE_NUMBERING = "before_numbering"
    AFTER_NUMBERING = "after_numbering"
    """A number was assigned to a datagram that was not handed over."""
    AFTER_HAND_OVER = "after_hand_over"
    """A datagram was handed over and not booked."""


class StartReceiver(NamedTuple):
    """A new incarnation starts; the previous one, if it lives, crashes."""

    receiver: str
    now_us: int
    wall_us: int
    overlap: bool = False
    """H2 is broken: the previous one stays alive."""


class Deliver(NamedTuple):
    """Copies of a datagram reach a receiver's socket, and are read and handled up to the step's limits."""

    receiver: str
    datagram: str
    now_us: int
    wall_us: int
    copies: int = 1
    flip: int | None = None
    """The bit damaged on the way."""
    read: int = ALL
    """Most datagrams read from the socket."""
    handle: int = ALL
    """Most messages handed to the handler."""
    raises: bool = False
    """Every handler raises."""
    replay: bool = False
    """Whether the adversary delivers it, not the link."""
    age: int = 0
    """0 for the newest incarnation; the others live only where H2 is broken."""
    signal: int = 0
    """The line of the core at which a signal handler raises; 0 for none."""


class Work(NamedTuple):
    """A receiver that was busy reads its socket and handles what is queued."""

    receiver: str
    now_us: int
    wall_us: int
    read: int = ALL
    handle: int = ALL
    raises: bool = False
    signal: int = 0


class Elapse(NamedTuple):
    """A receiver's deadline has come."""

    receiver: str
    now_us: int


class Crash(NamedTuple):
    """A receiver dies."""

    receiver: str
    point: CrashPoint
    now_us: int
    wall_us: int


class Close(NamedTuple):
    """A receiver is closed in good order: what is queued is discarded and counted."""

    receiver: str
    now_us: int


class Check(NamedTuple):
    """A receiver's ledger is checked."""

    receiver: str
    now_us: int
    settled: bool = False
    """Whether nothing is on its way any more and all graces are over."""


class StartSender(NamedTuple):
    """A sender is created, or created again after a crash."""

    sender: str


class Offer(NamedTuple):
    """`send()` is called, once for each message."""

    sender: str
    now_us: int
    wall_us: int
    messages: int
    answer: str | None = None
    """The socket's answer to every datagram handed over in this step: None if it takes them, else an errno's name."""
    signal: int = 0
    """The line of the core at which a signal handler raises; 0 for none."""


class Turn(NamedTuple):
    """The flusher's turn, or `flush()`."""

    sender: str
    now_us: int
    wall_us: int
    flush: bool = False
    answer: str | None = None
    signal: int = 0


class CloseSender(NamedTuple):
    """A sender flushes, is closed, says goodbye, and refuses the message offered afterwards."""

    sender: str
    now_us: int
    wall_us: int
    answer: str | None = None


class CrashSender(NamedTuple):
    """A sender dies while it hands over what it has."""

    sender: str
    point: SenderCrashPoint
    now_us: int
    wall_us: int


class Fork(NamedTuple):
    """A sender's process forks: the child sends only the messages it is given itself, and nothing of its parent's (R8)."""

    sender: str
    child: str
    unseen: bool
    """The fork bypassed the hook and is noticed at the hand-over."""


class Forge(NamedTuple):
    """The adversary forges a datagram, which it can where no key is used."""

    name: str
    data: bytes


Step = (
    StartReceiver
    | Deliver
    | Work
    | Elapse
    | Crash
    | Close
    | Check
    | StartSender
    | Offer
    | Turn
    | CloseSender
    | CrashSender
    | Fork
    | Forge
)

Recorded = tuple[int, Step]
"""A step's number in the run it comes from, by which datagrams are named, and the step."""


# Describes a step in one line.


def describe(step: Step, tape: Tape) -> str:
    """Returns one line: the time, whose clock shows it, and what happens."""
    match step:
        case StartReceiver():
            return f"{_when(step)} {step.receiver} starts{', the one before stays alive' if step.overlap else ''}"
        case Deliver():
            return f"{_when(step)} {_deliver(step, tape)}"
        case Work():
            return f"{_when(step)} {step.receiver} works{_limits(step)}"
        case Elapse():
            return f"{_time(step.now_us)} {step.receiver}'s deadline"
        case Crash():
            return f"{_when(step)} {step.receiver} crashes, {step.point}"
        case Close():
            return f"{_time(step.now_us)} {step.receiver} is closed"
        case Check():
            return f"{_time(step.now_us)} {step.receiver} is checked{', settled' if step.settled else ''}"
        case StartSender():
            return f"{'':12} {step.sender} is made"
        case Offer():
            return f"{_when(step)} {step.sender} is offered {step.messages} messages{_answer(step.answer)}{_signal(step.signal)}"
        case Turn():
            return (
                f"{_when(step)} {step.sender} {'flushes' if step.flush else 'looks what is due'}"
                f"{_answer(step.answer)}{_signal(step.signal)}"
            )
        case CloseSender():
            return f"{_when(step)} {step.sender} says goodbye{_answer(step.answer)}"
        case CrashSender():
            return f"{_when(step)} {step.sender} crashes, {step.point}"
        case Fork():
            return f"{'':12} {step.sender} forks {step.child}{', unseen' if step.unseen else ''}"
        case Forge():
            return f"{'':12} the adversary makes {step.name}: {step.data.hex()}"


def _deliver(step: Deliver, tape: Tape) -> str:
    entry = tape.entries.get(step.datagram)
    what = entry.label if entry is not None else f"datagram {step.datagram}, which is not there,"
    copies = f" {step.copies} times" if step.copies > 1 else ""
    who = "the adversary plays" if step.replay else "the link delivers"
    damage = f", bit {step.flip} damaged" if step.flip is not None else ""
    age = f", {step.age} lives ago" if step.age else ""
    return f"{who} {what} to {step.receiver}{age}{copies}{damage}{_limits(step)}"


def _limits(step: Deliver | Work) -> str:
    parts = [f"{name} {count}" for name, count in (("reads", step.read), ("handles", step.handle)) if count != ALL]
    parts += ["handlers raise"] if step.raises else []
    return (f" ({', '.join(parts)})" if parts else "") + _signal(step.signal)


def _signal(line: int) -> str:
    return f", a signal raises at line {line}" if line else ""


def _answer(answer: str | None) -> str:
    return f", the socket says {answer}" if answer else ""


def _when(step: StartReceiver | Deliver | Work | Crash | Offer | Turn | CloseSender | CrashSender) -> str:
    return f"{_time(step.now_us)} [{step.wall_us}]"


def _time(now_us: int) -> str:
    return f"{now_us / 1e6:12.6f}"
