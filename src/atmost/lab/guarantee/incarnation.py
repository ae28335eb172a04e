"""One incarnation of a receiver as the endpoint drives its core: a socket with a bounded buffer, the core, a bounded queue.

It keeps its own count of what it read and what became of it, compares every verdict with the witness's, and records special
arrivals for the coverage: a copy, a latecomer, or a stamp or number right at a bound.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from atmost.core.events import (
    ClockAlarm,
    DatagramRefused,
    Event,
    LateArrival,
    Loss,
    Message,
    Place,
    QueueOverflow,
    RefusalReason,
    SessionEvicted,
    SessionOpened,
)
from atmost.lab.faults import corrupted_copy
from atmost.lab.guarantee import coverage
from atmost.lab.guarantee.cores import ObservedReceiver
from atmost.lab.guarantee.findings import Findings, ViolationKind
from atmost.lab.guarantee.signals import NEVER, Interruption, Signal
from atmost.lab.guarantee.tape import Entry, Facts, read_facts
from atmost.lab.guarantee.witness import FAR, Resident, Witness

_WHERE: Final = {
    Place.SENDER_SOCKET: "lost at the sender's socket",
    Place.IN_FLIGHT: "lost in flight",
    Place.UNKNOWN: "lost before any beacon",
}


class Arrived(NamedTuple):
    """A datagram in the socket's buffer."""

    entry: Entry
    flip: int | None
    """The bit that was damaged on the way."""

    @property
    def data(self) -> bytes:
        """The bytes as they arrived."""
        return self.entry.data if self.flip is None else corrupted_copy(self.entry.data, self.flip)


class Incarnation:
    """One life of a receiver's process."""

    def __init__(
        self,
        receiver: str,
        number: int,
        core: ObservedReceiver,
        witness: Witness,
        *,
        audience: str,
        findings: Findings,
        accepted: list[Entry],
        evicted: list[bytes],
    ) -> None:
        """Begins a life.

        Args:
            receiver: the name of its address.
            number: which of its lives this is, from 1.
            core, witness: new ones for this life.
            audience: the receiver's.
            findings: the cast's.
            accepted, evicted: lists to which accepted datagrams and evicted sessions are added.
        """
        self.receiver = receiver
        self.number = number
        self.core = core
        self.witness = witness
        self.audience = audience
        self.findings = findings
        self.buffer: deque[Arrived] = deque()
        self.queue: deque[Message] = deque()
        self.read_total = 0
        self.accepted_total = 0
        self.refused: Counter[str] = Counter()
        self.kernel_drops = 0
        self.handled = 0
        self.handler_errors = 0
        self.not_handled: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        """The sum of its events so far, by kind."""
        self.lost_before: dict[bytes, int] = {}
        """`lost_total` at the previous check, by session, and in all under the empty key."""
        self.interrupted = 0
        """How often a signal handler raised."""
        self.clock = (0, 0)
        """Virtual time and the wall clock when it last read (µs)."""
        self._accepted_now = accepted
        self._evicted_now = evicted

    @property
    def label(self) -> str:
        """How traces and reports name it: its receiver and its number."""
        return f"{self.receiver}.{self.number}"

    def arrive(self, arrived: Arrived, buffer: int) -> None:
        """Puts a datagram into the socket's buffer, which may be full."""
        if len(self.buffer) >= buffer:
            self.kernel_drops += 1
            self.findings.hit(coverage.RECEIVER, "kernel drops")
            self.findings.say(f"{arrived.entry.label} dropped by the kernel of {self.label}")
            return
        self.buffer.append(arrived)

    def read(self, limit: int, now_us: int, wall_us: int, max_queue: int, interruption: Interruption = NEVER) -> None:
        """Reads the socket, lets the core decide, and queues; an interruption ends it."""
        interrupted = self.interrupted
        for _ in range(min(limit, len(self.buffer))):
            arrived = self.buffer.popleft()
            self.put(self.take(arrived, now_us, wall_us, interruption), now_us, max_queue)
            if self.interrupted != interrupted:
                return

    def take(self, arrived: Arrived, now_us: int, wall_us: int, interruption: Interruption = NEVER) -> list[Message]:
        """Gives the core one datagram and compares its verdict with the witness's."""
        entry, core, findings = arrived.entry, self.core, self.findings
        data = arrived.data
        whole = arrived.flip is None
        trusted = entry.honest and whole and not self._tainted(entry)
        expected = self._expected(entry, wall_us) if trusted else None
        if whole:
            classify(findings, self, entry, now_us, wall_us)
            entry.seen_by.add((self.receiver, self.number))
        core.refused = None
        counted, accepted = core.counts
        try:
            with interruption:
                events = core.receive(data, now_us / 1e6, wall_us)
        except Signal:
            # R9: the datagram is not counted at all, or it is booked and what it revealed is in the core's hand.
            self.interrupted += 1
            events = core.in_hand
            if core.counts == (counted, accepted):
                findings.hit(coverage.RECEIVER, "interrupted before a datagram was counted")
                findings.say(f"{self.label} is interrupted, and {entry.label} is not counted")
                return self.note(events)
            kind = "refused" if core.counts[1] == accepted else "accepted"
            findings.hit(coverage.RECEIVER, f"interrupted after a datagram was {kind}")
        core.in_hand = ()
        self.read_total += 1
        findings.figures["datagrams_read"] += 1
        refused = core.refused
        if refused is None:
            self._accepted(arrived, data, now_us)
        else:
            self.refused[refused.value] += 1
            findings.hit(coverage.REFUSAL, refused.value)
            findings.say(f"{self.label} refuses {entry.label}: {refused.value}")
            if refused is RefusalReason.INCONSISTENT and whole and not entry.honest:
                self._classify_contradiction(entry.facts)
            far = refused is RefusalReason.IMPLAUSIBLE and entry.facts is not None and self.witness.far(entry.facts)
            if trusted and refused is not expected and not far:
                text = f"{self.label} refused {entry.label} as {refused.value}, R11 says {expected or 'accept'}"
                findings.violate(ViolationKind.WRONG_VERDICT, text)
        return self.note(events)

    def put(self, messages: Sequence[Message], now_us: int, max_queue: int) -> None:
        """Queues the accepted messages as far as there is room (R14)."""
        room = max_queue - len(self.queue)
        if len(messages) > room:
            excess = len(messages) - room
            self.not_handled["overflow"] += excess
            self.findings.hit(coverage.RECEIVER, "queue overflow")
            self.note(self.core.overflowed(messages[0].session, excess, now_us / 1e6))
            self.core.in_hand = ()
            messages = messages[:room]
        self.queue.extend(messages)

    def handle(self, limit: int, start: Callable[[Message, Incarnation], None], *, raises: bool) -> None:
        """Starts the handler, which may raise."""
        for _ in range(min(limit, len(self.queue))):
            start(self.queue.popleft(), self)
            self.handled += 1
            if raises:
                self.core.handler_failed()
                self.handler_errors += 1
                self.findings.hit(coverage.RECEIVER, "handler raised")

    def elapse(self, now_us: int) -> None:
        """Handles what is due; the next deadline must then lie ahead."""
        now = now_us / 1e6
        self._handle_deadline(now)
        deadline = self.core.next_deadline()
        if deadline is not None and deadline <= now:
            self.findings.violate(ViolationKind.STUCK, f"{self.label}: still due after it was handled")

    def _handle_deadline(self, now: float) -> None:
        self.note(self.core.handle_deadline(now))
        self.core.in_hand = ()  # it was seen

    def catch_up(self, now_us: int) -> None:
        """Handles everything that came due until now, each deadline at its time."""
        now = self.clock[0] / 1e6
        while (deadline := self.core.next_deadline()) is not None and deadline <= now_us / 1e6:
            now = max(now, deadline)  # an overdue deadline is handled late, because time never goes back
            self._handle_deadline(now)
            deadline = self.core.next_deadline()
            if deadline is not None and deadline <= now:
                self.findings.violate(ViolationKind.STUCK, f"{self.label}: still due after it was handled")
                return

    def discard(self) -> None:
        """Closes in good order: what is queued is discarded and counted."""
        for key, count in self.queued().items():
            self.core.discarded(key, count)
            self.not_handled["discarded"] += count
            self.findings.hit(coverage.RECEIVER, "closed with a full queue")
        self.queue.clear()

    def queued(self) -> dict[bytes, int]:
        """Messages waiting for the handler, by session."""
        return dict(Counter(message.session.key for message in self.queue))

    def note(self, events: Sequence[Event]) -> list[Message]:
        """Records the core's events and returns its messages."""
        messages: list[Message] = []
        for event in events:
            if isinstance(event, Message):
                messages.append(event)
            else:
                self._note(event)
        return messages

    def _note(self, event: Event) -> None:
        findings, told = self.findings, self.told
        if isinstance(event, Loss):
            told["loss"] += event.count
            findings.hit(coverage.RECEIVER, _WHERE[event.place])
        elif isinstance(event, LateArrival):
            told["late"] += event.count
            findings.hit(coverage.RECEIVER, "late arrival")
        elif isinstance(event, SessionEvicted):
            self.witness.evict(event.session.key)
            self._evicted_now.append(event.session.key)
            findings.hit(coverage.RECEIVER, "live session evicted" if event.live else "silent session evicted")
        elif isinstance(event, SessionOpened) and event.before_join:
            findings.hit(coverage.RECEIVER, "joined late")
        elif isinstance(event, DatagramRefused):
            told[f"refused {event.reason.value}"] += event.count
        elif isinstance(event, QueueOverflow):
            told["overflow"] += event.count
        elif isinstance(event, ClockAlarm):
            told[f"alarm {event.trouble.value}"] += event.count
            findings.hit(coverage.RECEIVER, f"alarm: {event.trouble.value}")
        if findings.trace is not None:
            findings.say(f"{self.label} tells {event}")

    def _accepted(self, arrived: Arrived, data: bytes, now_us: int) -> None:
        """Books an accepted datagram, even a forged one."""
        entry, findings = arrived.entry, self.findings
        self.accepted_total += 1
        if arrived.flip is not None:
            findings.violate(ViolationKind.UNEXPECTED, f"{self.label} accepted {entry.label} with a damaged bit")
        facts = read_facts(data)
        assert facts is not None, "a datagram without a header was accepted"
        if (wrong := self.witness.forbids(facts)) is not None:
            findings.violate(ViolationKind.WRONG_VERDICT, f"{self.label} accepted {entry.label}: {wrong}")
        if not entry.honest:
            findings.hit(coverage.FORGERY, "accepted")
            if facts.key in self.witness.sessions:
                findings.hit(coverage.FORGERY, "accepted in a sender's name")
            if facts.sequence > FAR:
                findings.hit(coverage.FORGERY, "accepted after a confirmed jump")
        self.witness.accept(facts, honest=entry.honest)
        entry.accepted_at.append((self.receiver, self.number, now_us))
        self._accepted_now.append(entry)
        if findings.trace is not None:
            findings.say(f"{self.label} accepts {entry.label}")

    def _classify_contradiction(self, facts: Facts | None) -> None:
        """Counts a forged datagram that was refused although nothing but the messages before it was wrong (R11.7)."""
        resident = None if facts is None else self.witness.sessions.get(facts.key)
        if (
            facts is None
            or resident is None
            or facts.sequence != resident.highest + 1
            or facts.sent_us < facts.start_us
        ):
            return
        if resident.end < facts.prior < FAR:
            self.findings.hit(coverage.FORGERY, "refused, the next number after too many messages")
        elif facts.prior < resident.end:
            self.findings.hit(coverage.FORGERY, "refused, the next number after too few messages")

    def _tainted(self, entry: Entry) -> bool:
        resident = self.witness.sessions.get(entry.facts.key) if entry.facts else None
        return resident is not None and resident.tainted

    def _expected(self, entry: Entry, wall_us: int) -> RefusalReason | None:
        assert entry.facts is not None
        expected = self.witness.expects(entry.facts, wall_us)
        return RefusalReason.AUTH_FAILED if expected is None and self.audience else expected


def classify(findings: Findings, incarnation: Incarnation, entry: Entry, now_us: int, wall_us: int) -> None:
    """Counts, for the coverage, how an undamaged datagram of a sender stands to the incarnation about to judge it."""
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
    """Counts a datagram that some receiver accepted before."""
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
    """Counts the first arrival of a datagram of a known session."""
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
