"""Judges what whole runs of real processes did: Jepsen's `total-queue` checker, inverted.

There a queue may repeat and must not lose; here a run may lose and must not repeat, and what it lost it must have told.
A run is valid if and only if
no message was handled twice over all incarnations of the receiver (GUARANTEE, "never more"),
nothing was handled that nobody sent (H0),
and every incarnation that lived to give its account told of each session exactly what is true: E − O = handled + lost (R19, R20).
What cannot be known (before the first message remembered, after the last sign of life, in a killed incarnation) is counted as unknown, never as lost.

Pure: the logs in, a verdict out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Handled(NamedTuple):
    """One line of the log that receivers write before user code runs."""

    incarnation: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one incarnation told of one session when it ended; messages."""

    origin: int = 0
    """O: the number of the first message it answers for."""
    end: int
    """E: one past the number of the last message it knows of."""
    delivered: int
    lost: int = 0
    pending: int = 0
    queued: int = 0
    overflow: int = 0
    discarded: int = 0
    tail: str = "closed"
    """`closed` claims that E is the end; `alive` and `silent` claim nothing of what comes after E (R21)."""

    @classmethod
    def told(cls, session: Mapping[str, Any]) -> Row:
        """Reads a session's account as a ledger gives it."""
        counts = {name: session[name] for name in ("delivered", "lost", "pending", "queued", "overflow", "discarded")}
        return cls(origin=session["before_join"], end=session["sent"], tail=session["tail"], **counts)

    @property
    def not_handled(self) -> int:
        """Messages it answers for whose handler never started."""
        return self.lost + self.pending + self.queued + self.overflow + self.discarded


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; true when the run is valid."""

    handled: int
    """Different messages handled."""
    lost: int
    """Messages that some incarnation answered for and told to be lost."""
    unknown: int
    """Messages that were not handled and that no surviving account covers."""
    duplicates: dict[str, list[str]] = field(default_factory=dict)
    """Messages handled more than once, with the incarnations that did it."""
    unexpected: list[Handled] = field(default_factory=list)
    """Handled, although no sender numbered them."""
    misaccounted: list[str] = field(default_factory=list)
    """Where an account and the logs differ, in words."""

    @property
    def valid(self) -> bool:
        """Whether nothing speaks against the run."""
        return not (self.duplicates or self.unexpected or self.misaccounted)


def check(
    sent: Mapping[str, Sequence[str]],
    handled: Iterable[Handled],
    told: Mapping[str, Mapping[str, Row]],
) -> Verdict:
    """Judges one run.

    Args:
        sent: for each session the ids it numbered, in the order of their numbers, refused hand-overs included.
        handled: the log of all incarnations.
        told: for each incarnation that ended in order, its account by session; a killed one is absent.
    """
    log = list(handled)
    session_of = {each: session for session, ids in sent.items() for each in ids}
    by: dict[str, list[str]] = defaultdict(list)
    per_incarnation: dict[tuple[str, str], set[str]] = defaultdict(set)
    unexpected = []
    for incarnation, each in log:
        session = session_of.get(each)
        if session is None:
            unexpected.append(Handled(incarnation, each))
            continue
        by[each].append(incarnation)
        per_incarnation[incarnation, session].add(each)
    lost, covered, misaccounted = 0, set(by), []
    for incarnation, rows in told.items():
        for session, row in rows.items():
            ids = sent.get(session, ())
            seen = per_incarnation[incarnation, session]
            misaccounted += [f"{incarnation}, session {session}: {text}" for text in _differences(row, ids, seen)]
            lost += row.lost
            covered.update(ids[row.origin : row.end])
    misaccounted += [
        f"{incarnation} handled messages of session {session} and told nothing of it"
        for incarnation, session in per_incarnation
        if incarnation in told and session not in told[incarnation] and per_incarnation[incarnation, session]
    ]
    return Verdict(
        handled=len(by),
        lost=lost,
        unknown=len(session_of.keys() - covered),
        duplicates={each: places for each, places in by.items() if len(places) > 1},
        unexpected=unexpected,
        misaccounted=misaccounted,
    )


def _differences(row: Row, ids: Sequence[str], seen: set[str]) -> Iterator[str]:
    """What is wrong with one account, given the truth.

    Args:
        row: the account.
        ids: what the session numbered, in order.
        seen: what this incarnation handled of it.
    """
    if not 0 <= row.origin <= row.end <= len(ids):
        yield f"it answers for messages {row.origin} to {row.end}, of {len(ids)} that were numbered"
        return
    if row.tail == "closed" and row.end != len(ids):
        yield f"it takes {row.end} for the end, and {len(ids)} messages were numbered"
    answered = set(ids[row.origin : row.end])
    outside = seen - answered
    if outside:
        yield f"it handled {len(outside)} messages outside those it answers for, such as {min(outside)}"
    if row.delivered != len(seen & answered):
        yield f"it told of {row.delivered} delivered, and handled {len(seen & answered)}"
    if row.not_handled != len(answered - seen):
        yield f"it told of {row.not_handled} not handled, and these are {len(answered - seen)}"
