"""The correct rules exhaust their state space without a duplicate; each mutant is caught by a shortest one."""

from dataclasses import replace
from functools import cache

import pytest

from tests.model.explore import Exploration, explore, replay
from tests.model.model import describe, main
from tests.model.mutants import BOUNDS, CORRECT_RULES, MUTANTS, TRUE_HYPOTHESES, Mutant, correct
from tests.model.rules import ACCEPTING, Fold, Rules, Verdict
from tests.model.world import Bounds, Deliver, Send, Start, Step

A, B = 0, 1

STEPS_TO_DUPLICATE = {
    "M1": 5,
    "M1a": 5,
    "M1b": 5,
    "M2": 5,
    "M3": 6,
    "M4": 6,
    "M5": 7,
    "M5a": 8,
    "M6": 7,
    "M7": 5,
    "M8": 6,
    "M9": 5,
}

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
every_mutant = pytest.mark.parametrize(
    "mutant",
    # The shorter the way to a duplicate, the sooner it is found.
    [
        pytest.param(mutant, id=mutant.name, marks=[pytest.mark.slow] if STEPS_TO_DUPLICATE[mutant.name] > 5 else [])
        for mutant in MUTANTS
    ],
)


FEWER = Bounds(messages=3)
"""Bounds within which every verdict is met, and a fifth of the states."""
SIZES = {FEWER: (15_920, 285_292), BOUNDS: (99_856, 2_258_944)}
"""States and transitions; exact, so that a change that makes the model visit less does not go unseen."""


@cache
def correct_run(bounds: Bounds) -> Exploration:
    """The correct model, explored once for all tests that ask about it."""
    return explore(correct(bounds))


@cache
def counterexample(name: str) -> tuple[Step, ...]:
    """A mutant's shortest way to a duplicate; empty for a mutant that got away."""
    return explore(BY_NAME[name].model()).counterexample or ()


def verdicts(steps: list[Step], mutant: Mutant | None = None) -> list[Verdict | None]:
    """What the receiver makes of each delivery in a scenario that the model must allow."""
    outcomes = replay(mutant.model() if mutant else correct(), steps)
    assert None not in outcomes, "the scenario has a step that the model excludes"
    return [outcome.verdict for outcome in outcomes if outcome and outcome.verdict]


@pytest.mark.parametrize(
    "bounds", [pytest.param(FEWER, id="fewer messages"), pytest.param(BOUNDS, id="all", marks=pytest.mark.slow)]
)
def test_correct_rules_process_nothing_twice(bounds: Bounds) -> None:
    """R10–R13: every reachable state was visited, and no step from any of them is a second processing."""
    run = correct_run(bounds)
    assert run.complete
    assert run.counterexample is None
    assert not [verdict for verdict, copy in run.deliveries if copy and verdict in ACCEPTING]
    assert (run.states, run.transitions) == SIZES[bounds]


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - {Verdict.BELOW_WINDOW, Verdict.DUPLICATE}))
def test_first_arrivals_meet_every_verdict(verdict: Verdict) -> None:
    """Nothing is proven of a rule that is never reached; only a copy can be a duplicate."""
    assert correct_run(FEWER).deliveries[verdict, False]


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - ACCEPTING))
def test_copies_are_stopped_by_every_refusal(verdict: Verdict) -> None:
    """Each refusal is at some time what stands between a processed datagram and its second processing."""
    assert correct_run(FEWER).deliveries[verdict, True]


def test_no_verdict_but_the_expected() -> None:
    """Acceptance below the window is for mutants, and what was never processed is no duplicate."""
    assert not correct_run(FEWER).deliveries[Verdict.BELOW_WINDOW, False]
    assert not correct_run(FEWER).deliveries[Verdict.DUPLICATE, False]


SCENARIOS: dict[str, tuple[list[Step], list[Verdict]]] = {
    "three incarnations accept, the clock back by G at each restart": (
        [
            Start(0),
            Send(A, 3),
            Send(A, 4),
            Send(A, 5),
            Deliver(A, 0, now=2),
            Start(1),
            Deliver(A, 0, now=2),
            Deliver(A, 1, now=3),
            Start(2),
            Deliver(A, 1, now=3),
            Deliver(A, 2, now=4),
        ],
        [
            Verdict.NEW_SESSION,
            Verdict.BOOT_QUARANTINE,
            Verdict.NEW_SESSION,
            Verdict.BOOT_QUARANTINE,
            Verdict.NEW_SESSION,
        ],
    ),
    "late inside the window, too old outside": (
        [
            Start(0),
            *[Send(A, 3)] * 4,
            Deliver(A, 1, now=2),
            Deliver(A, 0, now=2),
            Deliver(A, 3, now=2),
            Deliver(A, 2, now=2),
            Deliver(A, 2, now=2),
            Deliver(A, 1, now=2),
        ],
        [Verdict.NEW_SESSION, Verdict.LATE, Verdict.ADVANCED, Verdict.LATE, Verdict.DUPLICATE, Verdict.TOO_OLD],
    ),
    "an evicted session is refused what it had, and taken back for what is new": (
        [
            Start(0),
            Send(A, 3),
            Send(A, 4),
            Send(B, 3),
            Deliver(A, 0, now=2),
            Deliver(B, 0, now=2),
            Deliver(A, 0, now=2),
            Deliver(A, 1, now=3),
            Deliver(A, 0, now=3),
        ],
        [Verdict.NEW_SESSION, Verdict.EVICTING, Verdict.BELOW_FLOOR, Verdict.EVICTING, Verdict.BELOW_EFLOOR],
    ),
    "the clock steps back within one incarnation": (
        [Start(0), Send(A, 3), Send(A, 3), Deliver(A, 0, now=2), Deliver(A, 1, now=1), Deliver(A, 1, now=2)],
        [Verdict.NEW_SESSION, Verdict.FUTURE, Verdict.ADVANCED],
    ),
    "an eviction in the second incarnation": (
        [
            Start(0),
            Send(A, 3),
            Send(A, 4),
            Send(B, 4),
            Deliver(A, 0, now=2),
            Start(1),
            Deliver(A, 1, now=3),
            Deliver(B, 0, now=3),
            Deliver(A, 1, now=4),
        ],
        [Verdict.NEW_SESSION, Verdict.NEW_SESSION, Verdict.EVICTING, Verdict.BELOW_FLOOR],
    ),
}


@pytest.mark.parametrize(("steps", "expected"), SCENARIOS.values(), ids=SCENARIOS)
def test_the_correct_rules_decide_so(steps: list[Step], expected: list[Verdict]) -> None:
    """What matters only as a sequence."""
    assert verdicts(steps) == expected


@pytest.mark.slow
@pytest.mark.parametrize("steps", [steps for steps, _ in SCENARIOS.values()], ids=SCENARIOS)
def test_exploration_passes_through(steps: list[Step]) -> None:
    """Those sequences are among the states visited too."""
    outcomes = replay(correct(), steps)
    assert all(outcome and outcome.state in correct_run(BOUNDS).came_from for outcome in outcomes)


@every_mutant
def test_mutant_is_caught(mutant: Mutant) -> None:
    """Without its rule or hypothesis there is a duplicate, in no fewer and no more steps than known."""
    steps = counterexample(mutant.name)
    assert len(steps) == STEPS_TO_DUPLICATE[mutant.name]
    *before, last = replay(mutant.model(), steps)
    assert last is not None
    assert last.violates
    assert not [outcome for outcome in before if outcome is None or outcome.violates]


@every_mutant
def test_correct_model_stops_the_counterexample(mutant: Mutant) -> None:
    """The same steps give no duplicate with the rule, and it is the rule in question that prevents it."""
    steps = counterexample(mutant.name)
    right, wrong = replay(correct(), steps), replay(mutant.model(), steps)
    assert not [outcome for outcome in right if outcome and outcome.violates]
    departure = next(
        outcome
        for outcome, other in zip(right, wrong, strict=True)
        if outcome is None or other is None or outcome.verdict != other.verdict
    )
    assert (departure.verdict if departure else None) == mutant.stopped_by


@every_mutant
def test_mutant_differs_in_one_thing(mutant: Mutant) -> None:
    """A rule's mutant keeps the hypotheses as stated, and a hypothesis' mutant all the rules."""
    assert (mutant.rules != CORRECT_RULES) != (mutant.hypotheses != TRUE_HYPOTHESES)


@pytest.mark.parametrize("name", ["M5", "M5a"])
def test_efloor_is_needed_without_a_restart(name: str) -> None:
    """A session seen again after its eviction has no bit for what its former row accepted."""
    steps, expected = SCENARIOS["an evicted session is refused what it had, and taken back for what is new"]
    mutant = BY_NAME[name]
    assert verdicts(steps, mutant) == [*expected[:-1], Verdict.LATE]
    last = replay(mutant.model(), steps)[-1]
    assert last is not None
    assert last.violates


@pytest.mark.parametrize(
    ("future", "guard"),
    [(0, 0), (0, 1), (1, 0), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in [(1, 2), (2, 1), (2, 2)])],
)
def test_rules_hold_for_other_parameters(future: int, guard: int) -> None:
    """F and G need not be equal nor positive: F = G = 0 is the `memory://` preset."""
    clock = future + guard + 2
    found = explore(correct(Bounds(messages=3, clock=clock), Rules(future=future, guard=guard)))
    assert found.complete
    assert found.counterexample is None
    assert found.deliveries[Verdict.EVICTING, False]


@pytest.mark.slow
def test_rules_need_no_order_of_stamps() -> None:
    """Nothing at all is assumed of sender clocks: stamps may even decrease within a session."""
    found = explore(correct(Bounds(messages=3, ordered_stamps=False)))
    assert found.complete
    assert found.counterexample is None
    assert found.states > explore(correct(Bounds(messages=3))).states


def test_folding_now_fails_even_with_f_zero() -> None:
    """M4 with F = 0: the clock may also have stepped back between the acceptance and the eviction."""
    model = correct(rules=Rules(future=0, fold=Fold.NOW))
    steps = explore(model).counterexample
    assert steps is not None
    accepted, evicting = [step.now for step in steps if isinstance(step, Deliver)][:2]
    assert evicting < accepted
    assert not [outcome for outcome in replay(correct(rules=Rules(future=0)), steps) if outcome and outcome.violates]


def test_unfinished_exploration_is_not_complete() -> None:
    """A state space that outgrows its limit proves nothing, and says so."""
    found = explore(correct(), max_states=1_000)
    assert found.counterexample is None
    assert not found.complete


@pytest.mark.slow
def test_counterexample_reads_as_sentences() -> None:
    """Each step says what happened and what the receiver made of it; on another model, also what it excludes."""
    steps = counterexample("M8")
    assert describe(BY_NAME["M8"].model(), steps) == [
        "1. clock 0: the receiver starts, floor 2",
        "2. session A sends its next datagram, sent_us 3",
        "3. clock 2: datagram A0 arrives: processed (new_session), floor 2",
        "4. clock 1: the receiver starts again, floor 3",
        "5. clock 0: the receiver starts again, floor 2",
        "6. clock 2: datagram A0 arrives: processed A SECOND TIME (new_session), floor 2",
    ]
    assert describe(correct(), steps)[4:] == [
        "5. clock 0: the receiver starts again: excluded here",
        "6. clock 2: datagram A0 arrives: refused, boot_quarantine",
    ]


@pytest.mark.slow
def test_report_names_every_mutant(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m tests.model.model CLOCK` prints the result for the correct rules and for each mutant."""
    monkeypatch.setattr("tests.model.model.BOUNDS", replace(BOUNDS, messages=3))
    main(["3"])
    printed = capsys.readouterr().out
    assert printed.startswith("correct rules: ")
    assert "complete: every reachable state visited" in printed
    assert "A DUPLICATE" not in printed
    assert "NO DUPLICATE FOUND" not in printed
    assert printed.count("processed A SECOND TIME") == len(MUTANTS)
    assert all(f"\n{mutant.name} {mutant.says}: " in printed for mutant in MUTANTS)
