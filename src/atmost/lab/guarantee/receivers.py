"""The receivers of the simulated world, and the check of their ledgers against the truth (R19–R23).

A ledger must keep its identities, its figures must match what really happened, and events and ledger must agree.
The truth about a session's loss is on the tape. Lost are the messages numbered from its origin to its end whose datagrams
this incarnation did not accept, because they were lost by the link, refused by the sender's socket, numbered and never
handed over, dropped by the kernel, sent while nobody listened, or refused with a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from atmost.core.accounts import Account, Ledger, SessionLedger
from atmost.core.events import (
    Message,
    Place,
    Tail,
)
from atmost.core.limits import HEADER, TAG
from atmost.core.seal import no_keys
from atmost.lab.guarantee import coverage
from atmost.lab.guarantee.cores import ObservedReceiver
from atmost.lab.guarantee.findings import Findings, ViolationKind
from atmost.lab.guarantee.incarnation import Arrived, Incarnation
from atmost.lab.guarantee.parameters import AUDIENCES, LEAP_US, Parameters
from atmost.lab.guarantee.senders import subject_of
from atmost.lab.guarantee.signals import Interruption
from atmost.lab.guarantee.steps import Check, Close, Crash, CrashPoint, Deliver, Elapse, StartReceiver, Work
from atmost.lab.guarantee.tape import MESSAGES_A_STEP, Entry, Tape
from atmost.lab.guarantee.witness import Resident, Witness


class Reception:
    """All receivers, their lives, and the messages for which a handler was started."""

    def __init__(
        self, parameters: Parameters, tape: Tape, findings: Findings, socket_refused: Mapping[bytes, int]
    ) -> None:
        """Args: parameters: of the run. The rest is the cast's."""
        self.incarnations: Counter[str] = Counter()
        """Number of lives of each receiver so far."""
        self.latest_us: dict[str, int] = {}
        """The greatest reading any incarnation of a receiver used (H1)."""
        self.accepted: list[Entry] = []
        self.evicted: list[bytes] = []
        """The datagrams accepted and sessions evicted in the current step; the world empties both before a step."""
        self.settled: dict[str, Ledger] = {}
        """Each receiver's account when everything had settled."""
        self._living: dict[str, list[Incarnation]] = {}
        self._parameters = parameters
        self._tape = tape
        self._findings = findings
        self._socket_refused = socket_refused
        self._started: dict[int, str] = {}

    def newest(self, receiver: str) -> Incarnation | None:
        """The incarnation that listens now."""
        living = self._living.get(receiver)
        return living[0] if living else None

    def start(self, step: StartReceiver) -> None:
        """Begins a new incarnation; the previous one crashes, unless H2 is broken."""
        options, name, shard = self._parameters.receiver, step.receiver, self._parameters.shard(step.receiver)
        self.incarnations[name] += 1
        incarnation = Incarnation(
            name,
            self.incarnations[name],
            ObservedReceiver(options, step.wall_us, no_keys(AUDIENCES[name]), shard),
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
        """Lets copies of a datagram arrive, and reads and handles as many as the step says."""
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
        """Lets a busy receiver return to its socket and its queue."""
        incarnation = self.newest(step.receiver)
        if incarnation is not None:
            if incarnation.buffer or incarnation.queue:
                self._findings.hit(coverage.RECEIVER, "handler slow")
            self._serve(incarnation, step)

    def elapse(self, step: Elapse) -> None:
        """Lets a receiver handle a deadline."""
        for incarnation in self._living.get(step.receiver, []):
            incarnation.elapse(step.now_us)

    def crash(self, step: Crash) -> None:
        """Kills a receiver at a crash point; all its state is lost, and its address is free."""
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
        """Closes a receiver in good order; its account is then complete."""
        incarnation = self.newest(step.receiver)
        if incarnation is None:
            return
        incarnation.discard()
        self._look(incarnation, step.now_us, settled=False)
        del self._living[step.receiver]

    def check(self, step: Check) -> None:
        """Checks the account; a settled receiver first handles everything that came due until then."""
        for incarnation in self._living.get(step.receiver, []):
            if step.settled:
                incarnation.catch_up(step.now_us)
            self._look(incarnation, step.now_us, settled=step.settled)

    def _die(self, incarnation: Incarnation, step: Crash) -> bool:
        """Acts as the receiver does up to the crash point; False if it did not get that far."""
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
            incarnation.read(
                step.read, step.now_us, step.wall_us, self._parameters.max_queue, Interruption(step.signal)
            )
        incarnation.handle(step.handle, self._start_handler, raises=step.raises)

    def _start_handler(self, message: Message, incarnation: Incarnation) -> None:
        name, arrival, findings = int(message.payload[0]), message.arrival, self._findings
        findings.figures["messages_processed"] += 1
        label = f"message {name // MESSAGES_A_STEP}.{name % MESSAGES_A_STEP}"
        findings.say(f"{incarnation.label} handles {label}")
        home, homes = (arrival.session.key, arrival.sequence), self._tape.homes.get(name, [])
        # The guarantee does not cover a sender's message that the adversary imitated: without a key H0 does not hold.
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


def check_ledger(
    incarnation: Incarnation, tape: Tape, refused: Mapping[bytes, int], now_us: int, *, settled: bool
) -> Ledger:
    """Checks everything about an incarnation's account that must hold at this moment.

    Args:
        incarnation: the owner of the account.
        tape: the truth.
        refused: messages the senders' sockets said they refused, by session.
        now_us: virtual time (µs).
        settled: nothing is on its way, and all graces and quiet times are over.
    """
    ledger = incarnation.core.ledger(now_us / 1e6, incarnation.queued(), incarnation.kernel_drops)
    violate, label = incarnation.findings.violate, incarnation.label
    if not ledger.balanced():
        violate(ViolationKind.UNBALANCED, f"{label}: {_figures(ledger)} of {ledger.sent} sent")
    _check_figures(incarnation, ledger)
    _check_told(incarnation, ledger, settled=settled)
    _check_not_decreased(incarnation, b"", ledger)
    # Both list sessions in the order of their first datagrams; their random parts alone could be imitated.
    sessions = list(incarnation.witness.sessions.items())
    if [row.id for row in ledger.sessions] != [key[10:].hex() for key, _ in sessions]:
        violate(ViolationKind.MISCOUNTED, f"{label}: remembers {len(ledger.sessions)} sessions of {len(sessions)}")
        return ledger
    for row, (key, resident) in zip(ledger.sessions, sessions, strict=True):
        _check_not_decreased(incarnation, key, row)
        _check_session(incarnation, row, resident)
        if not resident.tainted:
            _check_truth(incarnation, tape, key, row, resident, refused.get(key, 0))
    if settled and ledger.pending:
        violate(ViolationKind.PENDING, f"{label}: {ledger.pending} messages pending after all graces")
    return ledger


def _check_figures(incarnation: Incarnation, ledger: Ledger) -> None:
    """Compares the ledger with the simulated endpoint's own counts."""
    totals = incarnation.witness.figures()
    expected = {
        "sent": totals["sent"],
        "before_join": totals["before_join"],
        "datagrams_in": incarnation.read_total,
        "accepted": incarnation.accepted_total,
        "refused": dict(incarnation.refused),
        "delivered": incarnation.handled,
        "queued": len(incarnation.queue),
        "overflow": incarnation.not_handled["overflow"],
        "discarded": incarnation.not_handled["discarded"],
        "handler_errors": incarnation.handler_errors,
        "kernel_drops": incarnation.kernel_drops,
    }
    for name, value in expected.items():
        said = getattr(ledger, name)
        if said != value:
            text = f"{incarnation.label}: {name} is {value}, the ledger says {said}"
            incarnation.findings.violate(ViolationKind.MISCOUNTED, text)
    if ledger.lost + ledger.pending != totals["missing"]:
        text = f"{incarnation.label}: {totals['missing']} missing, {ledger.lost} lost and {ledger.pending} pending"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, text)


def _check_told(incarnation: Incarnation, ledger: Ledger, *, settled: bool) -> None:
    """Loss is reported as it is booked; events limited to one in ten seconds are complete once these are over (R23)."""
    told = incarnation.told
    pairs = {"loss": ledger.lost + ledger.late, "late": ledger.late}
    if (
        settled and not incarnation.interrupted
    ):  # an episode may be noted, and not told, when an exception comes in between
        pairs |= {f"refused {reason}": count for reason, count in ledger.refused.items()}
        pairs |= {f"alarm {trouble}": count for trouble, count in ledger.clock_troubles.items()}
        pairs["overflow"] = ledger.overflow
    for name, booked in pairs.items():
        if told[name] != booked:
            text = f"{incarnation.label}: {name}: {told[name]} told, {booked} booked"
            incarnation.findings.violate(ViolationKind.UNTOLD, text)


def _check_not_decreased(incarnation: Incarnation, key: bytes, account: Account) -> None:
    """R19: `lost_total`, the sum of lost and late, never goes down; an empty `key` means all sessions together."""
    lost_total = account.lost + account.late
    before = incarnation.lost_before.get(key, 0)
    # A session that was evicted and then seen again starts from zero.
    if lost_total < before and key not in incarnation.witness.forgotten:
        text = f"{incarnation.label}: lost_total {key.hex()} went from {before} to {lost_total}"
        incarnation.findings.violate(ViolationKind.LOSS_DECREASED, text)
    incarnation.lost_before[key] = lost_total


def _check_session(incarnation: Incarnation, row: SessionLedger, resident: Resident) -> None:
    """R19: origin, end and messages received must match the accepted datagrams."""
    received = row.delivered + row.queued + row.overflow + row.discarded
    said = (row.before_join, row.sent, received, row.datagrams)
    true = (resident.origin, resident.end, resident.received, len(resident.accepted))
    places = sum(count or 0 for count in row.lost_by_place.values())
    if said != true or places != row.lost:
        text = f"{incarnation.label}: origin, end, received, datagrams are {true}, the ledger says {said}"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, f"{text}, places {places} of {row.lost} lost")
    if (row.tail is Tail.CLOSED) != resident.said_goodbye:
        text = f"{incarnation.label}: tail of {row.id} is {row.tail}, goodbye {resident.said_goodbye}"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, text)


def _check_truth(
    incarnation: Incarnation, tape: Tape, key: bytes, row: SessionLedger, resident: Resident, refused: int
) -> None:
    """R21: after a goodbye the end is exact, missing messages did not come, and the socket lost at most what it refused."""
    missing = sum(
        entry.facts.messages
        for sequence, entry in tape.sessions[key].items()
        if entry.facts is not None
        and entry.facts.prior >= resident.origin
        and entry.facts.prior + entry.facts.messages <= resident.end
        and sequence not in resident.accepted
    )
    label = tape.labels.get(key, row.id)
    numbered = max(entry.facts.prior + entry.facts.messages for entry in tape.sessions[key].values() if entry.facts)
    if row.tail is Tail.CLOSED and row.sent != numbered:
        text = f"{incarnation.label}: {label} said goodbye after {numbered}, the ledger says {row.sent}"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, text)
    if missing != row.lost + row.pending:
        text = f"{incarnation.label}: {missing} messages of {label} are missing, the ledger says"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, f"{text} {row.lost} lost and {row.pending} pending")
    at_sender = row.lost_by_place[Place.SENDER_SOCKET.value]
    if at_sender is not None and at_sender > refused:
        text = f"{incarnation.label}: the socket of {label} refused {refused}, the ledger says {at_sender}"
        incarnation.findings.violate(ViolationKind.MISCOUNTED, text)


def _figures(ledger: Ledger) -> str:
    names = (
        "delivered",
        "queued",
        "overflow",
        "discarded",
        "pending",
        "lost",
        "before_join",
        "datagrams_in",
        "accepted",
    )
    return ", ".join(f"{name} {getattr(ledger, name)}" for name in names)
