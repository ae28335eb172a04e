"""`watch` and `watch_async`: the loop around a monitor and a receiver that has nothing else to do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

from atmost.core.events import Event
from atmost.endpoint.checking import check_receiver
from atmost.heartbeats.monitor import HeartbeatMonitor
from atmost.heartbeats.verdicts import HeartbeatChange

if TYPE_CHECKING:
    from atmost.endpoint.receiver import Receiver
    from atmost.endpoint.receiver_async import AsyncReceiver

_ACCOUNT_EVERY: Final = 0.25
"""Seconds between two looks at the receiver's account, at least; it is looked at only when a silence is due."""


def watch(
    receiver: Receiver, monitor: HeartbeatMonitor | None = None, seconds: float | None = None
) -> Iterator[HeartbeatChange]:
    """Yields what changes, until the receiver is closed.

    Between two changes it waits; if the caller takes long over a change, the monitor counts the observer as late.

    Args:
        receiver: whose events are all consumed here.
        monitor: fed with `time.monotonic()`, which its `expect` should be called with too; None takes a new one.
        seconds: how long to watch; None without end.
    """
    turns = _Turns(check_receiver(receiver), monitor, seconds)
    while not receiver.closed and not turns.over():
        yield from turns.changes(receiver.next_event(turns.wait()))


async def watch_async(
    receiver: AsyncReceiver, monitor: HeartbeatMonitor | None = None, seconds: float | None = None
) -> AsyncIterator[HeartbeatChange]:
    """Yields what changes, until the receiver is closed; as `watch`, in an event loop.

    Args:
        receiver: whose events are all consumed here.
        monitor: fed with `time.monotonic()`, which its `expect` should be called with too; None takes a new one.
        seconds: how long to watch; None without end.
    """
    turns = _Turns(check_receiver(receiver, awaited=True), monitor, seconds)
    while not receiver.closed and not turns.over():
        for change in turns.changes(await receiver.next_event(turns.wait())):
            yield change


class _Turns:
    """What both loops do between two waits."""

    def __init__(
        self, receiver: Receiver | AsyncReceiver, monitor: HeartbeatMonitor | None, seconds: float | None
    ) -> None:
        self._receiver = receiver
        self._monitor = monitor = HeartbeatMonitor() if monitor is None else monitor
        self._looked = time.monotonic()
        self._end = None if seconds is None else self._looked + seconds
        monitor.observe(receiver.ledger(), self._looked)

    def over(self) -> bool:
        """Whether it was watched for long enough."""
        return self._end is not None and time.monotonic() >= self._end

    def wait(self) -> float | None:
        """Seconds to wait for an event."""
        now = time.monotonic()
        waits = [self._monitor.wait(now), None if self._end is None else max(0.0, self._end - now)]
        return min((wait for wait in waits if wait is not None), default=None)

    def changes(self, event: Event | None) -> Iterator[HeartbeatChange]:
        """What changes by an event, or by the silence instead of one."""
        now, monitor = time.monotonic(), self._monitor
        if event is not None:
            yield from monitor.feed(event, now)
        deadline = monitor.next_deadline()
        if deadline is not None and deadline <= now:
            if now - self._looked >= _ACCOUNT_EVERY:
                self._looked = now
                yield from monitor.observe(self._receiver.ledger(), now)
            yield from monitor.tick(now)
