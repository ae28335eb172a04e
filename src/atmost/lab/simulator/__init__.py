"""The simulator: the real cores under virtual time, with every fault that the guarantee must survive.

    run = simulate(seed)              one run: the same seed, the same trace, byte for byte
    shorten(run, kind)                the fewest steps that still break a promise
    campaign(range(300))              many runs, and what all of them together reached

`world` applies steps to the cores and watches; `running` draws the steps from a seed.
"""

from atmost.lab.simulator.campaigning import Campaign, campaign
from atmost.lab.simulator.cores import REAL, Cores, ObservedReceiver
from atmost.lab.simulator.parameters import BEYOND_GUARD, KEPT, Hypotheses, Parameters
from atmost.lab.simulator.running import STEPS, Run, shorten, simulate
from atmost.lab.simulator.violations import Violation, ViolationKind

__all__ = [
    "BEYOND_GUARD",
    "KEPT",
    "REAL",
    "STEPS",
    "Campaign",
    "Cores",
    "Hypotheses",
    "ObservedReceiver",
    "Parameters",
    "Run",
    "Violation",
    "ViolationKind",
    "campaign",
    "shorten",
    "simulate",
]
