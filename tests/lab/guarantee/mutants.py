"""Broken cores: each differs from the real one in one rule, and each must be caught by the simulator.

M1–M9 bear the names they have in the exhaustive model (tests/model/mutants.py): M1–M6 take a rule away from the real code,
M7–M9 a hypothesis from the world around it.
"""

from dataclasses import dataclass

from atmost.lab.guarantee.cores import REAL, Cores
from atmost.lab.guarantee.findings import ViolationKind
from atmost.lab.guarantee.parameters import KEPT, Hypotheses
from tests.lab.guarantee import broken_receivers as receivers
from tests.lab.guarantee import broken_senders as senders

SEEDS = 300
"""Within so many seeds every mutant must be caught; the least conspicuous show in one run of thirty."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule or hypothesis less."""

    name: str
    says: str
    cores: Cores = REAL
    hypotheses: Hypotheses = KEPT
    shows: ViolationKind = ViolationKind.DUPLICATE


MUTANTS = (
    Mutant("M1", "boot floor without F+G (R10)", Cores(receiver=receivers.NoBootMargin)),
    Mutant("M1a", "boot floor without F (R10)", Cores(receiver=receivers.NoFutureInFloor)),
    Mutant("M1b", "boot floor without G (R10)", Cores(receiver=receivers.NoGuardInFloor)),
    Mutant("M1c", "boot floor one µs too low (R10)", Cores(receiver=receivers.FloorOneLess)),
    Mutant("M2", "no future bound (R11.3)", Cores(receiver=receivers.NoFutureBound)),
    Mutant("M3", "eviction without folding (R11.8)", Cores(receiver=receivers.NoFold)),
    Mutant("M4", "folding now instead of the evicted value (R11.8)", Cores(receiver=receivers.FoldNow)),
    Mutant("M5", "no efloor (R11.4)", Cores(receiver=receivers.NoEfloor)),
    Mutant("M5a", "efloor taken from the boot floor (R11.8)", Cores(receiver=receivers.EfloorFromBoot)),
    Mutant("M6", "accepting below the window (R11.4)", Cores(receiver=receivers.BelowWindow)),
    Mutant("M7", "clock back by more than G (H1)", hypotheses=Hypotheses(excess=0.01)),
    Mutant("M8", "two restarts together more than G back (H1)", hypotheses=Hypotheses(cumulative=False)),
    Mutant("M9", "overlapping incarnations (H2)", hypotheses=Hypotheses(one_at_a_time=False)),
    Mutant("retry", "retry on error (R6)", Cores(sender=senders.RetryOnError)),
    Mutant(
        "again",
        "what was handed over is handed over again (R6)",
        Cores(sender=senders.HandsOverTwice),
        shows=ViolationKind.SENT_AGAIN,
    ),
    Mutant("mark", "mark after deliver (R11.9)", Cores(receiver=receivers.MarkAfterDeliver)),
    Mutant("wide", "window one too wide (R11.4)", Cores(receiver=receivers.WindowTooWide)),
    Mutant(
        "narrow",
        "window one too narrow (R11.4)",
        Cores(receiver=receivers.WindowTooNarrow),
        shows=ViolationKind.WRONG_VERDICT,
    ),
    Mutant(
        "room",
        "efloor read after making room (R11.8)",
        Cores(receiver=receivers.EfloorAfterRoom),
        shows=ViolationKind.WRONG_VERDICT,
    ),
    Mutant("goodbye", "a session freed on goodbye (R12)", Cores(receiver=receivers.FreedOnGoodbye)),
    Mutant("shard", "a worker that takes any session (R17)", Cores(receiver=receivers.Unsharded)),
    Mutant(
        "beacons",
        "numbering messages, not beacons (R5)",
        Cores(sender=senders.BeaconsUnnumbered),
        shows=ViolationKind.NUMBER_REUSED,
    ),
    Mutant(
        "fork",
        "forgetting fork: session and buffer kept (R8)",
        Cores(fork=senders.forgetting_fork),
        shows=ViolationKind.NUMBER_REUSED,
    ),
    Mutant("buffer", "forgetting fork: buffer kept (R8)", Cores(fork=senders.forgetting_buffer)),
    Mutant(
        "drops",
        "kernel drops counted as loss (R22)",
        Cores(receiver=receivers.KernelDropsInLoss),
        shows=ViolationKind.UNBALANCED,
    ),
    Mutant(
        "drops2",
        "kernel drops counted as datagrams (R22)",
        Cores(receiver=receivers.KernelDropsInDatagrams),
        shows=ViolationKind.UNBALANCED,
    ),
    Mutant("tag", "the tag not looked at (H0)", Cores(receiver=receivers.Unchecked), shows=ViolationKind.UNEXPECTED),
    Mutant(
        "late",
        "late arrivals taken off lost_total (R19)",
        Cores(receiver=receivers.LateForgotten),
        shows=ViolationKind.LOSS_DECREASED,
    ),
    Mutant("grace", "pending for ever (R19)", Cores(receiver=receivers.NeverSettles), shows=ViolationKind.PENDING),
    Mutant("idle", "deadlines not kept", Cores(receiver=receivers.Idle), shows=ViolationKind.STUCK),
    Mutant(
        "fragile", "an exception for hostile bytes (R3)", Cores(receiver=receivers.Fragile), shows=ViolationKind.RAISED
    ),
)
