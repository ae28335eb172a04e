"""Handlers and readers without a network between them: what is sent is kept, and delivered as the test wants."""

import logging
from dataclasses import fields
from typing import Any

import msgspec

from atmost import Sender
from atmost.core.accounts import SenderStats
from atmost.core.datagram import encode_message
from atmost.core.events import Arrival, Message, Session
from atmost.errors import PayloadTooLarge
from atmost.logs import LogGap, LogHandler, LogReader, LogRecord
from atmost.logs.writer import LogOptions, LogWriter, Marker

START_US = 1_767_225_600_000_000


class FakeSender(Sender):
    """Keeps what is sent, says what does not fit, and has no room when the test says so."""

    def __init__(self, name: str = "web-1", max_message: int = 1432 - 67) -> None:
        self._given_name = name
        self.sent: list[tuple[str, Any]] = []
        self.max_message = max_message
        self.room = True
        self.flushed = 0
        self.closed = False
        self.refused = 0

    @property
    def name(self) -> str:
        return self._given_name

    def send(self, subject: str, payload: Any = None) -> bool:
        data = encode_message((subject, payload))
        if len(data) > self.max_message:
            raise PayloadTooLarge(len(data), self.max_message)
        if not self.room or self.closed:
            self.refused += 1
            return False
        self.sent.append(tuple(msgspec.msgpack.decode(data)))
        return True

    def flush(self) -> None:
        self.flushed += 1

    def stats(self) -> SenderStats:
        return SenderStats(0, {}, 0 if self.room else 1000, 0, {})

    def close(self, timeout: float = 0.1) -> None:
        self.closed = True

    def __del__(self) -> None:
        pass

    def __repr__(self) -> str:
        return f"<FakeSender {self._given_name}>"

    def take(self) -> list[tuple[str, Any]]:
        sent, self.sent = self.sent, []
        return sent


class ByHand(Marker):
    """No thread: the test sends the marks."""

    def wake_at(self, when: float) -> bool:
        return True


def make(name: str = "web-1", **options: Any) -> tuple[logging.Logger, LogHandler, FakeSender]:
    """A logger of its own with a handler over a sender that keeps what it is given."""
    sender = FakeSender(name, options.pop("max_message", 1432 - 67))
    handler = LogHandler(sender, **options)
    given = {name: options[name] for name in options.keys() & {field.name for field in fields(LogOptions)}}
    handler.writer = LogWriter(sender, LogOptions(**given), marker=ByHand())
    logger = logging.Logger("app.db", level=1)  # noqa: LOG001  of this test alone
    logger.addHandler(handler)
    return logger, handler, sender


def session(name: str = "web-1", number: int = 1) -> Session:
    """A sender's session."""
    one = Session(b"\0\0" + number.to_bytes(8, "big") + number.to_bytes(8, "big"), START_US)
    one.name, one.host, one.pid = name, "host", 4242
    return one


ONE = session()


def message(sent: tuple[str, Any], by: Session = ONE, sequence: int = 0, sent_us: int | None = None) -> Message:
    """A message as a receiver would yield it."""
    subject, payload = sent
    if sent_us is None and isinstance(payload, dict) and isinstance(payload.get("handler"), bytes):
        sent_us = int.from_bytes(payload["handler"][:8], "big")
    at = START_US if sent_us is None else sent_us
    return Message(subject, payload, Arrival(by, sequence, at, at))


def deliver(reader: LogReader, sent: list[tuple[str, Any]], now: float, by: Session = ONE) -> list[LogRecord | LogGap]:
    """What a reader makes of messages that all come at one moment."""
    return [found for one in sent for found in reader.feed(message(one, by), now)]


def shown(found: list[LogRecord | LogGap]) -> list[str | int]:
    """Messages of records, and losses of gaps, for short comparisons; what is late has a star."""
    return [one.lost if isinstance(one, LogGap) else one.message + ("*" if one.late else "") for one in found]
