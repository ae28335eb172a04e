"""A registry and a reader without a network between them: what is sent is kept, and delivered as the test wants."""

from typing import Any

import msgspec

from atmost import Metrics, MetricsReader
from atmost.core.datagram import encode_message
from atmost.core.events import Arrival, Message, Session
from atmost.errors import PayloadTooLarge


class FakeSender:
    """Keeps what is sent, and says what does not fit."""

    def __init__(self, name: str = "web-1", max_message: int = 1432 - 67) -> None:
        self.name = name
        self.sent: list[tuple[str, Any]] = []
        self.sizes: list[int] = []
        self.max_message = max_message

    def send(self, subject: str, payload: Any = None) -> bool:
        data = encode_message((subject, payload))
        if len(data) > self.max_message:
            raise PayloadTooLarge(len(data), self.max_message)
        self.sizes.append(len(data))
        self.sent.append(tuple(msgspec.msgpack.decode(data)))
        return True

    def flush(self) -> None:
        pass

    def take(self) -> list[tuple[str, Any]]:
        sent, self.sent = self.sent, []
        return sent


def quiet(metrics: Metrics) -> Metrics:
    """Without its thread: the test takes the snapshots."""
    metrics._rhythm.stop()
    return metrics


def make(name: str = "web-1", interval: float = 1.0, **options: Any) -> tuple[Metrics, FakeSender]:
    """Metrics over a sender that keeps what it is given."""
    sender = FakeSender(name)
    return quiet(Metrics(sender, interval, **options)), sender  # type: ignore[arg-type]


def session(name: str = "web-1", number: int = 1) -> Session:
    """A sender's session."""
    one = Session(b"\0\0" + number.to_bytes(8, "big") + number.to_bytes(8, "big"), 0)
    one.name, one.host, one.pid = name, "host", 4242
    return one


ONE = session()


def deliver(reader: MetricsReader, sent: list[tuple[str, Any]], now: float, by: Session = ONE) -> None:
    """Feeds messages to a reader, all at one moment."""
    for number, (subject, payload) in enumerate(sent):
        reader.feed(Message(subject, payload, Arrival(by, number, 0, 0)), now)


def snapshot(metrics: Metrics, sender: FakeSender, now: float) -> list[tuple[str, Any]]:
    """The messages of one snapshot taken at this moment."""
    metrics._registry.snapshot(now, metrics._send_part)
    return sender.take()
