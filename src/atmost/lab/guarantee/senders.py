"""The senders' side of the world: applies their steps and puts their datagrams on the tape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from xxhash import xxh3_64_intdigest

from atmost.core.datagram import Kind, encode_message
from atmost.core.events import DropReason
from atmost.core.limits import GOODBYES, OVERHEAD
from atmost.core.seal import ChecksumSeal
from atmost.core.sending import Outgoing, SenderCore
from atmost.lab.guarantee import coverage
from atmost.lab.guarantee.cores import fork_afresh
from atmost.lab.guarantee.findings import Findings, ViolationKind
from atmost.lab.guarantee.parameters import EPOCH_US, HOUR_US, LEAP_US, Parameters
from atmost.lab.guarantee.signals import NEVER, Interruption, Signal
from atmost.lab.guarantee.steps import (
    AMBIGUOUS,
    TOO_LARGE,
    CloseSender,
    CrashSender,
    Forge,
    Fork,
    Offer,
    SenderCrashPoint,
    StartSender,
    Turn,
)
from atmost.lab.guarantee.tape import MESSAGES_A_STEP, Entry, Tape
from atmost.transport.base import NETWORK_DATAGRAM

# A sender drives its core as the endpoint does, without threads and with a socket that answers as the step says.
#
# It keeps its own count of what it was offered and what became of it, to check the core's figures against.

_DATAGRAMS_A_TURN: Final = 64


class HandOver(NamedTuple):
    """One attempt to transmit a datagram."""

    outgoing: Outgoing
    transmitted: bool
    answer: str | None


class SimulatedSender:
    """One life of a sender's process."""

    def __init__(self, name: str, life: str, core: SenderCore) -> None:
        """Args: name: for the trace. life: unique; the source of its sessions' random part. core: a new one."""
        self.name = name
        self.core = core
        self.sessions = 0
        self.offered = 0
        self.handed_over = 0
        self.refused: Counter[str] = Counter()
        self.clock: tuple[int, int] | None = None
        """Virtual time and the wall clock at the previous step (µs)."""
        self._life = life
        self._done: list[HandOver] = []
        self._booking: HandOver | None = None

    def taken(self) -> list[HandOver]:
        """What was handed over since the last call, also by work that was interrupted."""
        done, self._done = self._done, []
        return done

    def interrupted(self) -> str:
        """Settles the simulated counts after a signal handler has raised: what may have left counts as handed over (R6).

        Returns:
            What was under way.
        """
        core, booking = self.core, self._booking
        if core.stats().offered == self.offered - 1:  # the message was not taken yet
            self.offered -= 1
        self._booking = None
        if booking is None:
            return "numbered and handed over later" if core.held is not None and not core.held.attempted else ""
        if core.held is not booking.outgoing:  # it was booked as the socket answered
            self._count(booking)
        elif booking.outgoing.attempted:
            self.handed_over += booking.outgoing.count
            return "handed over and not booked"
        return ""

    def send(
        self, item: bytes, now: float, wall_us: int, answer: str | None, interruption: Interruption = NEVER
    ) -> None:
        """Treats an encoded message as `Sender.send` does."""
        with interruption:
            self._send(item, now, wall_us, answer)

    def _send(self, item: bytes, now: float, wall_us: int, answer: str | None) -> None:
        core = self.core
        self.offered += 1
        size = core.size + len(item)
        if size > core.capacity:
            self._send_the_long_way(item, now, wall_us, answer)
            return
        core.open.append(item)
        core.size = size
        if len(core.open) == 1:
            self._first_in(now, wall_us, answer)

    def hand_over(
        self, now: float, wall_us: int, answer: str | None, *, flush: bool, crash: SenderCrashPoint | None = None
    ) -> None:
        """Hands over what is due, up to the crash point if there is one."""
        core = self.core
        core.recover(now)
        if core.needs_session(wall_us):
            if not core.began and not core.open:
                return
            self.sessions += 1
            core.begin(xxh3_64_intdigest(f"{self._life} {self.sessions}".encode()), wall_us, now)
        for _ in range(_DATAGRAMS_A_TURN):
            outgoing = core.next_datagram(now, wall_us, flush=flush)
            if outgoing is None:
                break
            if crash is SenderCrashPoint.AFTER_NUMBERING:
                self._done.append(HandOver(outgoing, transmitted=False, answer=None))
                break
            if crash is SenderCrashPoint.AFTER_HAND_OVER:
                self._done.append(HandOver(outgoing, transmitted=True, answer=answer))
                break
            self._transmit(outgoing, answer, now)
            if answer == TOO_LARGE:
                core.shrink((core.room + OVERHEAD) // 2)

    def close(self, now: float, wall_us: int, answer: str | None) -> None:
        """Closes as `Sender.close` does, with all goodbyes at one moment; then a further message is offered, and dropped."""
        core = self.core
        self.hand_over(now, wall_us, answer, flush=True)
        core.close()
        for _ in range(GOODBYES):
            self.hand_over(now, wall_us, answer, flush=True)
            outgoing = core.goodbye(now, wall_us)
            if outgoing is not None:
                self._transmit(outgoing, answer, now)
        self.offered += 1
        core.drop(DropReason.CLOSED)

    def fork(self, name: str, life: str, fork: Callable[[SenderCore], SenderCore], *, unseen: bool) -> SimulatedSender:
        """Returns the child's sender; after an unseen fork it drops and counts what may be its parent's."""
        child = SimulatedSender(name, life, fork(self.core))
        if unseen:
            for _ in self.core.open:
                child.offered += 1
                child.core.drop(DropReason.FORKED)
        return child

    def check(self) -> str | None:
        """What is wrong with the core's account (R20); None if nothing is."""
        stats = self.core.stats()
        if stats.offered != self.offered:
            return f"{self.name}: offered {self.offered}, but the parts of its account add up to {stats.offered}"
        if stats.handed_over != self.handed_over:
            return f"{self.name}: handed over {self.handed_over}, counted {stats.handed_over}"
        # Counters, so that a reason counted 0 times equals a missing one.
        if Counter(stats.refused) != self.refused:
            return f"{self.name}: refused {dict(self.refused)}, counted {stats.refused}"
        return None

    def _send_the_long_way(self, item: bytes, now: float, wall_us: int, answer: str | None) -> None:
        core, options = self.core, self.core.options
        if core.open and core.size + len(item) > core.room and not core.closed:
            self.hand_over(now, wall_us, answer, flush=True)
        if not core.offer(item, now):
            return
        if not options.linger:
            self.hand_over(now, wall_us, answer, flush=True)
        elif len(core.open) == 1:
            self._first_in(now, wall_us, answer)

    def _first_in(self, now: float, wall_us: int, answer: str | None) -> None:
        core = self.core
        core.open_since = now
        if now >= core.immediate_at:
            self.hand_over(now, wall_us, answer, flush=True)

    def _transmit(self, outgoing: Outgoing, answer: str | None, now: float) -> None:
        """The system call and its booking; an interruption may come into the booking."""
        outgoing.attempted = True
        self._booking = done = HandOver(outgoing, answer is None or answer == AMBIGUOUS, answer)
        self._done.append(done)
        self.core.handed_over(outgoing, answer, now)
        self._count(done)
        self._booking = None

    def _count(self, done: HandOver) -> None:
        if done.answer is None:
            self.handed_over += done.outgoing.count
        elif self.core.held is not done.outgoing:
            self.refused[done.answer] += done.outgoing.count


def subject_of(message: int) -> str:
    """The subject a message is sent on, from its number."""
    return f"sim.{message % 7}"


class Emission:
    """All senders, and what they transmit."""

    def __init__(self, parameters: Parameters, tape: Tape, findings: Findings) -> None:
        """Args: parameters: of the run. tape, findings: the cast's."""
        self.living: dict[str, SimulatedSender] = {}
        self.sent: list[Entry] = []
        """The datagrams that the current step transmitted; the world empties it before a step."""
        self.socket_refused: Counter[bytes] = Counter()
        """Messages the sockets said they refused, by session."""
        self._parameters = parameters
        self._tape = tape
        self._findings = findings
        self._seal = ChecksumSeal()
        self._held: dict[str, bytes] = {}
        """Datagrams that are numbered but not yet taken by the socket, by sender."""
        self._sessions: Counter[str] = Counter()

    def start(self, step: StartSender) -> None:
        """Begins a sender's life and ends the previous one."""
        if step.sender in self._sessions:
            self._findings.hit(coverage.SENDER, "restart")
        life = f"{step.sender} {self._findings.step}"
        self.living[step.sender] = SimulatedSender(step.sender, life, self._fresh(step.sender))
        self._held.pop(step.sender, None)
        self._findings.figures["senders"] += 1
        if len(self.living) > self._parameters.receiver.max_sessions:
            self._findings.hit(coverage.SENDER, "more sessions than the table holds")

    def offer(self, step: Offer) -> None:
        """Sends messages, one call each."""
        sender = self.living.get(step.sender)
        if sender is None:
            return
        filler, sessions = bytes(self._parameters.payload), sender.sessions
        now, first = step.now_us / 1e6, self._findings.step * MESSAGES_A_STEP
        interruption = Interruption(step.signal)
        for message in range(first, first + step.messages):
            item = encode_message((subject_of(message), (message, filler)))
            try:
                sender.send(item, now, step.wall_us, step.answer, interruption)
            except Signal:
                self._note_interruption(sender)
            self._record(sender)
        self._findings.figures["messages_offered"] += step.messages
        self._check(sender)
        self._classify_clock(sender, step, sessions)

    def turn(self, step: Turn) -> None:
        """Runs the flusher's turn, or a `flush()`."""
        sender = self.living.get(step.sender)
        if sender is None:
            return
        sessions = sender.sessions
        try:
            with Interruption(step.signal):
                sender.hand_over(step.now_us / 1e6, step.wall_us, step.answer, flush=step.flush)
        except Signal:
            self._note_interruption(sender)
        self._record(sender)
        self._check(sender)
        self._classify_clock(sender, step, sessions)

    def close(self, step: CloseSender) -> None:
        """Closes a sender, which says goodbye."""
        sender = self.living.pop(step.sender, None)
        if sender is None:
            return
        sender.close(step.now_us / 1e6, step.wall_us, step.answer)
        self._record(sender)
        self._check(sender)

    def crash(self, step: CrashSender) -> None:
        """Kills a sender in the middle of a hand-over; its counts are lost with it."""
        sender = self.living.pop(step.sender, None)
        if sender is None:
            return
        if not sender.core.open:
            return
        self._findings.hit(coverage.SENDER_CRASH, step.point.value)
        if step.point is not SenderCrashPoint.BEFORE_NUMBERING:
            sender.hand_over(step.now_us / 1e6, step.wall_us, None, flush=True, crash=step.point)
            self._record(sender)

    def fork(self, step: Fork) -> None:
        """Gives a child of a sender's process a sender of its own."""
        parent = self.living.get(step.sender)
        if parent is None:
            return
        life = f"{step.child} {self._findings.step}"

        def go_on(core: SenderCore) -> SenderCore:
            return fork_afresh(core, lambda: self._fresh(step.child))

        self.living[step.child] = parent.fork(step.child, life, go_on, unseen=step.unseen)
        self._findings.figures["senders"] += 1
        self._findings.hit(coverage.SENDER, "fork unseen" if step.unseen else "fork")
        if parent.core.open:
            self._findings.hit(coverage.SENDER, "fork with a full buffer")
        self._count_drops(self.living[step.child])

    def forge(self, step: Forge) -> None:
        """Puts a forged datagram on the tape; the adversary may deliver it at any time."""
        entry = Entry(step.name, step.name, step.data, honest=False)
        self._tape.add(entry)
        self._findings.figures["forged"] += 1

    def _fresh(self, name: str) -> SenderCore:
        parameters = self._parameters
        return SenderCore(
            parameters.sender,
            parameters.sender.max_datagram or NETWORK_DATAGRAM,
            lambda _session: self._seal,
            name=name,
            host="sim",
            pid=1,
            step_back=parameters.receiver.future_bound / 2,
        )

    def _note_interruption(self, sender: SimulatedSender) -> None:
        self._findings.hit(coverage.SENDER, "interrupted by a signal")
        under_way = sender.interrupted()
        if under_way:
            self._findings.hit(coverage.SENDER, f"interrupted, {under_way}")
        self._findings.say(f"{sender.name} is interrupted{f', {under_way}' if under_way else ''}")

    def _record(self, sender: SimulatedSender) -> None:
        """Puts numbered datagrams on the tape, and checks that no number and no datagram is used twice."""
        for hand_over in sender.taken():
            data = hand_over.outgoing.data
            if self._held.pop(sender.name, None) == data:
                entry = self._tape.find(data)
                if hand_over.transmitted:
                    self._findings.hit(coverage.SENDER, "held, then handed over")
            else:
                entry = self._number(sender, data)
            if hand_over.answer is not None:
                self._findings.hit(coverage.SENDER, f"socket says {hand_over.answer}")
            if sender.core.held is hand_over.outgoing:
                self._held[sender.name] = data
            elif hand_over.answer is not None and not entry.refused:
                entry.refused = True
                assert entry.facts is not None
                self.socket_refused[entry.facts.key] += entry.facts.messages
            if hand_over.transmitted:
                if entry.transmitted:
                    text = f"{entry.label} was handed over again"
                    self._findings.violate(ViolationKind.SENT_AGAIN, text)
                entry.transmitted = True
                self.sent.append(entry)
                self._findings.figures["datagrams_sent"] += 1
            outcome = "hands over" if hand_over.transmitted else "numbers"
            self._findings.say(
                f"{sender.name} {outcome} {entry.label}{f', told {hand_over.answer}' if hand_over.answer else ''}"
            )

    def _number(self, sender: SimulatedSender, data: bytes) -> Entry:
        """Puts a new datagram on the tape."""
        findings, tape = self._findings, self._tape
        entry = Entry(tape.next_name(findings.step), "", data, honest=True)
        facts = entry.facts
        assert facts is not None
        session = tape.labels.get(facts.key)
        if session is None:
            self._sessions[sender.name] += 1
            session = tape.labels[facts.key] = f"{sender.name}/{self._sessions[sender.name]}"
        kind = "" if facts.kind == Kind.DATA else f" ({Kind(facts.kind).name.lower()})"
        entry.label = f"{session}#{facts.sequence}{kind}"
        before = tape.add(entry)
        if before is not entry:
            findings.violate(ViolationKind.NUMBER_REUSED, f"{entry.label} is a second datagram of this number")
        findings.figures["datagrams_numbered"] += 1
        return entry

    def _check(self, sender: SimulatedSender) -> None:
        problem = sender.check()
        if problem is not None:
            self._findings.violate(ViolationKind.SENDER_UNBALANCED, problem)
        self._count_drops(sender)

    def _classify_clock(self, sender: SimulatedSender, step: Offer | Turn, sessions: int) -> None:
        before, sender.clock = sender.clock, (step.now_us, step.wall_us)
        if abs(step.wall_us - step.now_us - EPOCH_US) > 12 * HOUR_US:
            self._findings.hit(coverage.SENDER, "clock a day away")
        if before is None:
            return
        if step.wall_us < before[1]:
            kind = "same session" if sender.sessions == sessions else "new session"
            self._findings.hit(coverage.SENDER, f"clock back, {kind}")
        elif step.wall_us - before[1] > step.now_us - before[0] + LEAP_US:
            self._findings.hit(coverage.SENDER, "clock forward")

    def _count_drops(self, sender: SimulatedSender) -> None:
        for reason in sender.core.stats().dropped:
            self._findings.hit(coverage.SENDER, f"dropped: {reason}")
