"""The correct model, and the variations of it of which each must be caught with a duplicate.

M1–M6 each take one rule away, M7–M9 one hypothesis: that the hypotheses are needed is shown as plainly as the rules.
"""

from dataclasses import dataclass

from tests.model.rules import Efloor, Fold, Rules, Verdict
from tests.model.world import Bounds, Hypotheses, Model

CORRECT_RULES = Rules()
TRUE_HYPOTHESES = Hypotheses()
BOUNDS = Bounds()
"""The bounds under which the correct model is exhausted and each mutant is caught."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule or hypothesis less."""

    name: str
    says: str
    """What is wrong, in the words of docs/guarantee.md §5."""
    because: str
    """How the duplicate comes about."""
    stopped_by: Verdict | None
    """The correct model's verdict where it first departs from the counterexample; None: it excludes the step."""
    rules: Rules = CORRECT_RULES
    hypotheses: Hypotheses = TRUE_HYPOTHESES

    def model(self, bounds: Bounds = BOUNDS) -> Model:
        """The world with this defect."""
        return Model(self.rules, self.hypotheses, bounds)


def correct(bounds: Bounds = BOUNDS, rules: Rules = CORRECT_RULES) -> Model:
    """The world as docs/guarantee.md describes it."""
    return Model(rules, TRUE_HYPOTHESES, bounds)


MUTANTS = (
    Mutant(
        "M1",
        "boot floor without F+G (R10)",
        "what was accepted at the crash is as new as the floor of the next incarnation",
        Verdict.BOOT_QUARANTINE,
        Rules(floor_adds_future=False, floor_adds_guard=False),
    ),
    Mutant(
        "M1a",
        "boot floor without F (R10)",
        "a datagram accepted F ahead of the clock is above a floor that only makes up for the clock",
        Verdict.BOOT_QUARANTINE,
        Rules(floor_adds_future=False),
    ),
    Mutant(
        "M1b",
        "boot floor without G (R10)",
        "a clock found G behind lowers the floor below what the incarnation before accepted",
        Verdict.BOOT_QUARANTINE,
        Rules(floor_adds_guard=False),
    ),
    Mutant(
        "M2",
        "no future bound (R11.3)",
        "a sender's clock far ahead passes every floor that a restart can set",
        Verdict.FUTURE,
        Rules(checks_future=False),
    ),
    Mutant(
        "M3",
        "eviction without folding (R11.8)",
        "an evicted session comes back as an unknown one",
        Verdict.BELOW_FLOOR,
        Rules(fold=Fold.NOTHING),
    ),
    Mutant(
        "M4",
        "folding `now` instead of the evicted value (R11.8)",
        "the evicted session's greatest sent_us may be ahead of now: by up to F, and by what the clock stepped back since",
        Verdict.BELOW_FLOOR,
        Rules(fold=Fold.NOW),
    ),
    Mutant(
        "M5",
        "no efloor (R11.4)",
        "a session's new row has no bit for what its former row, or incarnation, accepted",
        Verdict.BELOW_EFLOOR,
        Rules(efloor=Efloor.NONE),
    ),
    Mutant(
        "M5a",
        "efloor taken from the boot floor (R11.8)",
        "M5 without a restart: a session evicted and seen again has no bit for what its former row accepted",
        Verdict.BELOW_EFLOOR,
        Rules(efloor=Efloor.BOOT_FLOOR),
    ),
    Mutant(
        "M6",
        "accepting below the window (R11.4)",
        "the bit of what fell out of the window is gone",
        Verdict.TOO_OLD,
        Rules(checks_window=False),
    ),
    Mutant(
        "M7",
        "clock back by more than G (H1)",
        "the boot floor is below what the incarnation before accepted",
        None,
        hypotheses=Hypotheses(excess=1),
    ),
    Mutant(
        "M8",
        "two restarts together more than G back (H1 per restart, not cumulative)",
        "each step back is within G of the one before, their sum is not",
        None,
        hypotheses=Hypotheses(cumulative=False),
    ),
    Mutant(
        "M9",
        "overlapping incarnations (H2)",
        "two tables, each of which sees the datagram once",
        None,
        hypotheses=Hypotheses(one_at_a_time=False),
    ),
)
