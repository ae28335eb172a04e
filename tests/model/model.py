"""The bounded exhaustive model of R10–R13: that they keep the guarantee, and that none of them can be left out.

Bounds (`world.Bounds`): 2 sessions, a table of 1 (N), a window of 2 (W), 4 datagrams of one message each in total,
F = G = 1 tick, a receiver's clock of 0…4 and senders' clocks of 0…6. Restarts, deliveries and copies are unbounded.

* `rules`: what the receiver accepts and remembers, a switch for every rule.
* `world`: senders, network, clocks, crashes, and the hypotheses H1 and H2.
* `explore`: every reachable state, breadth first.
* `mutants`: the rules and hypotheses left out, one at a time.

`python -m tests.model.model [CLOCK]` prints the states explored and the shortest counterexample of each mutant;
CLOCK moves the upper bound of the receiver's clock.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tests.model.explore import explore, replay
from tests.model.mutants import BOUNDS, MUTANTS, Mutant, correct
from tests.model.rules import ACCEPTING
from tests.model.world import Bounds, Deliver, Model, Outcome, Send, Start, Step


def describe(model: Model, steps: Sequence[Step]) -> list[str]:
    """A counterexample as sentences, one a step, with what the model makes of each."""
    outcomes = replay(model, steps)
    return [
        f"{number}. {_describe_step(step, first=step is steps[0])}{_describe_outcome(step, outcome)}"
        for number, (step, outcome) in enumerate(zip(steps, outcomes, strict=True), start=1)
    ]


def report(bounds: Bounds) -> Iterator[str]:
    """The whole result, in lines."""
    found = explore(correct(bounds))
    yield f"correct rules: {found.states:,} states, {found.transitions:,} transitions, {found.depth} steps deep"
    yield "  complete: every reachable state visited" if found.complete else "  NOT complete"
    if found.counterexample:
        yield "  A DUPLICATE:"
        yield from _indent(describe(correct(bounds), found.counterexample))
    for mutant in MUTANTS:
        yield from _report_mutant(mutant, bounds)


def _report_mutant(mutant: Mutant, bounds: Bounds) -> Iterator[str]:
    """What is left out, why that is wrong, and the shortest proof."""
    model = mutant.model(bounds)
    found = explore(model)
    yield ""
    yield f"{mutant.name} {mutant.says}: {found.states:,} states"
    yield f"  {mutant.because}"
    yield from _indent(describe(model, found.counterexample) if found.counterexample else ["NO DUPLICATE FOUND"])


def _describe_step(step: Step, *, first: bool) -> str:
    """What happens."""
    if isinstance(step, Start):
        return f"clock {step.now}: the receiver starts" + ("" if first else " again")
    if isinstance(step, Send):
        return f"session {_name(step.session)} sends its next datagram, sent_us {step.sent_us}"
    where = " at the incarnation before" if step.age else ""
    return f"clock {step.now}: datagram {_name(step.session)}{step.seq} arrives{where}"


def _describe_outcome(step: Step, outcome: Outcome | None) -> str:
    """What the receiver makes of it."""
    if outcome is None:
        return ": excluded here"
    if isinstance(step, Send):
        return ""
    receiver = outcome.state.receivers[step.age if isinstance(step, Deliver) else 0]
    if outcome.verdict is None:
        return f", floor {receiver.floor}"
    if outcome.verdict not in ACCEPTING:
        return f": refused, {outcome.verdict}"
    again = " A SECOND TIME" if outcome.violates else ""
    return f": processed{again} ({outcome.verdict}), floor {receiver.floor}"


def _name(session: int) -> str:
    """Sessions go by letters, datagrams by letter and sequence number."""
    return chr(ord("A") + session)


def _indent(lines: list[str]) -> Iterator[str]:
    """Lines that belong to the line before them."""
    return (f"  {line}" for line in lines)


def main(arguments: Sequence[str]) -> None:
    """Print the report line by line as it comes about."""
    bounds = replace(BOUNDS, clock=int(arguments[0])) if arguments else BOUNDS
    for line in report(bounds):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
