"""A handler, the real cores of sender and receiver, a link with faults, and a reader, all in virtual time."""

import logging
from collections.abc import Callable
from random import Random
from typing import Any

from atmost import LogReader
from atmost.core.events import Message
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.lab.world import EPOCH_US, Agenda, Path, VirtualSender, wall_us
from atmost.logs import LogGap, LogHandler, LogRecord, LogWriter
from tests.logs.scene import ByHand, FakeSender


class World(FakeSender):
    """What a handler takes for its sender, and everything behind it."""

    def __init__(self, faults: LinkFaults, seed: int, **options: Any) -> None:
        super().__init__("sim")
        self.agenda = Agenda(0.0)
        self.path = Path(self.agenda, FaultRules(faults, Random(seed)), self.arrive)
        self.sender = VirtualSender(self.agenda, self.path.send, identity=lambda: seed + 1, max_datagram=1432)
        self.receiver = ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5), EPOCH_US - 2_000_000)
        self.reader = LogReader(now=-0.01, **options)  # it was there before the handler
        self.came: set[int] = set()
        self.told: list[LogRecord | LogGap] = []
        self.took: Callable[[Message], object] = lambda _message: None
        self.handler, self.logger = self.begin()

    @property
    def now(self) -> float:
        """Virtual time (s)."""
        return self.agenda.now

    def begin(self) -> tuple[LogHandler, logging.Logger]:
        """A handler of its own life, in virtual time."""
        handler = LogHandler(self)
        handler.writer = LogWriter(self, wall_clock=lambda: wall_us(self.now) / 1e6, marker=ByHand())
        logger = logging.Logger("app", level=1)  # noqa: LOG001  of this test alone
        logger.addHandler(handler)
        return handler, logger

    def send(self, subject: str, payload: Any = None) -> bool:
        return self.sender.send(subject, payload)

    def mark(self) -> None:
        """What the marker does once in a while."""
        self.handler.writer.mark()
        self.sender.hand_over()

    def heal(self) -> None:
        """From now on everything arrives."""
        self.path.heal()

    def arrive(self, data: bytes) -> None:
        for event in self.receiver.receive(data, self.now, wall_us(self.now)):
            if isinstance(event, Message) and event.subject == "logs.app":
                self.came.add(sum(event.payload["prior"].values()))
                self.took(event)
            self.told += self.reader.feed(event, self.now)

    def step(self, seconds: float, took: Callable[[Message], object] = lambda _message: None) -> None:
        """Time passes: arrivals, beacons, deadlines."""
        self.took = took
        self.agenda.run_until(self.now + seconds)
        self.sender.handle_deadline()
        for event in self.receiver.handle_deadline(self.now):
            self.told += self.reader.feed(event, self.now)
        self.told += self.reader.tick(self.now)
