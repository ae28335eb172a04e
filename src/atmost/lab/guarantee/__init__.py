"""The simulator: the real cores under virtual time, with every fault that the guarantee must survive.

    run = simulate(seed)              one run: the same seed, the same trace, byte for byte
    shorten(run, kind)                the fewest steps found that still break a promise
    campaign(range(300))              many runs, and what all of them together reached

`cast` applies steps to the cores and checks the promises; `running` draws the steps from a seed.
"""

from atmost.lab.guarantee.findings import Violation, ViolationKind
from atmost.lab.guarantee.parameters import BEYOND_GUARD, KEPT, Hypotheses, Parameters
from atmost.lab.guarantee.running import STEPS, Campaign, Run, campaign, shorten, simulate

__all__ = [
    "BEYOND_GUARD",
    "KEPT",
    "STEPS",
    "Campaign",
    "Hypotheses",
    "Parameters",
    "Run",
    "Violation",
    "ViolationKind",
    "campaign",
    "shorten",
    "simulate",
]
