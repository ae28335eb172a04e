"""Says in one line what a step is."""

from __future__ import annotations

from atmost.lab.simulator.steps import (
    ALL,
    Check,
    Close,
    CloseSender,
    Crash,
    CrashSender,
    Deliver,
    Elapse,
    Forge,
    Fork,
    Offer,
    StartReceiver,
    StartSender,
    Step,
    Turn,
    Work,
)
from atmost.lab.simulator.tape import Tape


def describe(step: Step, tape: Tape) -> str:
    """One line: when, by whose clock, what."""
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
            return f"{_when(step)} {step.sender} is offered {step.messages} messages{_answer(step.answer)}"
        case Turn():
            return (
                f"{_when(step)} {step.sender} {'flushes' if step.flush else 'looks what is due'}{_answer(step.answer)}"
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
    return f" ({', '.join(parts)})" if parts else ""


def _answer(answer: str | None) -> str:
    return f", the socket says {answer}" if answer else ""


def _when(step: StartReceiver | Deliver | Work | Crash | Offer | Turn | CloseSender | CrashSender) -> str:
    return f"{_time(step.now_us)} [{step.wall_us}]"


def _time(now_us: int) -> str:
    return f"{now_us / 1e6:12.6f}"
