"""How senders live: they send, fork, crash, are restarted, and their clocks show whatever clocks may show."""

from __future__ import annotations

from typing import Final

from atmost.lab.simulator.clocks import HOUR_US, WallClock
from atmost.lab.simulator.network import Network
from atmost.lab.simulator.operations import Operations
from atmost.lab.simulator.parameters import RECEIVER
from atmost.lab.simulator.stage import Stage, round_up_us
from atmost.lab.simulator.steps import (
    AMBIGUOUS,
    CERTAIN,
    NOT_NOW,
    TOO_LARGE,
    CloseSender,
    CrashSender,
    Fork,
    Offer,
    SenderCrashPoint,
    StartSender,
    Turn,
)

_ANSWERS: Final = (NOT_NOW, NOT_NOW, NOT_NOW, AMBIGUOUS, AMBIGUOUS, TOO_LARGE, *CERTAIN)


class Traffic:
    """All senders of a run, and their clocks."""

    def __init__(self, stage: Stage, operations: Operations, network: Network) -> None:
        """Args: stage: the run's. operations: whose bounds are to be met. network: which may be cut."""
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
        """Every sender flushes, closes and says goodbye."""
        stage = self._stage
        for name in list(stage.world.senders.living):
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
        """Something happens to a sender, mostly that it is given messages to send."""
        stage, chances = self._stage, self._stage.parameters.chances
        self._next_turn(name)
        if name not in stage.world.senders.living:
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
        stage.do(Offer(name, stage.now_us, wall_us, messages, self._answer()))
        if stage.chance(0.2):
            stage.do(Turn(name, stage.now_us, wall_us, flush=True, answer=self._answer()))

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
        """More sessions than the table holds, one after the other."""
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
        """Lets the flusher take its turn when the core asks for one."""
        stage = self._stage
        sender = stage.world.senders.living.get(name)
        deadline = sender.core.next_deadline() if sender is not None else None
        if deadline is None:
            return
        due_us = max(round_up_us(deadline), stage.now_us + 1)
        if due_us < self._due_us.get(name, due_us + 1) or self._due_us[name] < stage.now_us:
            self._due_us[name] = due_us
            stage.at(due_us, lambda: self._flusher(name))

    def _flusher(self, name: str) -> None:
        stage = self._stage
        if name in stage.world.senders.living:
            self._due_us.pop(name, None)
            stage.do(Turn(name, stage.now_us, self._read(name), answer=self._answer()))
            self._watch_deadline(name)

    def _answer(self) -> str | None:
        stage = self._stage
        return stage.random.choice(_ANSWERS) if stage.chance(stage.parameters.chances.refusal) else None

    def _read(self, name: str) -> int:
        return self._clocks[name].read(self._stage.now_us)

    def _draw_clock(self) -> WallClock:
        """Mostly within F of the truth, on both sides; some clocks are far off, and some are too fast or too slow."""
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
        incarnation = stage.world.receivers.newest(RECEIVER)
        if incarnation is None:
            return
        future_us = round(stage.parameters.receiver.future_bound * 1e6)
        bound_us = random.choice((incarnation.core.floor_us, self._operations.clock.read(stage.now_us) + future_us))
        self._clocks[name].set(bound_us + random.choice((-1, 0, 1)), stage.now_us)
