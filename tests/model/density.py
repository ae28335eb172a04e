"""Every order in which datagrams of one session can arrive, honest or forged: R11.7 and R16 on small integers.

Written from docs/guarantee.md. A datagram holds at most `most` messages here, instead of 16,360, and the window is a few numbers wide.
Every datagram there is may come at every moment, so every forger with any knowledge is among the runs.

What must hold in each state, and at each step:

* `negative`: no more messages have arrived than were numbered (E − O − D ≥ 0), in all and in every gap;
* `invented`: one datagram adds at most as many missing messages as the numbers that it passes over can hold;
* `jumped`: without a second witness the highest number rises by at most max(1, W/2);
* `witness`: a second witness is at most max(1, W/2) numbers after the first, and the messages between them fit;
* `left`: after one late arrival what its gap still misses fits the numbers that are left of it;
* `refused`: what one honest sender can have numbered is never called inconsistent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple


class Datagram(NamedTuple):
    """What R11.7 looks at."""

    sequence: int
    prior: int
    count: int

    @property
    def end(self) -> int:
        """Messages of the session up to and with this one."""
        return self.prior + self.count


class Gap(NamedTuple):
    """Numbers that are missing, and the messages between their outer ends."""

    first: int
    last: int
    start: int
    end: int
    room: int
    late: int = 0
    """How many have arrived late."""


class Session(NamedTuple):
    """What a receiver remembers of a session, and the truth about what it accepted."""

    first: int
    highest: int
    origin: int
    end: int
    arrived: int
    gaps: tuple[Gap, ...]
    claim: tuple[int, int] | None
    accepted: frozenset[Datagram]


State = Session | tuple[int, int] | None
"""A known session; else an unknown one: the number and the end that were claimed of it, or None."""


@dataclass(frozen=True, slots=True)
class Rules:
    """R11.7 and R16; each can be taken out."""

    numbers: int = 5
    """Sequence numbers from 0."""
    most: int = 1
    """C: messages that one datagram can hold."""
    window: int = 4
    exact: bool = True
    """Whether the session began after everything forgotten: O = 0."""
    earlier: bool = True
    """A higher number has no earlier messages."""
    upwards: bool = True
    """What lies between the highest number and a higher one fits."""
    downwards: bool = True
    """What lies between the first number and one below a join fits."""
    room: bool = True
    """A late one has no more messages than its gap misses."""
    neighbours: bool = True
    """A late one is held against both neighbours of its gap."""
    lower_only: bool = False
    """… against the lower one only."""
    opening: bool = True
    """A first datagram has no more before it than its number allows."""
    jump_of_window: bool = False
    """The jump that needs a second witness is W, not W/2."""
    any_witness: bool = False
    """Whatever comes after a claim confirms it."""

    @property
    def jump(self) -> int:
        """The furthest that R16 lets a number be ahead without a second witness."""
        return max(1, self.window // 2)

    def crowded(self, messages: int, datagrams: int) -> bool:
        """Whether so many messages do not fit so many datagrams, or are fewer than none."""
        return not 0 <= messages <= self.most * datagrams

    def all_datagrams(self) -> Iterator[Datagram]:
        """Everything that can be made, by anybody."""
        for sequence in range(self.numbers):
            for prior in range(self.most * (self.numbers + 1) + 1):
                for count in range(self.most + 1):
                    yield Datagram(sequence, prior, count)

    def receive(self, state: State, given: Datagram) -> tuple[State, str]:
        """What becomes of a datagram: the state after it, and the verdict."""
        if not isinstance(state, Session):
            return self._open(state, given)
        if given.sequence <= state.highest - self.window:
            return state, "too_old"
        if any(given.sequence == each.sequence for each in state.accepted):
            return state, "duplicate"
        if not self._fits(state, given):
            return state, "inconsistent"
        ahead = given.sequence - state.highest
        if ahead > (self.window if self.jump_of_window else self.jump) and not self._confirms(state.claim, given):
            return state._replace(claim=(given.sequence, given.end)), "implausible"
        return self._book(state, given), "accepted"

    def _open(self, claim: tuple[int, int] | None, given: Datagram) -> tuple[State, str]:
        if self.opening and self.crowded(given.prior, given.sequence):
            return claim, "inconsistent"
        if self.exact and given.sequence > self.jump and not self._confirms(claim, given):
            return (given.sequence, given.end), "implausible"
        origin = 0 if self.exact else given.prior
        gaps = (Gap(0, given.sequence - 1, 0, given.prior, given.prior),) if given.prior > origin else ()
        accepted = frozenset({given})
        return Session(given.sequence, given.sequence, origin, given.end, given.count, gaps, None, accepted), "accepted"

    def _confirms(self, claim: tuple[int, int] | None, given: Datagram) -> bool:
        if claim is None:
            return False
        ahead = given.sequence - claim[0]
        if self.any_witness:
            return ahead > 0
        return 0 < ahead <= self.jump and not self.crowded(given.prior - claim[1], ahead - 1)

    def _fits(self, state: Session, given: Datagram) -> bool:
        if given.sequence > state.highest:
            between, datagrams = given.prior - state.end, given.sequence - state.highest - 1
            return (not self.earlier or between >= 0) and (not self.upwards or between <= self.most * datagrams)
        if given.sequence < state.first and not self.exact:
            if not self.downwards:
                return given.end <= state.origin
            below = self.crowded(given.prior, given.sequence)
            return not below and not self.crowded(state.origin - given.end, state.first - given.sequence - 1)
        if given.end > state.end:
            return False
        gap = next((each for each in state.gaps if each.first <= given.sequence <= each.last), None)
        if gap is None:
            return given.count == 0
        if self.room and given.count > gap.room:
            return False
        if not self.neighbours:
            return True
        if self.crowded(given.prior - gap.start, given.sequence - gap.first):
            return False
        return self.lower_only or not self.crowded(gap.end - given.end, gap.last - given.sequence)

    def _book(self, state: Session, given: Datagram) -> Session:
        gaps = list(state.gaps)
        first, highest, origin, end = state.first, state.highest, state.origin, state.end
        if given.sequence > highest:
            if given.prior > end:
                gaps.append(Gap(highest + 1, given.sequence - 1, end, given.prior, given.prior - end))
            highest, end = given.sequence, given.end
            gaps = [gap for gap in gaps if gap.last > highest - self.window]
        elif given.sequence < first and not self.exact:
            if origin > given.end:
                gaps.insert(0, Gap(given.sequence + 1, first - 1, given.end, origin, origin - given.end))
            first, origin = given.sequence, given.prior
        else:
            gaps = [
                gap._replace(room=gap.room - given.count, late=gap.late + 1)
                if gap.first <= given.sequence <= gap.last
                else gap
                for gap in gaps
            ]
        return Session(
            min(first, given.sequence),
            highest,
            origin,
            end,
            state.arrived + given.count,
            tuple(gaps),
            state.claim,
            state.accepted | {given},
        )


def honest(rules: Rules, accepted: frozenset[Datagram]) -> bool:
    """Whether one sender can have numbered all of these."""
    ordered = sorted(accepted)
    if any(one.sequence == other.sequence for one, other in pairwise(ordered)):
        return False
    if ordered and rules.crowded(ordered[0].prior, ordered[0].sequence):
        return False
    return not any(
        rules.crowded(other.prior - one.end, other.sequence - one.sequence - 1) for one, other in pairwise(ordered)
    )


@dataclass
class Found:
    """What an exploration saw."""

    states: int = 0
    transitions: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    broken: dict[str, tuple[State, Datagram]] = field(default_factory=dict)
    """The first state and datagram that broke each property."""


def explore(rules: Rules) -> Found:
    """Give every datagram to every state that can be reached."""
    found = Found()
    start: State = None
    known: set[State] = {start}
    waiting = [start]
    everything = list(rules.all_datagrams())
    while waiting:
        state = waiting.pop()
        found.states += 1
        for given in everything:
            after, verdict = rules.receive(state, given)
            found.transitions += 1
            found.verdicts[verdict] += 1
            for broken in judge(rules, state, given, after, verdict):
                found.broken.setdefault(broken, (state, given))
            if after not in known:
                known.add(after)
                if not found.broken:  # what follows from a broken state says nothing
                    waiting.append(after)
    return found


def judge(rules: Rules, state: State, given: Datagram, after: State, verdict: str) -> Iterator[str]:
    """The properties that a step breaks."""
    known = isinstance(state, Session)
    before = state.accepted if known else frozenset()
    if verdict == "inconsistent" and honest(rules, before) and honest(rules, before | {given}):
        yield "refused"
    if verdict != "accepted" or not isinstance(after, Session):
        return
    missing = after.end - after.origin - after.arrived
    if missing < 0 or any(gap.room < 0 for gap in after.gaps):
        yield "negative"
    if any(gap.late == 1 and gap.room > rules.most * (gap.last - gap.first) for gap in after.gaps):
        yield "left"
    if not known:
        passed, was, highest = given.sequence, 0, -1
    else:
        was, highest = state.end - state.origin - state.arrived, state.highest
        passed = max(given.sequence - highest - 1, state.first - given.sequence - 1, 0)
    if missing - was > rules.most * passed:
        yield "invented"
    claim = state.claim if known else state
    if (known or rules.exact) and given.sequence - max(highest, 0) > rules.jump:
        if claim is None:
            yield "jumped"
        elif given.sequence - claim[0] > rules.jump or rules.crowded(
            given.prior - claim[1], given.sequence - claim[0] - 1
        ):
            yield "witness"
