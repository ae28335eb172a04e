"""Visits every state a model can reach, breadth first, so that the first duplicate found has the fewest steps."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.model.rules import Verdict
from tests.model.world import Model, Outcome, State, Step

MAX_STATES = 3_000_000
"""A mistake in the bounds must end as a failed test and not as a machine without memory."""


@dataclass(slots=True)
class Exploration:
    """What was visited and what was found."""

    came_from: dict[State, tuple[State, Step] | None]
    """Each state visited, with the step that first led to it."""
    transitions: int = 0
    depth: int = 0
    """Steps from the initial state to the furthest one."""
    complete: bool = False
    """Every reachable state was visited, and every step tried in each."""
    deliveries: Counter[tuple[Verdict, bool]] = field(default_factory=Counter)
    """How often a verdict was reached, apart for first arrivals (False) and copies of a processed datagram (True)."""
    counterexample: tuple[Step, ...] | None = None
    """The shortest way to a duplicate; None when there is none."""

    @property
    def states(self) -> int:
        """How many states were visited."""
        return len(self.came_from)


def explore(model: Model, max_states: int = MAX_STATES) -> Exploration:
    """Visit states in order of distance until there are no more, or until a datagram was processed twice."""
    initial = model.initial()
    found = Exploration(came_from={initial: None})
    frontier = [initial]
    while frontier and found.states < max_states:
        following: list[State] = []
        for state in frontier:
            if _expand(model, state, found, following):
                return found
        frontier = following
        found.depth += bool(frontier)
    found.complete = not frontier
    return found


def replay(model: Model, steps: Iterable[Step]) -> list[Outcome | None]:
    """Take given steps from the initial state; a step this model excludes is None and changes nothing."""
    state = model.initial()
    outcomes = []
    for step in steps:
        outcome = model.apply(state, step)
        outcomes.append(outcome)
        if outcome is not None:
            state = outcome.state
    return outcomes


def _expand(model: Model, state: State, found: Exploration, following: list[State]) -> bool:
    """Try every step in one state; True when one of them processed a datagram twice."""
    for step in model.steps(state):
        outcome = model.apply(state, step)
        assert outcome is not None, "a model offers no step that it excludes"
        found.transitions += 1
        if outcome.verdict is not None:
            found.deliveries[outcome.verdict, outcome.copy] += 1
            if outcome.violates:
                found.counterexample = (*_path_to(state, found), step)
                return True
        if outcome.state is not state and outcome.state not in found.came_from:
            found.came_from[outcome.state] = (state, step)
            following.append(outcome.state)
    return False


def _path_to(state: State, found: Exploration) -> list[Step]:
    """The steps by which a state was first reached."""
    steps = []
    origin = found.came_from[state]
    while origin is not None:
        state, step = origin
        steps.append(step)
        origin = found.came_from[state]
    return steps[::-1]
