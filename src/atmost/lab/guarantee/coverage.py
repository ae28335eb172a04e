"""What a campaign has to reach: it proves nothing about a rule, a crash point or a fault that never came up.

Every name below is counted when it really happens in the simulated world, not when it is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from atmost.core.events import ClockTrouble, DropReason, RefusalReason
from atmost.lab.guarantee.steps import AMBIGUOUS, CERTAIN, NOT_NOW, TOO_LARGE, CrashPoint, SenderCrashPoint

REFUSAL: Final = "refusal"
RECEIVER_CRASH: Final = "receiver crash"
SENDER_CRASH: Final = "sender crash"
LINK: Final = "link fault"
ARRIVAL: Final = "first arrival"
COPY: Final = "copy of an accepted datagram"
MOMENT: Final = "adversary's moment"
FORGERY: Final = "forgery"
SENDER: Final = "sender fault"
RECEIVER: Final = "receiver fault"

Hit = tuple[str, str]
"""A group and a name in it."""

NOT_REACHABLE: Final[Mapping[str, str]] = {
    ClockTrouble.UNSYNCHRONISED.value: "the operating system tells the endpoint (adjtimex), which tells the core; no datagram does",
}
"""What no campaign can reach, and why."""

GOALS: Final[Mapping[str, tuple[str, ...]]] = {
    REFUSAL: tuple(reason.value for reason in RefusalReason),
    RECEIVER_CRASH: tuple(point.value for point in CrashPoint),
    SENDER_CRASH: tuple(point.value for point in SenderCrashPoint),
    LINK: (
        "loss alone",
        "loss in bursts",
        "partition",
        "doubled",
        "copied 3 to 99 times",
        "copied 100 to 1000 times",
        "delayed",
        "delayed across 1 restart",
        "delayed across 2 restarts",
        "delayed across 3 restarts",
        "overtaken",
        "header damaged",
        "body damaged",
        "tag damaged",
        "nobody listening",
    ),
    ARRIVAL: ("in order", "late, inside the window", "late, last inside", "late, first beyond", "late, beyond"),
    COPY: (
        "at once",
        "inside the window",
        "after the window",
        "after eviction",
        "after restart",
        "at another receiver",
    ),
    MOMENT: (
        "just after restart",
        "as the floor passes",
        "just after eviction",
        "at the window's edge",
        "whole tape",
        "at another receiver",
        "at another worker",
        "any",
        "floor -1 µs",
        "floor +0 µs",
        "floor +1 µs",
        "future bound +0 µs",
        "future bound +1 µs",
        "window -1",
        "window +0",
        "window +1",
    ),
    FORGERY: (
        "garbage",
        "truncated",
        "altered, checksum right",
        "flood",
        "implausible claim",
        "another's session",
        "contradiction",
        "refused, the next number after too many messages",
        "refused, the next number after too few messages",
        "odd stamp",
        "odd flags or count",
        "unknown key",
        "accepted",
        "accepted in a sender's name",
        "accepted after a confirmed jump",
    ),
    SENDER: (
        *(f"socket says {answer}" for answer in (NOT_NOW, TOO_LARGE, AMBIGUOUS, *CERTAIN)),
        *(f"dropped: {reason.value}" for reason in DropReason),
        "held, then handed over",
        "fork",
        "fork with a full buffer",
        "fork unseen",
        "restart",
        "clock forward",
        "clock back, new session",
        "clock back, same session",
        "clock a day away",
        "interrupted by a signal",
        "interrupted, numbered and handed over later",
        "interrupted, handed over and not booked",
        "more sessions than the table holds",
    ),
    RECEIVER: (
        *(f"alarm: {trouble.value}" for trouble in ClockTrouble if trouble.value not in NOT_REACHABLE),
        "clock forward",
        "restart, clock back within G",
        "restart, clock back by exactly G",
        "closed with a full queue",
        "queue overflow",
        "handler raised",
        "handler slow",
        "interrupted before a datagram was counted",
        "interrupted after a datagram was refused",
        "interrupted after a datagram was accepted",
        "kernel drops",
        "live session evicted",
        "silent session evicted",
        "late arrival",
        "lost at the sender's socket",
        "lost in flight",
        "lost before any beacon",
        "joined late",
    ),
}
"""Everything a campaign has to reach, by group."""

_KNOWN: Final = frozenset((group, name) for group, names in GOALS.items() for name in names)


def missing(hits: Mapping[Hit, int]) -> list[Hit]:
    """The goals that were not reached, in the order of `GOALS`."""
    return [(group, name) for group, names in GOALS.items() for name in names if not hits.get((group, name))]


def check_names(hits: Counter[Hit]) -> None:
    """Checks that every hit is a goal, because a misspelt one would not count."""
    unknown = hits.keys() - _KNOWN
    assert not unknown, f"no goals: {sorted(unknown)}"


def as_table(hits: Mapping[Hit, int]) -> dict[str, dict[str, int]]:
    """The counts of all goals by group and name, zeros included."""
    return {group: {name: hits.get((group, name), 0) for name in names} for group, names in GOALS.items()}
