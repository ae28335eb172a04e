"""Says what is special about an arrival, for the coverage: a copy, a latecomer, or a stamp or number right at a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atmost.lab.simulator import coverage
from atmost.lab.simulator.findings import Findings
from atmost.lab.simulator.tape import Entry, Facts
from atmost.lab.simulator.witness import Resident

if TYPE_CHECKING:
    from atmost.lab.simulator.incarnation import Incarnation


def classify(findings: Findings, incarnation: Incarnation, entry: Entry, now_us: int, wall_us: int) -> None:
    """Counts what an undamaged datagram of a sender is to the incarnation that is about to judge it."""
    facts = entry.facts
    if facts is None or not entry.honest:
        return
    witness = incarnation.witness
    resident = witness.sessions.get(facts.key)
    bound = witness.floor if resident is None else resident.efloor
    from_floor = facts.sent_us - bound
    if -1 <= from_floor <= 1:
        findings.hit(coverage.MOMENT, f"floor {from_floor:+d} µs")
    from_future = facts.sent_us - wall_us - witness.future_us
    if 0 <= from_future <= 1:
        findings.hit(coverage.MOMENT, f"future bound {from_future:+d} µs")
    if resident is not None:
        from_edge = resident.highest - facts.sequence - witness.window
        if -1 <= from_edge <= 1:
            findings.hit(coverage.MOMENT, f"window {from_edge:+d}")
    if entry.accepted_at:
        _classify_copy(findings, incarnation, entry, resident, now_us)
    elif resident is not None and (incarnation.receiver, incarnation.number) not in entry.seen_by:
        _classify_first(findings, facts, resident, witness.window)


def _classify_copy(
    findings: Findings, incarnation: Incarnation, entry: Entry, resident: Resident | None, now_us: int
) -> None:
    """The datagram was accepted before, by somebody."""
    facts = entry.facts
    assert facts is not None
    receiver, number, accepted_us = entry.accepted_at[-1]
    if receiver != incarnation.receiver:
        kind = "at another receiver"
    elif number != incarnation.number:
        kind = "after restart"
    elif resident is None or facts.sequence not in resident.accepted:
        kind = "after eviction"
    elif resident.highest - facts.sequence >= incarnation.witness.window:
        kind = "after the window"
    else:
        kind = "at once" if accepted_us == now_us else "inside the window"
    findings.hit(coverage.COPY, kind)


def _classify_first(findings: Findings, facts: Facts, resident: Resident, window: int) -> None:
    """The datagram of a known session comes for the first time."""
    behind = resident.highest - facts.sequence
    if behind < 0:
        kind = "in order"
    elif behind < window - 1:
        kind = "late, inside the window"
    elif behind == window - 1:
        kind = "late, last inside"
    else:
        kind = "late, first beyond" if behind == window else "late, beyond"
    findings.hit(coverage.ARRIVAL, kind)
