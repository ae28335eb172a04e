"""The three delivery guarantees over the same network and the same faults (docs/lab.md).

    comparison = compare(CompareOptions(loss=0.1))       simulated, under virtual time
    comparison = compare_real(CompareOptions(...))       the same arms over real UDP

`at_most_once`, `at_least_once` and `exactly_once` are the arms; each can be read on its own.
"""

from atmost.lab.compare.closed_forms import Check
from atmost.lab.compare.measures import ArmReport, Effects, Spread
from atmost.lab.compare.options import CompareOptions
from atmost.lab.compare.real import compare_real
from atmost.lab.compare.running import ARMS, Comparison, Sweep, check_work, compare, expected_work, run_points

__all__ = [
    "ARMS",
    "ArmReport",
    "Check",
    "CompareOptions",
    "Comparison",
    "Effects",
    "Spread",
    "Sweep",
    "check_work",
    "compare",
    "compare_real",
    "expected_work",
    "run_points",
]
