"""The states of a heartbeat, and the verdicts that explain them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atmost.core.names import harmless


class HeartbeatState(StrEnum):
    """What is believed of a heartbeat."""

    UP = "up"
    LATE = "late"
    """One beat is missed: nothing unusual where beats are lost."""
    SUSPECT = "suspect"
    """Silent for three intervals."""
    DOWN = "down"
    """Silent for longer than loss explains."""
    UNKNOWN = "unknown"
    """It is silent, and there is a reason to doubt that this says anything; the verdict names it."""
    STOPPED = "stopped"
    """It said goodbye."""
    FAILED = "failed"
    """It said that an exception ended it."""


class VerdictKind(StrEnum):
    """Why the state changed, or what a silence was."""

    FIRST = "first"
    """The first sign of life."""
    EXPECTED = "expected"
    """Nothing was heard of it yet."""
    HEARD = "heard"
    """A sign of life: another message of its session, or a beat after a silence that needs no explanation."""
    LOST = "lost"
    """The number jumped: its beats were lost on the way, and it never was down."""
    PAUSED = "paused"
    """The numbers are contiguous: it did not beat meanwhile (stopped, starved, or asleep with its host)."""
    RESTARTED = "restarted"
    """A new life under the same name."""
    SILENT = "silent"
    """Nothing was heard for the time given."""
    STALLED = "stalled"
    """Its session lives, but what beats does not."""
    LOSSY = "lossy"
    """So many of its beats are lost that this silence proves nothing."""
    OBSERVER_LATE = "observer_late"
    """The observer itself did not look in time."""
    OBSERVER_DROPPED = "observer_dropped"
    """The observer's own socket or queue dropped datagrams."""
    TOGETHER = "together"
    """More than half of the senders fell silent at once: rather the observer's network than all of them."""
    STOPPED = "stopped"
    FAILED = "failed"


_DOUBTS = {
    VerdictKind.OBSERVER_LATE: "the observer was late by {seconds:.3g} s",
    VerdictKind.OBSERVER_DROPPED: "the observer's own socket dropped datagrams",
    VerdictKind.TOGETHER: "{count} senders fell silent together",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """An explanation; `str()` is a sentence of it."""

    kind: VerdictKind
    count: int = 0
    """Beats lost or missed; for `together`, senders."""
    seconds: float = 0.0
    """How long it was silent, paused, or the observer late."""
    loss: float | None = None
    """The share of its beats that is lost, as measured, 0 to 1; None when unknown."""
    reason: str = ""
    """The class of the exception that ended it, as the sender wrote it."""

    def __str__(self) -> str:
        """The sentence."""
        kind, count, seconds = self.kind, self.count, self.seconds
        measured = "" if self.loss is None else f", at {self.loss:.3g} measured loss"
        match kind:
            case VerdictKind.LOST:
                return f"lost({count}): {_beats(count)} lost on the way, it never was down"
            case VerdictKind.PAUSED:
                besides = f", and {_beats(count)} lost on the way" if count else ", and no beat was lost"
                return f"paused({seconds:.3g} s): it did not beat for so long{besides}"
            case VerdictKind.RESTARTED:
                return f"restarted: a new life after {seconds:.3g} s"
            case VerdictKind.SILENT:
                return f"silent for {seconds:.3g} s: {_beats(count)} missed{measured}"
            case VerdictKind.STALLED:
                return f"stalled: its session lives, but no beat for {seconds:.3g} s"
            case VerdictKind.LOSSY:
                return f"unknown (lossy): silent for {seconds:.3g} s, which proves nothing{measured}"
            case VerdictKind.FAILED:
                return f"failed: {harmless(self.reason) or 'an exception'} ended it"
            case VerdictKind.STOPPED:
                return "stopped: it said goodbye"
            case VerdictKind.FIRST:
                return "first: its first sign of life here"
            case VerdictKind.EXPECTED:
                return "expected: nothing was heard of it yet"
            case VerdictKind.HEARD:
                return "heard: a sign of life"
        return f"unknown ({kind}): " + _DOUBTS[kind].format(seconds=seconds, count=count)


def _beats(count: int) -> str:
    return f"{count} beat{'' if count == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of state, or the explanation of a silence that is over."""

    name: str
    """The heartbeat's."""
    before: HeartbeatState
    state: HeartbeatState
    verdict: Verdict
    at: float
    """The `now` at which it was found."""
    sender: str
    """The sender's name; empty until its first beacon came."""
    key_id: int = 0
    """The key that proved the sender, 0 without keys."""


@dataclass(frozen=True, slots=True)
class HeartbeatStatus:
    """All that is known of one heartbeat."""

    name: str
    key_id: int
    sender: str
    host: str
    pid: int
    state: HeartbeatState
    verdict: Verdict
    interval: float
    """Seconds."""
    silent: float
    """Seconds since the last sign of life, without those in which the observer did not look."""
    beat_silent: float
    """The same since the last beat."""
    uptime: float
    """Seconds this life has lasted, as its last beat said."""
    beats: int
    lost: int
    """Beats lost, over all lives seen here."""
    restarts: int
    conflicts: int
    """Beats of older sessions under the same name: somebody else uses it too."""
    loss: float | None
    """The share of beats lost, measured over the last hours, 0 to 1; None before the first."""
    burst: int
    """The longest run of lost beats in that time."""
    misses: int
    """Missed beats that are tolerated."""
    down_after: float
    """Seconds of silence until `down`."""
    offered: int
    """Messages given to its sender."""
    dropped: int
    """Messages its sender dropped."""
    refused: int
    """Messages its sender's socket refused."""
    errors: int
    """Beats it could not make."""
