"""Helps to test programs that send: captures their messages, metrics and log records in this process, without waiting.

    with atmost.testing.Capture() as capture:
        shop = Shop(atmost.Metrics(capture.sender))
        shop.order("A1")
        assert capture.metric("orders_total") == 1

Everything goes through the real sender and the real receiver, over a network in memory, so a message that cannot be sent fails in
the test too. As a plugin of pytest, `atmost.testing.plugin` gives the fixtures `atmost_capture` and `atmost_clock`.
Importing this module imports nothing else of atmost; one thread uses a `Capture`.
"""

from __future__ import annotations

import os
import secrets
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from atmost.core.events import Event, Message
    from atmost.endpoint.receiver import Receiver
    from atmost.endpoint.sender import Sender
    from atmost.logs import LogRecord

__all__ = ["Capture", "ManualClock", "memory_url"]


def memory_url() -> str:
    """Returns the address of a new network in memory, which nothing else uses."""
    return f"memory://test-{secrets.token_hex(8)}"


class ManualClock:
    """A clock that stands still until the test moves it: for everything that takes `clock=` or `now`."""

    def __init__(self, now: float = 1000.0) -> None:
        """Args: now: the time it starts at, in seconds."""
        self._now = now

    def __call__(self) -> float:
        """Returns the time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Moves it on; returns the new time, in seconds."""
        if not seconds >= 0:
            raise ValueError(f"seconds={seconds!r}: a clock does not step back")
        self._now += seconds
        return self._now


class Capture:
    """Receives messages sent to its address by this process; nothing waits, and nothing leaves the process."""

    def __init__(self, *, environment: bool = False) -> None:
        """Starts receiving; the first `Capture` of a process takes a third of a second.

        Args:
            environment: whether senders that were given no address send here, by `ATMOST_URL`, until `close`.
        """
        from atmost.endpoint.receiver import Receiver
        from atmost.endpoint.sender import Sender

        self.url: str = memory_url()
        self._receiver: Receiver = Receiver(self.url)
        self.sender: Sender = Sender(self.url, name="test")
        """A sender for the code under test."""
        self._before = os.environ.get("ATMOST_URL")
        self._environment = environment
        if environment:
            os.environ["ATMOST_URL"] = self.url
        self._events: list[Event] = []
        self._forget()

    @property
    def messages(self) -> list[Message]:
        """All messages since the beginning, or since `clear`."""
        from atmost.core.events import Message

        self._collect()
        return [event for event in self._events if isinstance(event, Message)]

    def sent(self, subject: str) -> list[Message]:
        """Returns the messages of a subject.

        Args:
            subject: a subject, or a pattern such as `orders.*` or `orders.>`.

        Raises:
            SubjectError: it is neither.
        """
        from atmost.core.names import matcher

        fits = matcher([subject])
        return [message for message in self.messages if fits(message.subject)]

    def metric(self, name: str, **labels: str) -> float | None:
        """Returns a metric's value now: a counter's total, a gauge's value, a histogram's number of observations.

        Args:
            name: its name.
            labels: only the series with these values, added up.

        Returns:
            None when there is no such series.
        """
        self._collect()
        found = [
            value
            for _, given, value in self._metrics.series(name)
            if value is not None and labels.items() <= given.items()
        ]
        return sum(found) if found else None

    @property
    def records(self) -> list[LogRecord]:
        """The log records since the beginning, or since `clear`, as a reader returns them."""
        from atmost.logs import LogReader, LogRecord

        self._collect()
        reader, now = LogReader(), time.monotonic()
        found = [one for event in self._events for one in reader.feed(event, now)]
        return [one for one in [*found, *reader.tick(now + 3600.0)] if isinstance(one, LogRecord)]

    def clear(self) -> None:
        """Forgets the messages so far; metrics keep their totals."""
        self._collect()
        self._events.clear()

    def close(self) -> None:
        """Stops receiving; messages sent afterwards are lost."""
        if self._environment:
            self._environment = False
            if self._before is None:
                os.environ.pop("ATMOST_URL", None)
            else:
                os.environ["ATMOST_URL"] = self._before
        self.sender.close(timeout=0)
        self._receiver.close()

    def __enter__(self) -> Self:
        """The capture itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _forget(self) -> None:
        from atmost.metrics import MetricsReader

        self._metrics: Any = MetricsReader()

    def _collect(self) -> None:
        """Has all waiting messages sent, and receives them."""
        from atmost.lifecycle import Floor, living

        for use in living(Floor.USE):
            self._flush(use, getattr(use, "sender", None))
        for endpoint in living(Floor.ENDPOINT):
            self._flush(endpoint, endpoint)
        while (event := self._receiver.next_event(0)) is not None:
            self._events.append(event)
            self._metrics.feed(event, time.monotonic())

    def _flush(self, living: Any, sender: Any) -> None:
        flush = getattr(living, "flush", None)
        if callable(flush) and getattr(sender, "url", None) == self.url:
            flush()
