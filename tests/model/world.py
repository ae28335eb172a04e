"""Everything around the receiver that the guarantee has to survive: senders, network, clocks, crashes.

* Senders: a session numbers its datagrams 0, 1, 2… and stamps each with any reading of its own clock.
  Nothing is assumed of that clock, except that stamps do not decrease within a session.
* Network: a tape of everything ever sent. Any datagram of it may arrive at any time, in any order, any number of times;
  loss is a datagram that never arrives.
* Receiver's clock: each arrival brings its own reading, anything at all, also backwards within one incarnation.
  Only a start is bound by H1. There is no tick step: time passes, or jumps, between any two readings.
* Crash and restart: one step, possible at any time and any number of times.
  A crash between marking and handling only turns one processing into none, so it needs no step of its own.

A state therefore holds no count of restarts and none of deliveries: with bounded clocks and messages it is finite
although both are unbounded, and an exploration that comes to its end has covered every number of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple, TypeVar

from tests.model.rules import ACCEPTING, Datagram, Receiver, Rules, Verdict, receive, start

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the exploration ends: the only things that keep the state space finite."""

    sessions: int = 2
    messages: int = 4
    """Messages in total, one to a datagram, divided among the sessions in every way."""
    clock: int = 4
    """The receiver's clock reads 0…clock; the senders' clocks reach past it, so that some stamp is always in the future."""
    ordered_stamps: bool = True
    """Stamps do not decrease within a session; False drops the last assumption on sender clocks."""


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """H1 and H2; the defaults are the hypotheses as stated."""

    excess: int = 0
    """H1: ticks by which a start may find the clock further back than G."""
    cumulative: bool = True
    """H1 counts from the greatest reading of *all* earlier incarnations, not of the last one."""
    one_at_a_time: bool = True
    """H2: a start ends the incarnation before it."""


class Start(NamedTuple):
    """The receiver starts; the incarnation before it, if any, has crashed."""

    now: int


class Send(NamedTuple):
    """A session puts its next datagram on the tape."""

    session: int
    sent_us: int


class Deliver(NamedTuple):
    """A datagram of the tape arrives."""

    session: int
    seq: int
    now: int
    age: int = 0
    """0 is the newest incarnation, 1 the one before it (alive only where H2 is violated)."""


Step = Start | Send | Deliver


class State(NamedTuple):
    """The world between two steps."""

    latest: int
    """The greatest reading used so far by the incarnations that H1 counts.

    Used is a reading that left a trace: at a start or at an acceptance. This is the weakest reading of H1.
    """
    receivers: tuple[Receiver, ...]
    """Living incarnations, newest first; more than one only where H2 is violated."""
    tape: tuple[tuple[int, ...], ...]
    """Per session the stamps of its datagrams, by sequence number."""
    processed: frozenset[Datagram]
    """What some incarnation has handed to its handler."""


class Outcome(NamedTuple):
    """What one step led to."""

    state: State
    verdict: Verdict | None = None
    """None for a step that delivers nothing."""
    copy: bool = False
    """The datagram delivered had been processed before."""

    @property
    def violates(self) -> bool:
        """A datagram was processed a second time: the one thing that must never happen."""
        return self.copy and self.verdict in ACCEPTING


class Model:
    """The rules, in a world, within bounds."""

    def __init__(self, rules: Rules, hypotheses: Hypotheses, bounds: Bounds) -> None:
        """Compose a model; a mutant differs from the correct one in a single argument."""
        self.rules = rules
        self.hypotheses = hypotheses
        self.bounds = bounds
        # Pure functions of few distinct arguments, called some million times.
        self._receive = cache(partial(receive, rules))
        self._arrivals = cache(self._list_arrivals)

    def initial(self) -> State:
        """Nothing was sent and no receiver was ever started."""
        return State(latest=0, receivers=(), tape=((),) * self.bounds.sessions, processed=frozenset())

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that can happen next."""
        for now in range(self._earliest_start(state), self.bounds.clock + 1):
            yield Start(now)
        for session in range(self.bounds.sessions):
            for sent_us in self._possible_stamps(state, session):
                yield Send(session, sent_us)
        yield from self._arrivals(tuple(map(len, state.tape)), len(state.receivers))

    def apply(self, state: State, step: Step) -> Outcome | None:
        """Take one step.

        Returns:
            What it led to, or None where this model excludes the step: so can a counterexample of one model be
            replayed on another.
        """
        if isinstance(step, Deliver):
            return self._deliver(state, step)
        if isinstance(step, Send):
            if step.sent_us not in self._possible_stamps(state, step.session):
                return None
            stamps = (*state.tape[step.session], step.sent_us)
            return Outcome(state._replace(tape=_put(state.tape, step.session, stamps)))
        if not self._earliest_start(state) <= step.now <= self.bounds.clock:
            return None
        latest = max(state.latest, step.now) if self.hypotheses.cumulative else step.now
        survivors = () if self.hypotheses.one_at_a_time else state.receivers[:1]
        receivers = (start(self.rules, step.now), *survivors)
        return Outcome(state._replace(latest=latest, receivers=receivers))

    def _deliver(self, state: State, step: Deliver) -> Outcome | None:
        """One arrival: accepted is processed, because marking comes before handing over (R11.9)."""
        latest, receivers, tape, processed = state
        if step.age >= len(receivers) or step.seq >= len(tape[step.session]):
            return None
        datagram = Datagram(step.session, step.seq, tape[step.session][step.seq])
        verdict, receiver = self._receive(receivers[step.age], datagram, step.now)
        copy = datagram in processed
        if verdict not in ACCEPTING:
            return Outcome(state, verdict, copy)
        after = State(max(latest, step.now), _put(receivers, step.age, receiver), tape, processed | {datagram})
        return Outcome(after, verdict, copy)

    def _earliest_start(self, state: State) -> int:
        """H1: the least reading a start may find, as the hypotheses of this model have it."""
        return max(0, state.latest - self.rules.guard - self.hypotheses.excess)

    def _possible_stamps(self, state: State, session: int) -> range:
        """The readings a sender's clock may have for the next datagram of a session; none when all were sent."""
        if sum(map(len, state.tape)) >= self.bounds.messages:
            return range(0)
        stamps = state.tape[session]
        least = stamps[-1] if stamps and self.bounds.ordered_stamps else 0
        return range(least, self.bounds.clock + self.rules.future + 2)

    def _list_arrivals(self, lengths: tuple[int, ...], incarnations: int) -> tuple[Deliver, ...]:
        """Every arrival that a tape of given lengths allows."""
        return tuple(
            Deliver(session, seq, now, age)
            for session, length in enumerate(lengths)
            for seq in range(length)
            for now in range(self.bounds.clock + 1)
            for age in range(incarnations)
        )


def _put(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    """A tuple with one item exchanged."""
    return (*items[:index], item, *items[index + 1 :])
