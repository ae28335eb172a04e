"""The states of a heartbeat, the verdicts that explain them, and what a monitor reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atmost.core.names import harmless


class HeartbeatState(StrEnum):
    """The state of a heartbeat, as far as the monitor can know it."""

    UP = "up"
    LATE = "late"
    """One beat is missed, which is usual where beats are lost."""
    SUSPECT = "suspect"
    """Silent for three intervals."""
    DOWN = "down"
    """Silent for longer than loss explains."""
    UNKNOWN = "unknown"
    """It is silent, and there is a reason to doubt that this means anything; the verdict names the reason."""
    STOPPED = "stopped"
    """It said goodbye: its work is done, or it was told to stop."""
    FAILED = "failed"
    """It said that an error ended it; the verdict has the reason."""


class HeartbeatVerdictKind(StrEnum):
    """Why the state changed, or what caused a silence."""

    FIRST = "first"
    """The first sign of life."""
    EXPECTED = "expected"
    """Nothing was heard of it yet."""
    REMEMBERED = "remembered"
    """It beat before the observer restarted, and was not heard since."""
    HEARD = "heard"
    """A sign of life: another message of its session, or a beat after a silence that needs no explanation."""
    LOST = "lost"
    """The number jumped: its beats were lost on the way, and it never was down."""
    PAUSED = "paused"
    """The numbers are contiguous: it did not beat meanwhile (stopped, starved, or asleep with its host)."""
    RESTARTED = "restarted"
    """A new life under the same name."""
    CONFLICT = "conflict"
    """Two beat under this name at the same time; the verdict names the other one."""
    SILENT = "silent"
    """Nothing was heard for the time given."""
    STALLED = "stalled"
    """Its session is alive, but no beat comes."""
    LOSSY = "lossy"
    """So many of its beats are lost that this silence proves nothing."""
    OBSERVER_LATE = "observer_late"
    """The observer itself did not look in time."""
    OBSERVER_DROPPED = "observer_dropped"
    """The observer's own socket or queue dropped datagrams."""
    TOGETHER = "together"
    """More than half of the senders fell silent at once: the observer's network is a likelier cause than all of them."""
    STOPPED = "stopped"
    FAILED = "failed"


_DOUBTS = {
    HeartbeatVerdictKind.OBSERVER_LATE: "the observer was late by {seconds:.3g} s",
    HeartbeatVerdictKind.OBSERVER_DROPPED: "the observer's own socket dropped datagrams",
    HeartbeatVerdictKind.TOGETHER: "{count} senders fell silent together",
}


@dataclass(frozen=True, slots=True)
class HeartbeatVerdict:
    """The reason for a state; `str()` gives it as a sentence."""

    kind: HeartbeatVerdictKind
    count: int = 0
    """Beats lost or missed; for `together`, senders."""
    seconds: float = 0.0
    """How long it was silent, paused, or the observer late."""
    loss: float | None = None
    """The share of its beats that is lost, as measured, 0 to 1; None when unknown."""
    reason: str = ""
    """What ended it, as its sender wrote it; for `conflict`, the other one; for `remembered`, its state before."""

    def __str__(self) -> str:
        kind, count, seconds = self.kind, self.count, self.seconds
        measured = "" if self.loss is None else f", at {self.loss:.3g} measured loss"
        match kind:
            case HeartbeatVerdictKind.LOST:
                return f"lost({count}): {_beats(count)} lost on the way, it never was down"
            case HeartbeatVerdictKind.PAUSED:
                besides = f", and {_beats(count)} lost on the way" if count else ", and no beat was lost"
                return f"paused({seconds:.3g} s): it did not beat for this time{besides}"
            case HeartbeatVerdictKind.RESTARTED:
                return f"restarted: a new life after {seconds:.3g} s"
            case HeartbeatVerdictKind.CONFLICT:
                return f"conflict: {harmless(self.reason) or 'another process'} beats under the same name"
            case HeartbeatVerdictKind.SILENT:
                return f"silent for {seconds:.3g} s: {_beats(count)} missed{measured}"
            case HeartbeatVerdictKind.STALLED:
                return f"stalled: its session lives, but no beat came for {seconds:.3g} s"
            case HeartbeatVerdictKind.LOSSY:
                return f"unknown (lossy): silent for {seconds:.3g} s, which proves nothing{measured}"
            case HeartbeatVerdictKind.FAILED:
                return f"failed: {harmless(self.reason) or 'an error'} ended it"
            case HeartbeatVerdictKind.STOPPED:
                return "stopped: it said goodbye"
            case HeartbeatVerdictKind.FIRST:
                return "first: its first sign of life here"
            case HeartbeatVerdictKind.EXPECTED:
                return "expected: nothing was heard of it yet"
            case HeartbeatVerdictKind.REMEMBERED:
                before = f"it was {harmless(self.reason)} before" if self.reason else "it beat before"
                return f"remembered: {before} the observer restarted, and was not heard since"
            case HeartbeatVerdictKind.HEARD:
                return "heard: a sign of life"
        return f"unknown ({kind}): " + _DOUBTS[kind].format(seconds=seconds, count=count)


def _beats(count: int) -> str:
    return f"{count} beat{'' if count == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class HeartbeatChange:
    """A change of state, or the explanation of a silence that is over."""

    name: str
    """The heartbeat's."""
    before: HeartbeatState
    state: HeartbeatState
    verdict: HeartbeatVerdict
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
    """The heartbeat's; of a pattern that nothing matched yet, the pattern."""
    key_id: int
    sender: str
    host: str
    pid: int
    state: HeartbeatState
    verdict: HeartbeatVerdict
    expected: bool
    """Whether it was asked for by `expect`."""
    conflict: str
    """Who else beats under this name now, as host and process; empty when nobody does."""
    interval: float
    """Seconds."""
    silent: float
    """Seconds since the last sign of life, without those in which the observer did not look."""
    beat_silent: float
    """The same since the last beat."""
    longest_silence: float
    """The longest that `silent` has been, seconds; the time after a goodbye does not count."""
    uptime: float
    """Seconds this life has lasted, as its last beat said."""
    beats: int
    lost: int
    """Beats lost on the way, over all lives seen here."""
    missed: int
    """Beats that were due and did not come in time, whatever the reason, over all lives seen here."""
    flaps: int
    """Times it came back after it had been `down` or `failed`."""
    restarts: int
    conflicts: int
    """Beats that somebody else sent under this name."""
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


@dataclass(frozen=True, slots=True)
class HeartbeatMonitorStats:
    """What became of a monitor's input."""

    beats: int
    malformed: int
    """Messages on the subject that are not beats."""
    sender_limit: int
    """Beats of heartbeats beyond `max_senders`."""
    forgotten: int
    """Heartbeats that ended, or were down, and made room for others."""
    callback_errors: int
    """Exceptions that callbacks raised."""
    observer_late: int
    """Verdicts held because the observer looked late."""
    observer_dropped: int
    """Verdicts held because the observer's own socket or queue dropped datagrams."""
    together: int
    """Verdicts held because more than half of the senders fell silent at once."""


@dataclass(frozen=True, slots=True)
class RememberedHeartbeat:
    """What is kept of a heartbeat over a restart of its observer."""

    name: str
    key_id: int
    interval: float
    """Seconds between its beats."""
    timeout: float | None
    """Seconds of silence that mean `down`, where it or the observer's user said so."""
    state: HeartbeatState
    """What was believed of it."""
    reason: str
    """What ended it, where it had failed."""
    life: str
    """Its life, as its last beat had it."""
    expected: bool
    """Whether it was asked for by `expect`."""
