"""How receivers live: they read, are slow, crash at the worst points, are set up again, and have their clocks set.

H1 and H2 are kept here, unless the run is to show what happens without them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from atmost.core.shards import shard_of
from atmost.lab.simulator.clocks import EPOCH_US, HOUR_US, WallClock
from atmost.lab.simulator.parameters import RECEIVER, WORKER, Chances
from atmost.lab.simulator.stage import Stage, round_up_us
from atmost.lab.simulator.steps import ALL, Close, Crash, CrashPoint, Deliver, Elapse, StartReceiver, Work
from atmost.lab.simulator.tape import Entry

_POINTS: Final = (
    CrashPoint.IDLE,
    CrashPoint.BEFORE_TAG,
    CrashPoint.AFTER_MARK,
    CrashPoint.QUEUED,
    CrashPoint.IN_HANDLER,
)
_CALM: Final = Chances()


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
        """The greatest reading of the present or latest incarnation."""

    def start(self, *, worst: bool = False) -> None:
        """Begins an incarnation, at a reading that H1 allows; at the worst of them where that is asked for."""
        stage = self._stage
        wall_us = self._set_for_start(worst=worst)
        overlap = self.up and not stage.hypotheses.one_at_a_time
        stage.do(StartReceiver(RECEIVER, stage.now_us, wall_us, overlap=overlap))
        self.up = True
        self._busy_until = stage.now_us
        self._greatest_us = wall_us
        if not self._calm and stage.chance(stage.parameters.chances.waiting):
            # Nobody sends before the receiver is ready.
            stage.skip(stage.parameters.receiver.future_bound + stage.parameters.receiver.clock_guard)
        for react in self.after_start:
            react()

    def arrive(
        self, entry: Entry, flip: int | None = None, copies: int = 1, *, replay: bool = False, astray: bool = False
    ) -> None:
        """A datagram arrives, and whatever may happen at that moment happens.

        Args:
            entry: what was sent.
            flip: the bit that was damaged.
            copies: how many arrive.
            replay: it is the adversary's doing.
            astray: of two workers it reaches the wrong one.
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
            # Either it does not come to read, or it reads and a handler takes its time.
            read = stage.random.choice((0, ALL))
            stage.do(step._replace(read=read, handle=min(read, 1)))
            self._be_busy()
        else:
            stage.do(step._replace(raises=stage.chance(chances.raising)))
        self._watch_deadline()

    def calm(self) -> None:
        """Ends all faults of the receiver's own."""
        self._calm = True

    def crash(self, point: CrashPoint = CrashPoint.IDLE) -> None:
        """Dies, and stays dead."""
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
        """Sets the clock back by more than G, and lets one datagram arrive: the alarm must tell (R18)."""
        stage = self._stage
        back = stage.parameters.receiver.clock_guard + stage.hypotheses.excess
        incarnation = stage.world.receivers.newest(RECEIVER)
        before = incarnation.clock[1] if incarnation is not None else self.clock.read(stage.now_us)
        self.clock.set(before - round(back * 1e6), stage.now_us)
        if self.up and witness is not None:
            wall_us = self.clock.read(stage.now_us)
            stage.do(Deliver(RECEIVER, witness.name, stage.now_us, wall_us, replay=True))

    def _is_the_workers(self, entry: Entry) -> bool:
        """Whether the kernel steers a datagram to the other worker."""
        return self._stage.parameters.workers and entry.facts is not None and shard_of(entry.facts.key, 2) == 1

    def _is_welcome(self, entry: Entry, wall_us: int) -> bool:
        """Whether a datagram is about to be accepted: that is when a crash is worst."""
        incarnation = self._stage.world.receivers.newest(RECEIVER)
        return (
            entry.facts is not None
            and incarnation is not None
            and not incarnation.witness.expects(entry.facts, wall_us)
        )

    def _end(self, wall_us: int) -> None:
        stage = self._stage
        if not stage.hypotheses.one_at_a_time:
            pass  # H2 is broken: the next one starts, and this one does not end
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
        """The handler returned; the next one may be as slow."""
        stage = self._stage
        if not self.up or stage.now_us < self._busy_until:
            return
        wall_us = self.clock.read(stage.now_us)
        self._greatest_us = max(self._greatest_us, wall_us)
        handle = stage.random.choice((1, 5, ALL))
        raises = stage.chance(stage.parameters.chances.raising)
        stage.do(Work(RECEIVER, stage.now_us, wall_us, handle=handle, raises=raises))
        incarnation = stage.world.receivers.newest(RECEIVER)
        if incarnation is not None and incarnation.queue:
            self._be_busy()
        self._watch_deadline()

    def _watch_deadline(self, receiver: str = RECEIVER) -> None:
        stage = self._stage
        incarnation = stage.world.receivers.newest(receiver)
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
        """Sets the clock to what a start finds: anything from G behind the greatest reading so far."""
        stage, random = self._stage, self._stage.random
        latest = stage.world.receivers.latest_us.get(RECEIVER)
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
        """Sets the clock; sooner or later somebody sets it right again."""
        stage = self._stage
        self.clock.set(reading_us, stage.now_us)
        receiver = stage.parameters.receiver
        wrong_for = stage.random.choice((0.001, receiver.future_bound + receiver.clock_guard, 1.0))
        stage.after(wrong_for, lambda: self.clock.set(EPOCH_US + stage.now_us, stage.now_us))

    def _step_clock(self) -> None:
        """Somebody sets the clock of the running receiver."""
        receiver, random = self._stage.parameters.receiver, self._stage.random
        span_us = round((receiver.future_bound + receiver.clock_guard) * 1e6) + 1
        far_us = random.choice((span_us, 100 * span_us, HOUR_US)) if random.random() < 0.1 else span_us
        by_us = random.choice((-1, -1, 1)) * random.randint(1, far_us)
        self._set_clock(self.clock.read(self._stage.now_us) + by_us)
