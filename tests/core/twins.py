"""Two cores, a link between them, and clocks that only move when they are told to.

`Receiving` and `Sending` are a core with its clocks; the datagrams are made as `by_hand` says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from atmost.core.accounts import Ledger, SenderStats, SessionAccount
from atmost.core.datagram import BeaconBody, encode_message
from atmost.core.events import ClockAlarm, DatagramRefused, Event, Message, RefusalReason
from atmost.core.limits import OVERHEAD
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import Keyring, no_keys
from atmost.core.sending import SenderCore, SenderOptions
from tests.core.by_hand import EPOCH_US, PLAIN, Hand, Seen, beacon_body, datagram, messages, read, with_tag

__all__ = [
    "EPOCH_US",
    "FUTURE_US",
    "GUARD_US",
    "PLAIN",
    "Hand",
    "Receiving",
    "Seen",
    "Sending",
    "beacon_body",
    "datagram",
    "messages",
    "read",
    "with_tag",
]

FUTURE_US = 500_000
"""F of `Receiving`, µs."""
GUARD_US = 500_000
"""G of `Receiving`, µs."""


class Receiving:
    """A receiver's core, its two clocks, and everything it ever said; ready unless told to stay at its start."""

    def __init__(
        self,
        *,
        ready: bool = True,
        wall_us: int = EPOCH_US,
        keys: Keyring | None = None,
        audience: str = "",
        shard: tuple[int, int] | None = None,
        **options: Any,
    ) -> None:
        """Args: ready: move the clock just past the boot floor. keys, audience, shard, options: as the core takes them."""
        bounds = {"future_bound": FUTURE_US / 1e6, "clock_guard": GUARD_US / 1e6}
        self.now = 1000.0
        self.wall_us = wall_us
        keyring = no_keys(audience) if keys is None else keys
        self.core = ReceiverCore(ReceiverOptions(**{**bounds, **options}), wall_us, keyring, shard)
        self.events: list[Event] = []
        if ready:
            self.pass_time(self.core.floor_us - wall_us + 1)

    def pass_time(self, us: int) -> None:
        """Moves both clocks on, µs; deadlines are not handled."""
        self.now += us / 1e6
        self.wall_us += us

    def take(self, *datagrams: bytes) -> list[Event]:
        """Receives datagrams; returns what they made the core say."""
        said = [event for each in datagrams for event in self.core.receive(each, self.now, self.wall_us)]
        self.events += said
        return said

    def settle(self, seconds: float = 0.0) -> list[Event]:
        """Moves both clocks on and handles what is due then."""
        self.pass_time(round(seconds * 1e6))
        said = list(self.core.handle_deadline(self.now))
        self.events += said
        return said

    def settle_all(self) -> None:
        """Handles every deadline in turn, until no gap can be pending any more."""
        for _ in range(4):
            self.settle(self.core.options.grace)

    def hand(self, random64: int = 1, *, age_us: int = 0, sequence: int = 0, prior: int = 0) -> Hand:
        """A sender whose clock agrees and whose session began `age_us` ago; its datagrams are sent now."""
        hand = Hand(self.wall_us - age_us, random64, sequence=sequence, prior=prior)
        hand.sent_us = self.wall_us
        return hand

    def ledger(self, queued: Mapping[bytes, int] | None = None) -> Ledger:
        """The account, after R20 was checked on it."""
        ledger = self.core.ledger(self.now, queued)
        assert ledger.balanced()
        assert all(min(row.delivered, row.queued, row.pending, row.lost) >= 0 for row in [ledger, *ledger.sessions])
        return ledger

    @property
    def payloads(self) -> list[Any]:
        """Of every message so far."""
        return [event.payload for event in self.events if isinstance(event, Message)]

    def state(self, *, claims: bool = True, accuses: bool = False) -> Any:
        """All that a refusal must leave as it was: everything but refusal counts and the clock.

        Args:
            claims: with what R16 remembers of implausible datagrams.
            accuses: without what R18 remembers of senders whose clocks cause refusals.
        """
        return _walk(
            self.core, _OF_REFUSALS | (frozenset() if claims else _CLAIMS) | (_SUSPICIONS if accuses else frozenset())
        )

    def refusal(self, refused: bytes, *, claims: bool = False, accuses: bool = False) -> RefusalReason:
        """The one reason a datagram is refused for, after checking that nothing else changed (R11).

        Args:
            refused: the datagram.
            claims: whether it may be remembered as a claim (R16).
            accuses: whether it may accuse its sender's clock (R18): a report, on which no decision depends.
        """
        before, ledger_before = self.state(claims=not claims, accuses=accuses), self.core.ledger(self.now)
        said = self.take(refused)
        ledger = self.ledger()
        assert self.state(claims=not claims, accuses=accuses) == before
        assert all(isinstance(event, DatagramRefused) or (accuses and isinstance(event, ClockAlarm)) for event in said)
        assert accuses or ledger.clock_troubles == ledger_before.clock_troubles
        assert (ledger.datagrams_in, ledger.accepted) == (ledger_before.datagrams_in + 1, ledger_before.accepted)
        more = {reason: n - ledger_before.refused.get(reason, 0) for reason, n in ledger.refused.items()}
        ((reason, times),) = [(reason, n) for reason, n in more.items() if n]
        assert times == 1
        return RefusalReason(reason)


_OF_REFUSALS = frozenset({"datagrams_in", "_refused", "_refusals", "_wall_us", "_proved", "in_hand"})
_CLAIMS = frozenset({"claim", "_claim"})
_SUSPICIONS = frozenset({"_suspects", "_alarms", "_clock_seconds", "clock_troubles"})


def _walk(value: Any, skipped: frozenset[str]) -> Any:
    """The state below an object as plain tuples, without the attributes that are skipped."""
    if isinstance(value, dict):
        return tuple((_walk(k, skipped), _walk(v, skipped)) for k, v in value.items())
    if isinstance(value, (list, tuple, deque)):
        return tuple(_walk(item, skipped) for item in value)
    ours = type(value).__module__.startswith("atmost.") and not isinstance(value, (BeaconBody, Enum))
    names = getattr(value, "__dict__", None) or getattr(type(value), "__slots__", ()) if ours else ()
    if not names:
        return value
    also = {"refused"} if isinstance(value, SessionAccount) else set()
    return tuple((name, _walk(getattr(value, name), skipped)) for name in names if name not in skipped | also)


@dataclass
class Sending:
    """A sender's core, its clocks, and a transport that answers as it is told; hands over as a Sender does."""

    options: SenderOptions = field(default_factory=SenderOptions)
    max_datagram: int = 1432
    wall_us: int = EPOCH_US
    now: float = 1000.0
    random64: int = 7
    answer: Callable[[bytes], str | None] = field(default=lambda _datagram: None)
    wire: list[bytes] = field(default_factory=list)
    """What the transport took."""
    attempts: list[bytes] = field(default_factory=list)
    """What it was offered, refusals included."""
    offered: int = 0
    """Messages given to it."""
    taken: int = 0
    """Messages that the transport took."""

    def __post_init__(self) -> None:
        """Makes the core."""
        self.core = SenderCore(self.options, self.max_datagram, lambda _session: PLAIN, name="n", host="h", pid=1)

    def send(self, *payloads: Any) -> list[bool]:
        """What `send()` does, with the long way round for what does not fit the open datagram."""
        return [self._send(encode_message(("s", payload))) for payload in payloads]

    def drain(self, *, flush: bool = True) -> None:
        """Hands over what is due; a transport that refuses with EMSGSIZE halves the datagram."""
        core = self.core
        if core.needs_session(self.wall_us):
            self.random64 += 1
            core.begin(self.random64, self.wall_us, self.now)
        for _ in range(64):
            outgoing = core.next_datagram(self.now, self.wall_us, flush=flush)
            if outgoing is None:
                return
            error = self._offer(outgoing.data)
            core.handed_over(outgoing, error, self.now)
            if error == "EMSGSIZE":
                core.shrink((core.room + OVERHEAD) // 2)

    def goodbye(self) -> None:
        """One goodbye."""
        outgoing = self.core.goodbye(self.now, self.wall_us)
        if outgoing is not None:
            self.core.handed_over(outgoing, self._offer(outgoing.data), self.now)

    def pass_time(self, seconds: float) -> None:
        """Moves both clocks on and hands over nothing."""
        self._move_to(self.now + seconds)

    @property
    def seen(self) -> list[Seen]:
        """What the transport took, read."""
        return [read(sealed) for sealed in self.wire]

    @property
    def report(self) -> BeaconBody:
        """The latest report on the wire."""
        return [seen.report for seen in self.seen if seen.report is not None][-1]

    def stats(self) -> SenderStats:
        """The account, after R20 was checked on it with what was really offered."""
        stats = self.core.stats()
        known = sum(stats.dropped.values()) + stats.open + stats.handed_over + sum(stats.refused.values())
        assert stats.offered == self.offered == known
        assert stats.handed_over == self.taken
        return stats

    def run(self, seconds: float) -> None:
        """Lets time pass as the background thread would: from deadline to deadline."""
        end = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= end:
            attempts = len(self.attempts)
            self._move_to(deadline)
            self.drain(flush=False)
            assert len(self.attempts) > attempts, "a deadline that nothing follows would be a busy loop"
        self._move_to(end)

    def _send(self, item: bytes) -> bool:
        core = self.core
        self.offered += 1
        if core.open and core.size + len(item) > core.room and not core.closed:
            self.drain()
        return core.offer(item, self.now)

    def _move_to(self, now: float) -> None:
        if now > self.now:
            self.wall_us += round((now - self.now) * 1e6)
            self.now = now

    def _offer(self, data: bytes) -> str | None:
        self.attempts.append(data)
        error = self.answer(data)
        if error is None:
            self.wire.append(data)
            self.taken += read(data).count
        return error
