"""A fleet in virtual time: shards on several collectors, one of which dies, is replaced, and takes shards back.

The senders and receivers are the real cores. Every sender sends a message a second, evenly spread over the second.
The network loses datagrams and copies some; copies arrive up to ten seconds late, even after a takeover, and the new owner
must refuse them. Every ownership of a shard is an incarnation of its own, with its own floor and table (H2).
The run checks that no message is processed twice, be it by two owners, and that each owner's account is exact for the
messages it answers for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Final

from atmost.core.accounts import Ledger, SessionLedger
from atmost.core.events import Message
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.shards import shard_of
from atmost.errors import OptionError
from atmost.lab.world import Agenda, VirtualSender, wall_us
from atmost.transport.base import NETWORK, NETWORK_DATAGRAM

SLOTS: Final = 20
"""Time slots in a second; every sender sends in one of them."""
_READY: Final = 1.05
"""Time until a new owner accepts messages, with F and G of a network (s)."""
_LATEST_COPY: Final = 10.0
"""Longest time between the first copy and the second (s)."""
_MOST_SENDERS: Final = 200_000
_OPTIONS: Final = ReceiverOptions(future_bound=NETWORK.future_bound, clock_guard=NETWORK.clock_guard)
"""Options of a network: a new owner accepts what is sent a second after it began, and later."""

Process = Callable[[int, int], None]
"""Called with the sender and the number of every processed message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The options of a run; seconds are virtual."""

    senders: int = 5_000
    shards: int = 16
    collectors: int = 4
    seconds: float = 40.0
    kill_at: float = 10.0
    """When a collector dies."""
    takeover: float = 3.0
    """Time until the others own its shards."""
    return_at: float = 25.0
    """When it returns and gets its shards back."""
    loss: float = 0.01
    duplicate: float = 0.01
    """Share of datagrams that arrive once more, up to ten seconds later."""
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuses options that cannot be run."""
        for name, least, most in (("senders", 1, _MOST_SENDERS), ("shards", 1, 65_536), ("collectors", 2, 65_536)):
            if not least <= getattr(self, name) <= most:
                raise OptionError(name, getattr(self, name), f"{least} to {most:,}")
        if self.collectors > self.shards:
            raise OptionError(
                "collectors",
                self.collectors,
                f"at most as many as shards ({self.shards}), because each collector must own one",
            )
        for name in ("loss", "duplicate"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(name, getattr(self, name), "a share from 0 to 1")
        if not 0 < self.kill_at < self.kill_at + self.takeover < self.return_at < self.seconds <= 3600:
            raise OptionError(
                "seconds", self.seconds, "kill_at, takeover, return_at and the end in this order, within an hour"
            )


@dataclass(slots=True)
class Outcome:
    """The result of a run, in messages unless the field says otherwise."""

    fleet: Fleet
    sent: int = 0
    processed: int = 0
    processed_twice: int = 0
    missing_known: int = 0
    """Missed by an owner and counted in its account."""
    between_owners: int = 0
    """In no owner's account: sent while nobody owned the shard, or before the new owner could remember."""
    miscounted: int = 0
    """Difference between the owners' accounts and the truth."""
    refused: dict[str, int] = field(default_factory=dict)
    """Refused datagrams, by reason."""
    unowned: int = 0
    """Datagrams that arrived while nobody owned their shard."""
    most_sessions: dict[str, int] = field(default_factory=dict)
    """Sessions of the fullest collector: `before` the death, `during` the takeover, `after` the return."""
    processed_by_second: list[int] = field(default_factory=list)

    def kept(self) -> bool:
        """Whether the promises were kept."""
        return self.processed_twice == 0 and self.miscounted == 0 and self.balanced()

    def balanced(self) -> bool:
        """Whether every message is accounted for."""
        return self.sent == self.processed + self.missing_known + self.between_owners

    def as_json(self) -> dict[str, Any]:
        """All figures, with the verdict."""
        return {**asdict(self), "balanced": self.balanced(), "kept": self.kept()}


def run_fleet(fleet: Fleet, notice: Callable[[float], object] = lambda _second: None) -> Outcome:
    """Runs a fleet; the same seed gives the same run.

    Args:
        fleet: the options.
        notice: called with the virtual second, once a second.
    """
    return _Run(fleet).run(notice)


class Ownership:
    """One collector's ownership of one shard."""

    def __init__(self, collector: int, shard: int, shards: int, wall_us: int) -> None:
        """Args: collector: the owner. shard, shards: which, of how many. wall_us: when it began (µs since 1970)."""
        self.collector = collector
        self._core = ReceiverCore(_OPTIONS, wall_us, shard=(shard, shards))
        self.processed: Counter[int] = Counter()
        """Messages of each sender."""

    def receive(self, data: bytes, now: float, wall_us: int, process: Process) -> None:
        """Receives a datagram and hands its messages on."""
        for event in self._core.receive(data, now, wall_us):
            if event.__class__ is Message:
                number, message = event.payload
                self.processed[number] += 1
                process(number, message)

    def settle(self, now: float) -> None:
        """Handles what is due."""
        self._core.handle_deadline(now)

    def ledger(self, now: float) -> Ledger:
        """The account of this ownership."""
        return self._core.ledger(now)


class Claim:
    """An ownership's knowledge at its end: for each sender, the messages it answered for and how many of them came."""

    def __init__(self, holding: Ownership, now: float, number_of: dict[str, int]) -> None:
        """Args: holding: the ended ownership. now: when it ended (s). number_of: senders by session."""
        self.ledger = holding.ledger(now)
        self.spans: dict[int, tuple[int, int]] = {}
        self.miscounted = 0
        for row in self.ledger.sessions:
            number = number_of[row.id]
            self.spans[number] = (row.before_join, row.sent)
            self.miscounted += abs(_missing(row) - (row.sent - row.before_join - holding.processed[number]))

    @property
    def missing(self) -> int:
        """Messages it knows it missed."""
        return self.ledger.lost + self.ledger.pending


def _missing(row: SessionLedger) -> int:
    return row.lost + row.pending


class _Run:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._random = Random(fleet.seed)
        self._agenda = Agenda(0.0)
        self._senders = [self._sender(number) for number in range(fleet.senders)]
        self._sent = [0] * fleet.senders
        self._number_of: dict[str, int] = {}
        """The sender of each session, by the identity that ledgers show."""
        self._owned: dict[int, Ownership] = {}
        self._claims: list[Claim] = []
        self._seen = [bytearray(int(fleet.seconds) + 2) for _ in range(fleet.senders)]
        self._outcome = Outcome(fleet, processed_by_second=[0] * (int(fleet.seconds) + 1))

    def run(self, notice: Callable[[float], object]) -> Outcome:
        fleet, agenda, outcome = self._fleet, self._agenda, self._outcome
        for shard in range(fleet.shards):
            self._begin(shard, shard % fleet.collectors)
        # The first owners are ready before the first sender speaks, as after a planned start.
        began = _READY
        agenda.at(began + fleet.kill_at, self._kill)
        agenda.at(began + fleet.kill_at + fleet.takeover, self._take_over)
        agenda.at(began + fleet.return_at, self._return)
        for turn in range(round(fleet.seconds * SLOTS)):
            agenda.run_until(began + turn / SLOTS)
            self._second = turn // SLOTS
            self._speak(turn % SLOTS)
            if turn % SLOTS == 0:
                for ownership in self._owned.values():
                    ownership.settle(agenda.now)
                notice(agenda.now - began)
        outcome.most_sessions["after"] = self._fullest()
        for shard in list(self._owned):
            self._end(shard)
        return self._count()

    def _sender(self, number: int) -> VirtualSender:
        def identity() -> int:
            drawn = self._random.getrandbits(64)
            self._number_of[drawn.to_bytes(8).hex()] = number
            return drawn

        return VirtualSender(
            self._agenda,
            self._transmit,
            identity=identity,
            max_datagram=NETWORK_DATAGRAM,
            name=f"s{number}",
            host="fleet",
            pid=number + 1,
        )

    def _speak(self, slot: int) -> None:
        """Each sender of a slot sends a message, `[sender, number]`, numbered from 0 like the session's messages."""
        for number in range(slot, len(self._senders), SLOTS):
            self._senders[number].send("fleet.message", (number, self._sent[number]))
            self._sent[number] += 1
            self._senders[number].flush()

    def _transmit(self, data: bytes) -> None:
        random, fleet = self._random.random, self._fleet
        if random() < fleet.duplicate:
            self._agenda.after(1 / SLOTS + random() * _LATEST_COPY, self._deliver, data)
        if random() >= fleet.loss:
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        ownership = self._owned.get(shard_of(data[2:20], self._fleet.shards))
        if ownership is None:
            self._outcome.unowned += 1
        else:
            now = self._agenda.now
            ownership.receive(data, now, wall_us(now), self._process)

    def _process(self, number: int, message: int) -> None:
        outcome, seen = self._outcome, self._seen[number]
        if seen[message]:
            outcome.processed_twice += 1
        else:
            seen[message] = 1
            outcome.processed += 1
            outcome.processed_by_second[self._second] += 1

    def _begin(self, shard: int, collector: int) -> None:
        self._owned[shard] = Ownership(collector, shard, self._fleet.shards, wall_us(self._agenda.now))

    def _end(self, shard: int) -> None:
        self._claims.append(Claim(self._owned.pop(shard), self._agenda.now, self._number_of))

    def _kill(self) -> None:
        """Kills the last collector; its knowledge is kept here only for the check."""
        self._outcome.most_sessions["before"] = self._fullest()
        self._orphans = [shard for shard, one in self._owned.items() if one.collector == self._fleet.collectors - 1]
        for shard in self._orphans:
            self._end(shard)

    def _take_over(self) -> None:
        for turn, shard in enumerate(self._orphans):
            self._begin(shard, turn % (self._fleet.collectors - 1))

    def _return(self) -> None:
        self._outcome.most_sessions["during"] = self._fullest()
        for shard in self._orphans:
            self._end(shard)
            self._begin(shard, self._fleet.collectors - 1)

    def _fullest(self) -> int:
        sessions = [0] * self._fleet.collectors
        for ownership in self._owned.values():
            sessions[ownership.collector] += len(ownership.ledger(self._agenda.now).sessions)
        return max(sessions)

    def _count(self) -> Outcome:
        outcome = self._outcome
        outcome.sent = sum(self._sent)
        outcome.missing_known = sum(claim.missing for claim in self._claims)
        outcome.miscounted = sum(claim.miscounted for claim in self._claims)
        for claim in self._claims:
            for reason, count in claim.ledger.refused.items():
                outcome.refused[reason] = outcome.refused.get(reason, 0) + count
        answered = sum(end - begin for claim in self._claims for begin, end in claim.spans.values())
        outcome.between_owners = outcome.sent - answered
        return outcome
