"""The receivers' side of the world: every step of theirs, and the one thing that must never happen twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from atmost.core.accounts import Ledger
from atmost.core.events import Message
from atmost.core.limits import HEADER, TAG
from atmost.core.seal import no_keys
from atmost.lab.simulator import coverage
from atmost.lab.simulator.accounts import check_ledger
from atmost.lab.simulator.clocks import LEAP_US
from atmost.lab.simulator.cores import Cores
from atmost.lab.simulator.emission import subject_of
from atmost.lab.simulator.findings import Findings
from atmost.lab.simulator.incarnation import Arrived, Incarnation
from atmost.lab.simulator.parameters import AUDIENCES, Parameters
from atmost.lab.simulator.steps import Check, Close, Crash, CrashPoint, Deliver, Elapse, StartReceiver, Work
from atmost.lab.simulator.tape import MESSAGES_A_STEP, Entry, Tape
from atmost.lab.simulator.violations import ViolationKind
from atmost.lab.simulator.witness import Witness


class Reception:
    """All receivers, their lives, and whose handler was started for what."""

    def __init__(
        self, parameters: Parameters, cores: Cores, tape: Tape, findings: Findings, socket_refused: Mapping[bytes, int]
    ) -> None:
        """Args: parameters: of the run. cores: the code under test. The rest is the world's."""
        self.incarnations: Counter[str] = Counter()
        """How many lives each receiver has had."""
        self.latest_us: dict[str, int] = {}
        """The greatest reading any incarnation of a receiver used (H1)."""
        self.accepted: list[Entry] = []
        self.evicted: list[bytes] = []
        """What the current step accepted and evicted; the world empties both before a step."""
        self.settled: dict[str, Ledger] = {}
        """Each receiver's account when everything had settled."""
        self._living: dict[str, list[Incarnation]] = {}
        self._parameters = parameters
        self._cores = cores
        self._tape = tape
        self._findings = findings
        self._socket_refused = socket_refused
        self._started: dict[int, str] = {}

    def newest(self, receiver: str) -> Incarnation | None:
        """The incarnation that listens now."""
        living = self._living.get(receiver)
        return living[0] if living else None

    def start(self, step: StartReceiver) -> None:
        """A new incarnation; whoever lived before it crashes, unless H2 is broken."""
        options, name, shard = self._parameters.receiver, step.receiver, self._parameters.shard(step.receiver)
        self.incarnations[name] += 1
        incarnation = Incarnation(
            name,
            self.incarnations[name],
            self._cores.receiver(options, step.wall_us, no_keys(AUDIENCES[name]), shard),
            Witness(options, step.wall_us, shard),
            audience=AUDIENCES[name],
            findings=self._findings,
            accepted=self.accepted,
            evicted=self.evicted,
        )
        incarnation.clock = (step.now_us, step.wall_us)
        survivors = self._living.get(name, []) if step.overlap else []
        self._living[name] = [incarnation, *survivors]
        if name in self.latest_us:
            self._classify_restart(self.latest_us[name] - step.wall_us)
        self._use(name, step.wall_us)
        self._findings.figures["incarnations"] += 1
        self._findings.say(f"{incarnation.label} starts, floor {incarnation.core.floor_us}")

    def deliver(self, step: Deliver) -> None:
        """Copies of a datagram arrive, and are read and handled as far as the step says."""
        entry = self._tape.entries.get(step.datagram)
        if entry is None:
            return
        self._findings.figures["deliveries"] += step.copies
        self._findings.figures["replays"] += step.copies * step.replay
        living = self._living.get(step.receiver, [])
        if step.age >= len(living):
            self._findings.hit(coverage.LINK, "nobody listening")
            return
        restarts = self.incarnations[step.receiver] - entry.incarnations
        if not step.replay and restarts in {1, 2, 3}:
            self._findings.hit(coverage.LINK, f"delayed across {restarts} restart{'s' if restarts > 1 else ''}")
        incarnation = living[step.age]
        if step.flip is not None:
            self._findings.hit(coverage.LINK, f"{_part(step.flip, len(entry.data))} damaged")
        for _ in range(step.copies):
            incarnation.arrive(Arrived(entry, step.flip), self._parameters.kernel_buffer)
            self._serve(incarnation, step)

    def work(self, step: Work) -> None:
        """A busy receiver comes back to its socket and its queue."""
        incarnation = self.newest(step.receiver)
        if incarnation is not None:
            if incarnation.buffer or incarnation.queue:
                self._findings.hit(coverage.RECEIVER, "handler slow")
            self._serve(incarnation, step)

    def elapse(self, step: Elapse) -> None:
        """A deadline has come."""
        for incarnation in self._living.get(step.receiver, []):
            incarnation.elapse(step.now_us)

    def crash(self, step: Crash) -> None:
        """A receiver dies at a point; everything it had is gone, and its address is free."""
        living = self._living.pop(step.receiver, [])
        if not living:
            return
        incarnation, point = living[0], step.point
        if step.wall_us <= incarnation.witness.boot_floor:
            self._findings.hit(coverage.RECEIVER_CRASH, CrashPoint.STARTING)
        if self._die(incarnation, step):
            self._findings.hit(coverage.RECEIVER_CRASH, point.value)
        self._findings.figures["crashes"] += 1

    def close(self, step: Close) -> None:
        """A receiver is closed in good order, and its account is complete."""
        incarnation = self.newest(step.receiver)
        if incarnation is None:
            return
        incarnation.discard()
        self._look(incarnation, step.now_us, settled=False)
        del self._living[step.receiver]

    def check(self, step: Check) -> None:
        """A look at the account; one that is said to be settled has handled everything that came due until then."""
        for incarnation in self._living.get(step.receiver, []):
            if step.settled:
                incarnation.catch_up(step.now_us)
            self._look(incarnation, step.now_us, settled=step.settled)

    def _die(self, incarnation: Incarnation, step: Crash) -> bool:
        """Does what a receiver does up to the point; False when it did not come so far."""
        now_us, wall_us = step.now_us, step.wall_us
        match step.point:
            case CrashPoint.IDLE | CrashPoint.STARTING:
                return step.point is CrashPoint.IDLE and not incarnation.buffer and not incarnation.queue
            case CrashPoint.BEFORE_TAG:
                return bool(incarnation.buffer)
            case CrashPoint.AFTER_MARK:
                if not incarnation.buffer:
                    return False
                self._use(step.receiver, wall_us)
                return bool(incarnation.take(incarnation.buffer.popleft(), now_us, wall_us))
            case CrashPoint.QUEUED | CrashPoint.IN_HANDLER:
                if incarnation.buffer:
                    self._use(step.receiver, wall_us)
                incarnation.read(len(incarnation.buffer), now_us, wall_us, self._parameters.max_queue)
                reached = bool(incarnation.queue)
                if step.point is CrashPoint.IN_HANDLER:
                    incarnation.handle(1, self._start_handler, raises=False)
                return reached

    def _serve(self, incarnation: Incarnation, step: Deliver | Work) -> None:
        if step.read and incarnation.buffer:
            self._use(step.receiver, step.wall_us)
            if step.wall_us - incarnation.clock[1] > step.now_us - incarnation.clock[0] + LEAP_US:
                self._findings.hit(coverage.RECEIVER, "clock forward")
            incarnation.clock = (step.now_us, step.wall_us)
            incarnation.read(step.read, step.now_us, step.wall_us, self._parameters.max_queue)
        incarnation.handle(step.handle, self._start_handler, raises=step.raises)

    def _start_handler(self, message: Message, incarnation: Incarnation) -> None:
        name, arrival, findings = int(message.payload[0]), message.arrival, self._findings
        findings.figures["messages_processed"] += 1
        label = f"message {name // MESSAGES_A_STEP}.{name % MESSAGES_A_STEP}"
        findings.say(f"{incarnation.label} handles {label}")
        home, homes = (arrival.session.key, arrival.sequence), self._tape.homes.get(name, [])
        # A sender's message that the adversary imitated has left the guarantee: without a key there is no H0.
        forged = name in self._tape.forged
        if home not in homes or incarnation.audience or (message.subject != subject_of(name) and not forged):
            text = f"{incarnation.label} handles {label} of datagram {arrival.sequence}, which nobody sent to it"
            findings.violate(ViolationKind.UNEXPECTED, text)
        before = self._started.get(name)
        self._started[name] = incarnation.label
        if before is not None and not (forged and len(homes) > 1):
            text = f"the handler of {label} was started in {before}, and again in {incarnation.label}"
            findings.violate(ViolationKind.DUPLICATE, text)

    def _look(self, incarnation: Incarnation, now_us: int, *, settled: bool) -> None:
        ledger = check_ledger(incarnation, self._tape, self._socket_refused, now_us, settled=settled)
        self._findings.figures["checks"] += 1
        if settled:
            self.settled[incarnation.receiver] = ledger
        if self._findings.trace is not None:
            names = ("sent", "delivered", "queued", "overflow", "discarded", "pending", "lost", "late", "before_join")
            figures = ", ".join(f"{name} {getattr(ledger, name)}" for name in names)
            self._findings.say(f"{incarnation.label} accounts for: {figures}")

    def _use(self, receiver: str, wall_us: int) -> None:
        self.latest_us[receiver] = max(wall_us, self.latest_us.get(receiver, wall_us))

    def _classify_restart(self, back_us: int) -> None:
        guard_us = round(self._parameters.receiver.clock_guard * 1e6)
        if 0 < back_us < guard_us:
            self._findings.hit(coverage.RECEIVER, "restart, clock back within G")
        elif 0 < back_us == guard_us:
            self._findings.hit(coverage.RECEIVER, "restart, clock back by exactly G")


def _part(bit: int, length: int) -> str:
    byte = bit // 8 % length
    if byte < HEADER:
        return "header"
    return "tag" if byte >= length - TAG else "body"
