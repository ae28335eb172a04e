"""Drives the receivers: they read, are slow, crash at the worst points, restart, and have their clocks set.

H1 and H2 are kept, unless the run is meant to show what happens without them.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from atmost.core.shards import shard_of
from atmost.lab.faults import FaultRules, Judge, Verdict
from atmost.lab.guarantee import coverage
from atmost.lab.guarantee.parameters import EPOCH_US, HOUR_US, RECEIVER, WORKER, Chances, WallClock
from atmost.lab.guarantee.stage import Stage, round_up_us
from atmost.lab.guarantee.steps import (
    ALL,
    AMBIGUOUS,
    CERTAIN,
    NOT_NOW,
    TOO_LARGE,
    Close,
    CloseSender,
    Crash,
    CrashPoint,
    CrashSender,
    Deliver,
    Elapse,
    Fork,
    Offer,
    SenderCrashPoint,
    StartReceiver,
    StartSender,
    Turn,
    Work,
)
from atmost.lab.guarantee.tape import Entry
from atmost.lab.link import Carried, LinkAccount, LinkCore
from atmost.lab.world import take_due

_POINTS: Final = (
    CrashPoint.IDLE,
    CrashPoint.BEFORE_TAG,
    CrashPoint.AFTER_MARK,
    CrashPoint.QUEUED,
    CrashPoint.IN_HANDLER,
)
_CALM: Final = Chances()
_LINES_REFUSED, _LINES_ACCEPTED, _LINES_SENT = 90, 260, 150
"""Within so many lines of a core a datagram is refused, accepted or sent."""


def draw_signal(stage: Stage, lines: int = _LINES_SENT) -> int:
    """The line of a core, of so many, at which a signal handler raises in the next step; 0 for none."""
    return stage.random.randint(1, lines) if stage.chance(stage.parameters.signals) else 0


class Operations:
    """The receiver that senders send to, and its clock."""

    def __init__(self, stage: Stage) -> None:
        """Args: stage: the run's."""
        self.clock = WallClock()
        self.up = False
        self.after_start: list[Callable[[], None]] = []
        self._stage = stage
        self._busy_until = 0
        self._calm = False
        self._elapse_us: dict[str, int] = {}
        self._greatest_us = 0
        """The greatest clock reading of the present or latest incarnation."""

    def start(self, *, worst: bool = False) -> None:
        """Begins an incarnation at a clock reading that H1 allows; at the worst of them on request."""
        stage = self._stage
        wall_us = self._set_for_start(worst=worst)
        overlap = self.up and not stage.hypotheses.one_at_a_time
        stage.do(StartReceiver(RECEIVER, stage.now_us, wall_us, overlap=overlap))
        self.up = True
        self._busy_until = stage.now_us
        self._greatest_us = wall_us
        if not self._calm and stage.chance(stage.parameters.chances.waiting):
            # Nobody sends before the receiver is ready.
            receiver = stage.parameters.receiver
            stage.skip_us(round((receiver.future_bound + receiver.clock_guard) * 1e6))
        for react in self.after_start:
            react()

    def arrive(
        self, entry: Entry, flip: int | None = None, copies: int = 1, *, replay: bool = False, astray: bool = False
    ) -> None:
        """Lets a datagram arrive, and draws what else happens at that moment.

        Args:
            entry: the datagram sent.
            flip: the bit that was damaged.
            copies: how many arrive.
            replay: the adversary sent it.
            astray: it reaches the wrong one of two workers.
        """
        stage = self._stage
        if self._is_the_workers(entry) is not astray and stage.parameters.workers:
            wall_us = self.clock.read(stage.now_us)
            stage.do(Deliver(WORKER, entry.name, stage.now_us, wall_us, copies, flip, replay=replay))
            self._watch_deadline(WORKER)
            return
        chances = _CALM if self._calm else stage.parameters.chances
        if self.up and stage.chance(chances.receiver_step):
            self._step_clock()
        wall_us = self.clock.read(stage.now_us)
        step = Deliver(RECEIVER, entry.name, stage.now_us, wall_us, copies, flip, replay=replay)
        if not stage.hypotheses.one_at_a_time:
            step = step._replace(age=stage.random.randrange(2))
        if not self.up:
            stage.do(step)
            return
        self._greatest_us = max(self._greatest_us, wall_us)
        if stage.now_us < self._busy_until:
            stage.do(step._replace(read=0, handle=0))
        elif stage.chance(chances.receiver_crash * (1.0 if self._is_welcome(entry, wall_us) else 0.1)):
            stage.do(step._replace(read=0, handle=0))
            self._end(wall_us)
        elif stage.chance(chances.slow):
            # Either it does not get to read, or it reads and a handler is slow.
            read = stage.random.choice((0, ALL))
            stage.do(step._replace(read=read, handle=min(read, 1)))
            self._be_busy()
        else:
            lines = _LINES_ACCEPTED if self._is_welcome(entry, wall_us) else _LINES_REFUSED
            stage.do(step._replace(raises=stage.chance(chances.raising), signal=self._signal(lines)))
        self._watch_deadline()

    def calm(self) -> None:
        """Ends all of the receiver's own faults."""
        self._calm = True

    def crash(self, point: CrashPoint = CrashPoint.IDLE) -> None:
        """Kills the receiver for good."""
        stage = self._stage
        stage.do(Crash(RECEIVER, point, stage.now_us, self.clock.read(stage.now_us)))
        self.up = False

    def catch_up(self) -> None:
        """Reads and handles everything that waits."""
        stage = self._stage
        if self.up:
            self._greatest_us = max(self._greatest_us, self.clock.read(stage.now_us))
            stage.do(Work(RECEIVER, stage.now_us, self.clock.read(stage.now_us)))
            self._busy_until = stage.now_us

    def set_back_while_running(self, witness: Entry | None) -> None:
        """Sets the clock back by more than G and lets one datagram arrive: the alarm must be raised (R18)."""
        stage = self._stage
        back = stage.parameters.receiver.clock_guard + stage.hypotheses.excess
        incarnation = stage.cast.receivers.newest(RECEIVER)
        before = incarnation.clock[1] if incarnation is not None else self.clock.read(stage.now_us)
        self.clock.set(before - round(back * 1e6), stage.now_us)
        if self.up and witness is not None:
            wall_us = self.clock.read(stage.now_us)
            stage.do(Deliver(RECEIVER, witness.name, stage.now_us, wall_us, replay=True))

    def _signal(self, lines: int) -> int:
        """The line at which a signal handler raises; 0 for none."""
        return 0 if self._calm else draw_signal(self._stage, lines)

    def _is_the_workers(self, entry: Entry) -> bool:
        """Whether the kernel steers a datagram to the other worker."""
        return self._stage.parameters.workers and entry.facts is not None and shard_of(entry.facts.key, 2) == 1

    def _is_welcome(self, entry: Entry, wall_us: int) -> bool:
        """Whether a datagram is about to be accepted, which is the worst moment for a crash."""
        incarnation = self._stage.cast.receivers.newest(RECEIVER)
        return (
            entry.facts is not None
            and incarnation is not None
            and not incarnation.witness.expects(entry.facts, wall_us)
        )

    def _end(self, wall_us: int) -> None:
        stage = self._stage
        if not stage.hypotheses.one_at_a_time:
            pass  # H2 is broken: the next one starts while this one lives on
        elif stage.chance(stage.parameters.chances.receiver_close):
            stage.do(Work(RECEIVER, stage.now_us, wall_us, handle=0))
            stage.do(Close(RECEIVER, stage.now_us))
        else:
            stage.do(Crash(RECEIVER, stage.random.choice(_POINTS), stage.now_us, wall_us))
        self.up = not stage.hypotheses.one_at_a_time
        receiver = stage.parameters.receiver
        downtime = stage.random.choice((0.0, 0.000_001, 0.01, receiver.future_bound, receiver.clock_guard))
        stage.after(downtime, self.start)

    def _be_busy(self) -> None:
        stage = self._stage
        self._busy_until = stage.now_us + round(stage.random.choice((0.001, 0.02, 0.3)) * 1e6)
        stage.at(self._busy_until, self._come_back)

    def _come_back(self) -> None:
        """The handler has returned; the next one may be just as slow."""
        stage = self._stage
        if not self.up or stage.now_us < self._busy_until:
            return
        wall_us = self.clock.read(stage.now_us)
        self._greatest_us = max(self._greatest_us, wall_us)
        handle = stage.random.choice((1, 5, ALL))
        raises = stage.chance(stage.parameters.chances.raising)
        signal = self._signal(_LINES_ACCEPTED)
        stage.do(Work(RECEIVER, stage.now_us, wall_us, handle=handle, raises=raises, signal=signal))
        incarnation = stage.cast.receivers.newest(RECEIVER)
        if incarnation is not None and incarnation.queue:
            self._be_busy()
        self._watch_deadline()

    def _watch_deadline(self, receiver: str = RECEIVER) -> None:
        stage = self._stage
        incarnation = stage.cast.receivers.newest(receiver)
        deadline = incarnation.core.next_deadline() if incarnation is not None else None
        if deadline is None:
            return
        due_us = round_up_us(deadline)
        scheduled_us = self._elapse_us.get(receiver)
        if scheduled_us is None or due_us < scheduled_us or scheduled_us < stage.now_us:
            self._elapse_us[receiver] = due_us
            stage.at(due_us, lambda: self._elapse(receiver))

    def _elapse(self, receiver: str) -> None:
        self._elapse_us.pop(receiver, None)
        self._stage.do(Elapse(receiver, self._stage.now_us))
        self._watch_deadline(receiver)

    def _set_for_start(self, *, worst: bool) -> int:
        """Sets the clock for a start: to any reading from G behind the greatest one so far."""
        stage, random = self._stage, self._stage.random
        latest = stage.cast.receivers.latest_us.get(RECEIVER)
        reading = self.clock.read(stage.now_us)
        if latest is None:
            return reading
        if not stage.hypotheses.cumulative:
            latest = self._greatest_us
        guard = stage.parameters.receiver.clock_guard + (stage.hypotheses.excess if worst else 0.0)
        earliest = latest - round(guard * 1e6)
        draw = random.random()
        if reading < earliest or draw < 0.3 or worst or not stage.hypotheses.cumulative:
            self._set_clock(earliest)
        elif draw < 0.5:
            self._set_clock(random.randint(earliest, reading))
        found = self.clock.read(stage.now_us)
        assert found >= latest - round(guard * 1e6), "the simulation broke H1 on its own"
        return found

    def _set_clock(self, reading_us: int) -> None:
        """Sets the clock; sooner or later it is corrected."""
        stage = self._stage
        self.clock.set(reading_us, stage.now_us)
        receiver = stage.parameters.receiver
        wrong_for = stage.random.choice((0.001, receiver.future_bound + receiver.clock_guard, 1.0))
        stage.after(wrong_for, lambda: self.clock.set(EPOCH_US + stage.now_us, stage.now_us))

    def _step_clock(self) -> None:
        """Sets the clock of the running receiver."""
        receiver, random = self._stage.parameters.receiver, self._stage.random
        span_us = round((receiver.future_bound + receiver.clock_guard) * 1e6) + 1
        far_us = random.choice((span_us, 100 * span_us, HOUR_US)) if random.random() < 0.1 else span_us
        by_us = random.choice((-1, -1, 1)) * random.randint(1, far_us)
        self._set_clock(self.clock.read(self._stage.now_us) + by_us)


# The link between senders and receiver: the lab's own, with its rules and its account, in virtual time.

Arrive = Callable[[Entry, int | None, int], None]
"""Called with a datagram, the damaged bit, and the number of copies that arrive."""


class Network:
    """Carries the datagrams that senders transmit."""

    def __init__(self, stage: Stage, arrive: Arrive) -> None:
        """Args: stage: the run's. arrive: where the link ends."""
        self._stage = stage
        self._arrive = arrive
        rules = FaultRules(stage.parameters.faults, Random(stage.random.getrandbits(64)))
        self._link = LinkCore(_Watched(rules, stage))
        self._carried: list[Entry] = []
        self._due_us: int | None = None
        self._overtaken = 0
        self._calm = False
        stage.after_step.append(self._carry)

    def partition(self, seconds: float) -> None:
        """Cuts the link for a while."""
        self._link.partition(on=True)
        self._stage.hit(coverage.LINK, "partition")
        self._stage.after(seconds, lambda: self._link.partition(on=False))

    def calm(self) -> None:
        """Ends all faults: held datagrams arrive now, and from now on everything arrives at once."""
        self._link.partition(on=False)
        self._calm = True
        self._take(float("inf"))

    def account(self) -> LinkAccount:
        """The link's account so far."""
        return self._link.account()

    def _carry(self) -> None:
        for entry in list(self._stage.cast.senders.sent):
            if self._calm:
                self._arrive(entry, None, 1)
            else:
                self._carried.append(entry)
                self._link.receive(entry.data, self._stage.now_us / 1e6)
        self._watch()

    def _watch(self) -> None:
        deadline = self._link.next_deadline()
        if deadline is None:
            return
        due_us = round_up_us(deadline)
        if self._due_us is None or due_us < self._due_us:
            self._due_us = due_us
            self._stage.at(due_us, self._come_due)

    def _come_due(self) -> None:
        self._due_us = None
        self._take(self._stage.now_us / 1e6)
        self._watch()

    def _take(self, now: float) -> None:
        """Delivers the datagrams that are due; copies that arrive together are one step."""
        due: list[tuple[Carried, int]] = []
        take_due(self._link, now, lambda carried, copies: due.append((carried, copies)))
        overtaken = self._link.account().reordered_datagrams
        if overtaken > self._overtaken:
            self._overtaken = overtaken
            self._stage.hit(coverage.LINK, "overtaken")
        for carried, copies in due:
            entry = self._carried[carried.number]
            self._arrive(entry, _difference(entry.data, carried.content), copies)


class _Watched:
    """Link rules whose verdicts are counted for the coverage."""

    def __init__(self, rules: Judge, stage: Stage) -> None:
        self._rules = rules
        self._stage = stage
        self._lost_before = False

    def judge(self) -> Verdict:
        verdict = self._rules.judge()
        copies = len(verdict.delays)
        if verdict.dropped:
            self._stage.hit(coverage.LINK, "loss in bursts" if self._lost_before else "loss alone")
        elif copies > 1:
            kind = "copied 3 to 99 times" if copies < 100 else "copied 100 to 1000 times"
            self._stage.hit(coverage.LINK, "doubled" if copies == 2 else kind)
        if any(verdict.delays):
            self._stage.hit(coverage.LINK, "delayed")
        self._lost_before = verdict.dropped
        return verdict


def _difference(original: bytes, arrived: bytes) -> int | None:
    """The flipped bit, counted as `corrupted_copy` does; None if there is none."""
    differing = int.from_bytes(original, "little") ^ int.from_bytes(arrived, "little")
    return differing.bit_length() - 1 if differing else None


# Drives the senders: they send, fork, crash and restart, and their clocks may show any time.

_ANSWERS: Final = (NOT_NOW, NOT_NOW, NOT_NOW, AMBIGUOUS, AMBIGUOUS, TOO_LARGE, *CERTAIN)


class Traffic:
    """All senders of a run, and their clocks."""

    def __init__(self, stage: Stage, operations: Operations, network: Network) -> None:
        """Args: stage: the run's. operations: the receiver whose bounds are to be met. network: the link to cut."""
        self._stage = stage
        self._operations = operations
        self._network = network
        self._clocks: dict[str, WallClock] = {}
        self._due_us: dict[str, int] = {}
        self._made = 0

    def begin(self) -> None:
        """Makes the first senders."""
        for _ in range(self._stage.parameters.senders):
            self._make()

    def finish(self) -> None:
        """Lets every sender flush, close and say goodbye."""
        stage = self._stage
        for name in list(stage.cast.senders.living):
            stage.do(Turn(name, stage.now_us, self._read(name), flush=True))
            stage.do(CloseSender(name, stage.now_us, self._read(name)))

    def _make(self) -> str:
        name = f"s{self._made}"
        self._made += 1
        self._clocks[name] = self._draw_clock()
        self._stage.do(StartSender(name))
        self._next_turn(name)
        return name

    def _next_turn(self, name: str) -> None:
        stage = self._stage
        stage.after(stage.random.expovariate(1 / stage.parameters.pause), lambda: self._turn(name))

    def _turn(self, name: str) -> None:
        """A sender's turn: mostly, it is given messages to send."""
        stage, chances = self._stage, self._stage.parameters.chances
        self._next_turn(name)
        if name not in stage.cast.senders.living:
            stage.do(StartSender(name))
        if stage.chance(chances.partition):
            self._network.partition(stage.random.choice((0.01, 0.1, 1.0)))
        if stage.chance(chances.sender_step):
            self._step_clock(name)
        if stage.chance(chances.stamp_at_bound):
            self._stamp_at_bound(name)
        wall_us = self._read(name)
        if stage.chance(chances.flood):
            self._flood()
        elif stage.chance(chances.fork):
            self._fork(name, wall_us)
        elif stage.chance(chances.sender_crash):
            self._offer(name, wall_us)
            point = stage.random.choice(list(SenderCrashPoint))
            stage.do(CrashSender(name, point, stage.now_us, wall_us))
        elif stage.chance(chances.sender_close):
            stage.do(CloseSender(name, stage.now_us, wall_us, self._answer()))
        else:
            self._offer(name, wall_us)
        self._watch_deadline(name)

    def _offer(self, name: str, wall_us: int) -> None:
        stage = self._stage
        messages = stage.random.randint(1, stage.parameters.burst)
        stage.do(Offer(name, stage.now_us, wall_us, messages, self._answer(), draw_signal(stage)))
        if stage.chance(0.2):
            flush = Turn(name, stage.now_us, wall_us, flush=True, answer=self._answer(), signal=draw_signal(stage))
            stage.do(flush)

    def _fork(self, name: str, wall_us: int) -> None:
        """Forks a child, with the parent's buffer full or not, and both go on."""
        stage = self._stage
        if stage.chance(0.7):
            stage.do(Offer(name, stage.now_us, wall_us, stage.parameters.burst + 1, NOT_NOW))
        child = f"{name}c{self._made}"
        self._made += 1
        self._clocks[child] = WallClock()
        self._clocks[child].set(wall_us, stage.now_us)
        stage.do(Fork(name, child, unseen=stage.chance(0.3)))
        stage.do(Offer(child, stage.now_us, wall_us, 1))
        stage.after(stage.parameters.pause, lambda: self._last_words(child))

    def _flood(self) -> None:
        """Makes more sessions than the table holds, one after another."""
        stage = self._stage
        for _ in range(stage.parameters.receiver.max_sessions + 1):
            name = f"f{self._made}"
            self._made += 1
            self._clocks[name] = self._draw_clock()
            stage.do(StartSender(name))
            stage.do(Offer(name, stage.now_us, self._read(name), 1))
            stage.after(stage.random.expovariate(1 / stage.parameters.pause), lambda name=name: self._last_words(name))  # type: ignore[misc]

    def _last_words(self, name: str) -> None:
        """One more message, and a goodbye."""
        stage = self._stage
        stage.do(Offer(name, stage.now_us, self._read(name), 1, self._answer()))
        stage.do(CloseSender(name, stage.now_us, self._read(name), self._answer()))

    def _watch_deadline(self, name: str) -> None:
        """Runs the flusher when the core asks for it."""
        stage = self._stage
        sender = stage.cast.senders.living.get(name)
        deadline = sender.core.next_deadline() if sender is not None else None
        if deadline is None:
            return
        due_us = max(round_up_us(deadline), stage.now_us + 1)
        if due_us < self._due_us.get(name, due_us + 1) or self._due_us[name] < stage.now_us:
            self._due_us[name] = due_us
            stage.at(due_us, lambda: self._flusher(name))

    def _flusher(self, name: str) -> None:
        stage = self._stage
        if name in stage.cast.senders.living:
            self._due_us.pop(name, None)
            turn = Turn(name, stage.now_us, self._read(name), answer=self._answer(), signal=draw_signal(stage))
            stage.do(turn)
            self._watch_deadline(name)

    def _answer(self) -> str | None:
        stage = self._stage
        return stage.random.choice(_ANSWERS) if stage.chance(stage.parameters.chances.refusal) else None

    def _read(self, name: str) -> int:
        return self._clocks[name].read(self._stage.now_us)

    def _draw_clock(self) -> WallClock:
        """A clock mostly within F of the truth, on both sides; some are far off, and some are too fast or too slow."""
        stage, random = self._stage, self._stage.random
        future_us = round(stage.parameters.receiver.future_bound * 1e6)
        if stage.parameters.wild_clocks and random.random() < 0.5:
            offset_us = random.choice((1000, 2 * future_us, 10**6, HOUR_US, 24 * HOUR_US)) * random.choice((-1, 1))
            return WallClock(offset_us, random.choice((0, 200, -200, 100_000, -100_000)))
        return WallClock(random.choice((0, 0, future_us, random.randint(-future_us, future_us))))

    def _step_clock(self, name: str) -> None:
        random = self._stage.random
        step_us = round(self._stage.parameters.receiver.future_bound / 2 * 1e6)
        far = random.random() < 0.2
        by_us = random.choice((1000, 10**6, HOUR_US)) if far else random.choice((1, step_us, step_us + 1, 2 * step_us))
        self._clocks[name].step(by_us * random.choice((-1, 1)))

    def _stamp_at_bound(self, name: str) -> None:
        """Sets a sender's clock so that its next stamp is at a bound of the receiver's, or one µs beside it."""
        stage, random = self._stage, self._stage.random
        incarnation = stage.cast.receivers.newest(RECEIVER)
        if incarnation is None:
            return
        future_us = round(stage.parameters.receiver.future_bound * 1e6)
        bound_us = random.choice((incarnation.core.floor_us, self._operations.clock.read(stage.now_us) + future_us))
        self._clocks[name].set(bound_us + random.choice((-1, 0, 1)), stage.now_us)
