"""Beats without a network: messages as a receiver would yield them, at any time the test likes."""

from typing import Any

from atmost.core.events import Arrival, Message, Session
from atmost.heartbeats import HeartbeatChange, HeartbeatMonitor

START_US = 1_767_225_600_000_000
MINUTE = 60


class FakeSender:
    """Beats by hand, over a link that the test decides about."""

    def __init__(
        self,
        monitor: HeartbeatMonitor,
        name: str = "worker",
        *,
        interval: float = 1.0,
        number: int = 1,
        start: float = 0.0,
    ) -> None:
        self.monitor = monitor
        self.name = name
        self.interval = interval
        self.session = make_session(number, start)
        self.number = 0
        self.sequence = 0
        self.life: str | None = f"life-{number}"
        self.changes: list[HeartbeatChange] = []

    def message(self, at: float, subject: str | None = None, payload: Any = None, **more: Any) -> Message:
        """The next datagram's message; a beat unless a subject is given."""
        if subject is None:
            payload = {"number": self.number, "interval": self.interval} | more
            if self.life:
                payload["life"] = self.life
            self.number += 1
        sent_us = START_US + round(at * 1e6)
        self.sequence += 1
        arrival = Arrival(self.session, self.sequence - 1, sent_us, sent_us)
        return Message(subject or f"heartbeats.{self.name}", payload, arrival)

    def beat(self, now: float, **more: Any) -> list[HeartbeatChange]:
        """A beat that arrives."""
        return self.deliver(self.message(now, **more), now)

    def lose(self, now: float) -> None:
        """A beat that does not."""
        self.message(now)

    def deliver(self, message: Message, now: float) -> list[HeartbeatChange]:
        """What the monitor makes of a message."""
        return self.monitor.feed(message, now)


def make_session(number: int = 1, start: float = 0.0) -> Session:
    """A sender's session."""
    one = Session(b"\0\0" + number.to_bytes(8, "big") + number.to_bytes(8, "big"), START_US + round(start * 1e6))
    one.name, one.host, one.pid = f"sender-{number}", "host", 4242
    return one


def run(monitor: HeartbeatMonitor, until: float) -> list[HeartbeatChange]:
    """Ticks at each deadline up to this moment, as a loop that is never late does."""
    changes: list[HeartbeatChange] = []
    while (deadline := monitor.next_deadline()) is not None and deadline <= until:
        changes += monitor.tick(deadline)
    return changes


def steady(sender: FakeSender, beats: int, since: float = 0.0, lose: Any = frozenset()) -> float:
    """Beats for a while, without those in `lose`; returns when the next is due."""
    for turn in range(beats):
        now = since + turn * sender.interval
        sender.changes += run(sender.monitor, now)
        if turn in lose:
            sender.lose(now)
        else:
            sender.changes += sender.beat(now)
    return since + beats * sender.interval


def kinds(changes: list[HeartbeatChange]) -> list[tuple[str, str]]:
    """States and kinds, for short comparisons."""
    return [(str(change.state), str(change.verdict.kind)) for change in changes]
