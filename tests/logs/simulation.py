"""A handler, the real cores of sender and receiver, a link with faults, and a reader, all in virtual time."""

import logging
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

from atmost import LogReader
from atmost.core.datagram import encode_message
from atmost.core.events import Message
from atmost.core.receiving import ReceiverCore, ReceiverOptions
from atmost.core.seal import ChecksumSeal
from atmost.core.sending import SenderCore, SenderOptions
from atmost.errors import PayloadTooLarge
from atmost.lab.faults import FaultRules, LinkFaults
from atmost.logs import LogGap, LogHandler, LogRecord
from tests.logs.scene import FakeSender

EPOCH_US = 1_767_225_600_000_000


class World(FakeSender):
    """What a handler takes for its sender, and everything behind it."""

    def __init__(self, faults: LinkFaults, seed: int, **options: Any) -> None:
        super().__init__("sim")
        self.now = 0.0
        self.core = SenderCore(SenderOptions(), 1432, lambda _session: ChecksumSeal(), name="sim", host="sim", pid=1)
        self.receiver = ReceiverCore(ReceiverOptions(future_bound=0.5, clock_guard=0.5), EPOCH_US - 2_000_000)
        self.reader = LogReader(now=0.0, **options)
        self.rules = FaultRules(faults, Random(seed))
        self.held: list[tuple[float, int, bytes]] = []
        self.number = 0
        self.seed = seed
        self.healed = False
        self.came: set[int] = set()
        self.told: list[LogRecord | LogGap] = []
        self.handler, self.logger = self.begin()

    def begin(self) -> tuple[LogHandler, logging.Logger]:
        """A handler of its own life, in virtual time."""
        handler = LogHandler(self)
        handler._writer._arm = lambda _after: None  # type: ignore[method-assign]
        handler._writer._life = (EPOCH_US + round(self.now * 1e6)).to_bytes(8, "big") + handler._writer._life[8:]
        logger = logging.Logger("app", level=1)  # noqa: LOG001  of this test alone
        logger.addHandler(handler)
        return handler, logger

    def send(self, subject: str, payload: Any = None) -> bool:
        item = encode_message((subject, payload))
        if len(item) > self.core.max_message:
            raise PayloadTooLarge(len(item), self.core.max_message)
        if self.core.open and self.core.size + len(item) > self.core.room:
            self.hand_over()
        if not self.core.open:
            self.core.open_since = self.now
        self.core.open.append(item)
        self.core.size += len(item)
        return True

    def hand_over(self) -> None:
        """Everything that is open goes out, and a beacon when it is due."""
        wall_us = EPOCH_US + round(self.now * 1e6)
        if self.core.needs_session(wall_us):
            self.core.begin(self.seed + 1, wall_us, self.now)
        while (outgoing := self.core.next_datagram(self.now, wall_us, flush=True)) is not None:
            for delay in (0.0,) if self.healed else self.rules.judge().delays:
                self.number += 1
                heappush(self.held, (self.now + delay, self.number, outgoing.data))
            self.core.handed_over(outgoing, None, self.now)

    def mark(self) -> None:
        """What the marker does once in a while."""
        self.handler._writer._mark()
        self.hand_over()

    def step(self, seconds: float, took: Callable[[Message], object] = lambda _message: None) -> None:
        """Time passes: beacons, arrivals, deadlines."""
        self.now += seconds
        deadline = self.core.next_deadline()
        if deadline is not None and deadline <= self.now:
            self.hand_over()
        wall_us = EPOCH_US + round(self.now * 1e6)
        while self.held and self.held[0][0] <= self.now:
            for event in self.receiver.receive(heappop(self.held)[2], self.now, wall_us):
                if isinstance(event, Message) and event.subject == "logs.app":
                    self.came.add(sum(event.payload["prior"].values()))
                    took(event)
                self.told += self.reader.feed(event, self.now)
        for event in self.receiver.handle_deadline(self.now):
            self.told += self.reader.feed(event, self.now)
        self.told += self.reader.tick(self.now)
