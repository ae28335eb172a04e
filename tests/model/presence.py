"""Every way in which two receivers of one shard can run, stand still and hear of each other late: the real `Presence`, in ticks of a quarter lease.

At each tick each receiver's link runs, or does not, which is a stop of any length between any two of its turns. Its consumer processes at every tick at
which the receiver holds its shard, before and after the link: whatever the account of a real one, it can have processed no more. What it can process are
messages of any date after its floor and up to its clock (R10, R11). Routes keep order and have their delays; a subscription is known on the other side as
late as anything else; connections may break and come back; wall clocks may differ.

A state is a duplicate when one receiver can process what the other one has; a second property is that nobody takes a shard from an owner that was there before.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import pickle
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

from atmost.core.shards import Shards
from atmost.transport.nats import presence as real

LEASE = 4.0
"""Ticks."""
NAMES = ("b", "a")
"""The first one to come has the larger identity."""
_SHARD = Shards.parse("0/1")
_SECOND = 1_000_000


@dataclass(frozen=True)
class Plan:
    """What is not left to chance."""

    start: int
    """The tick at which the second receiver comes; the first comes at 0."""
    ticks: int
    """After which everything has happened."""
    ways: tuple[int, int] = (0, 0)
    """Ticks from the first receiver's server to the second's, and back."""
    echoes: tuple[int, int] = (0, 0)
    """Ticks from a receiver to its server and back, each."""
    stops: tuple[int, int] = (1, 1)
    """How often each may stand still, from any tick on and for as long as it pleases."""
    skew: tuple[int, int] = (0, 0)
    """Of the wall clocks."""
    guard: int = 0
    """What is allowed for that: the clock guard."""
    cut: tuple[int, int, int] | None = None
    """Whose connection breaks, when, and when it is there again."""
    look_first: bool = False
    """The mutant of the consumer: it looks at its lease, and reads the clock afterwards."""


@dataclass
class Receiver:
    """One of the two: its protocol, what is on its way to it, and what it can have processed."""

    presence: Any = None
    coming: tuple[tuple[int, bytes], ...] = ()
    connected_at: int = -1
    incarnations: int = 0
    owner_since: int = -1
    floor: float = 0.0
    processed: tuple[tuple[float, float], ...] = ()
    """From and up to which date, by incarnation."""
    looked: bool = False
    stops: int = 0
    stands: bool = False

    def may_run(self, most: int) -> tuple[bool, ...]:
        """Return the choices at this tick: to run, or to stand still."""
        return (True, False) if self.stands or (self.presence is not None and self.stops < most) else (True,)

    def clone(self) -> Receiver:
        """Return an independent copy."""
        other = copy.copy(self)
        if self.presence is not None:
            other.presence = copy.copy(self.presence)
            for name, value in vars(self.presence).items():
                if isinstance(value, deque | dict | set | list):
                    setattr(other.presence, name, copy.copy(value))
        return other

    def key(self) -> bytes:
        """Return what makes this state a different one."""
        state = None
        if self.presence is not None:
            state = [value for name, value in vars(self.presence).items() if name not in {"_clock", "warnings"}]
        return pickle.dumps(
            (state, self.coming, self.connected_at, self.floor, self.processed, self.looked, self.stops, self.stands)
        )


@dataclass
class Found:
    """What an exploration saw."""

    states: int = 0
    transitions: int = 0
    duplicate: tuple[tuple[bool, bool], ...] | None = None
    """Which of the two ran at each tick until a message could be processed twice."""
    displaced: tuple[tuple[bool, bool], ...] | None = None
    """… until the first one, an owner before the second came, ended for it although their clocks agree."""
    seen: Counter[str] = field(default_factory=Counter)
    """What has happened in how many states, so that one sees that it could."""

    def add(self, other: Found) -> None:
        """Add another exploration; the first of each kind of trouble stays."""
        self.states += other.states
        self.transitions += other.transitions
        self.duplicate = self.duplicate or other.duplicate
        self.displaced = self.displaced or other.displaced
        self.seen += other.seen


class World:
    """One plan, played with one text of the protocol."""

    def __init__(self, plan: Plan, module: ModuleType = real) -> None:
        self.plan = plan
        self._module = module
        self._now = 0

    def explore(self) -> Found:
        """Visit every state, depth first, so that few are held at a time; stop at the first trouble of the first kind."""
        found = Found()
        known: set[bytes] = set()
        waiting: list[tuple[int, list[Receiver], tuple[tuple[bool, bool], ...]]] = [(0, [Receiver(), Receiver()], ())]
        while waiting:
            now, pair, steps = waiting.pop()
            found.states += 1
            if now == self.plan.ticks:
                continue
            self._now = now
            choices = (each.may_run(most) for each, most in zip(pair, self.plan.stops, strict=True))
            for runs in product(*choices):
                found.transitions += 1
                both = [each.clone() for each in pair]
                self._tick(both, runs, found, (*steps, runs))
                if found.duplicate is not None:
                    return found
                key = hashlib.blake2b(b"%d" % now + b"".join(each.key() for each in both), digest_size=16).digest()
                if key not in known:
                    known.add(key)
                    waiting.append((now + 1, both, (*steps, runs)))
        return found

    def _tick(
        self, both: list[Receiver], runs: Sequence[bool], found: Found, steps: tuple[tuple[bool, bool], ...]
    ) -> None:
        for number, here in enumerate(both):
            self._consume(both, number, found, steps)
            self._connections(both, number)
            here.stops += not runs[number] and not here.stands
            here.stands = not runs[number]
            if runs[number] and here.connected_at >= 0:
                self._link(both, number, found, steps)
            self._consume(both, number, found, steps)

    def _connections(self, both: list[Receiver], number: int) -> None:
        """Come, break, come back: what the system tells a link, whether it runs or not."""
        here, now = both[number], self._now
        cut = self.plan.cut
        if now == (0, self.plan.start)[number]:
            skew = self.plan.skew[number]
            here.presence = self._module.Presence(
                NAMES[number], NAMES[number], _SHARD, LEASE, lambda: (1000 + self._now + skew) * _SECOND
            )
            self._connect(both, number)
        elif cut is not None and cut[0] == number and here.presence is not None:
            if now == cut[1]:
                here.presence.disconnected()
                here.coming, here.connected_at = (), -1
            elif now == cut[2]:
                self._connect(both, number)

    def _connect(self, both: list[Receiver], number: int) -> None:
        both[number].connected_at = self._now
        self._say(both, number, both[number].presence.connected(float(self._now)))

    def _link(self, both: list[Receiver], number: int, found: Found, steps: tuple[tuple[bool, bool], ...]) -> None:
        """One turn: what is due, then everything that has arrived, in order."""
        here, now = both[number], float(self._now)
        presence = here.presence
        owned = presence.owning and presence.holds(now)
        due = presence.next_deadline()
        if due is not None and now >= due:
            self._say(both, number, presence.handle_deadline(now))
        self._note_ownership(both, number, found)
        self._consume(both, number, found, steps)  # its thread may run between any two steps of the link's
        while here.coming and here.coming[0][0] <= now:
            (_, payload), *rest = here.coming
            here.coming = tuple(rest)
            self._say(both, number, presence.receive(payload, now))
        presence.warnings.clear()
        first = number == 0 and here.owner_since < self.plan.start and both[1].incarnations <= 1
        if presence.holder is not None and owned and first and self.plan.skew == (0, 0):
            found.displaced = found.displaced or steps

    def _note_ownership(self, both: list[Receiver], number: int, found: Found) -> None:
        """A new incarnation has a floor of its own, by a clock that is read at this moment at the earliest (R10)."""
        here = both[number]
        presence = here.presence
        if presence.incarnations != here.incarnations:
            here.incarnations, here.owner_since = presence.incarnations, self._now
            here.floor = self._wall(number) + self.plan.guard + presence.overlap
            found.seen["owner"] += 1
            found.seen["owner again"] += here.incarnations > 1

    def _say(self, both: list[Receiver], number: int, payloads: Sequence[bytes]) -> None:
        """To oneself and to the other one, in order, and to those only whose subscription is known where it is said."""
        now, echo, way = self._now, self.plan.echoes[number], self.plan.ways[number]
        other = both[1 - number]
        back = self.plan.ways[1 - number]
        for payload in payloads:
            both[number].coming += ((now + echo, payload),)
            if other.connected_at >= 0 and now >= other.connected_at + back:
                other.coming = tuple(sorted((*other.coming, (now + way, payload)), key=lambda each: each[0]))

    def _wall(self, number: int) -> int:
        return self._now + self.plan.skew[number]

    def _consume(self, both: list[Receiver], number: int, found: Found, steps: tuple[tuple[bool, bool], ...]) -> None:
        here, other = both[number], both[1 - number]
        if here.presence is None or not here.incarnations:
            return
        holds = here.presence.holds(float(self._now))
        if not (holds or (self.plan.look_first and here.looked)):
            return
        here.looked = holds or here.stands  # what was looked at before a stop is judged when it ends, whenever that is
        until = float(self._wall(number))
        if until <= here.floor:
            found.seen["holds, not ready"] += 1
            return
        found.seen["processes"] += 1
        found.seen["both hold"] += other.presence is not None and other.presence.holds(float(self._now))
        if not here.processed or here.processed[-1][0] != here.floor:
            here.processed += ((here.floor, until),)
        here.processed = (*here.processed[:-1], (here.floor, until))
        if any(max(floor, here.floor) < min(end, until) for floor, end in other.processed):
            found.duplicate = steps


def explore_all(plans: Iterator[Plan] | Sequence[Plan], module: ModuleType = real) -> Found:
    """Explore every plan until a message can be processed twice."""
    total = Found()
    for plan in plans:
        total.add(World(plan, module).explore())
        if total.duplicate is not None:
            break
    return total


def plans(
    *,
    starts: Sequence[int],
    delays: Sequence[int],
    echoes: Sequence[tuple[int, int]] = ((0, 0), (1, 1)),
    stops: Sequence[tuple[int, int]],
    margin: int = 17,
) -> Iterator[Plan]:
    """All routes with these delays each way, for each moment at which the second receiver comes, and for each of these numbers of stops."""
    for start, ways, echo, each in product(starts, product(delays, repeat=2), echoes, stops):
        yield Plan(start, start + margin, ways, echo, each)


def skewed(given: Iterator[Plan]) -> Iterator[Plan]:
    """The same with wall clocks that differ either way by what the clock guard allows."""
    for plan in given:
        for skew in ((0, 1), (1, 0)):
            yield replace(plan, skew=skew, guard=1)


def with_cuts(given: Iterator[Plan]) -> Iterator[Plan]:
    """The same with a connection that breaks, of either receiver, for less and for more than a lease."""
    for plan in given:
        for who, at, back in product((0, 1), (plan.start + 2, plan.start + 5, plan.start + 9), (2, 6)):
            yield replace(plan, cut=(who, at, at + back))


def mutant(old: str, new: str) -> ModuleType:
    """The protocol with one change of its text."""
    path = Path(real.__file__)
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{text.count(old)} places with {old!r}"
    spec = importlib.util.spec_from_loader("mutated_presence", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    exec(compile(text.replace(old, new), str(path), "exec"), vars(module))  # noqa: S102  our own text
    return module
