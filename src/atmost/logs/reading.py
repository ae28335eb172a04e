"""`read` and `read_async`: the loop around a reader and a receiver that has nothing else to do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from atmost.core.events import Event
from atmost.endpoint.checking import check_receiver
from atmost.logs.reader import LogReader, Read

if TYPE_CHECKING:
    from atmost.endpoint.receiver import Receiver
    from atmost.endpoint.receiver_async import AsyncReceiver


def read(receiver: Receiver, reader: LogReader | None = None, seconds: float | None = None) -> Iterator[Read]:
    """Yields records in order, and gaps in their place, until the receiver is closed.

    Args:
        receiver: whose events are all consumed here.
        reader: fed with `time.monotonic()`; None takes a new one.
        seconds: how long to read; None without end. At the end, what is held back is yielded too.
    """
    check_receiver(receiver)
    turns = _Turns(reader, seconds)
    while not receiver.closed and not turns.over():
        yield from turns.found(receiver.next_event(turns.wait()))
    yield from turns.rest()


async def read_async(
    receiver: AsyncReceiver, reader: LogReader | None = None, seconds: float | None = None
) -> AsyncIterator[Read]:
    """Yields records in order, and gaps in their place, until the receiver is closed; as `read`, in an event loop.

    Args:
        receiver: whose events are all consumed here.
        reader: fed with `time.monotonic()`; None takes a new one.
        seconds: how long to read; None without end. At the end, what is held back is yielded too.
    """
    check_receiver(receiver, awaited=True)
    turns = _Turns(reader, seconds)
    while not receiver.closed and not turns.over():
        for found in turns.found(await receiver.next_event(turns.wait())):
            yield found
    for found in turns.rest():
        yield found


class _Turns:
    """What both loops do between two waits."""

    def __init__(self, reader: LogReader | None, seconds: float | None) -> None:
        now = time.monotonic()
        self._reader = LogReader(now=now) if reader is None else reader
        self._end = None if seconds is None else now + seconds

    def over(self) -> bool:
        """Whether it was read for long enough."""
        return self._end is not None and time.monotonic() >= self._end

    def wait(self) -> float | None:
        """Returns the seconds to wait for an event."""
        now = time.monotonic()
        waits = [self._reader.wait(now), None if self._end is None else max(0.0, self._end - now)]
        return min((wait for wait in waits if wait is not None), default=None)

    def found(self, event: Event | None) -> list[Read]:
        """Returns what is to be yielded because of an event, or because time has passed instead of one."""
        now = time.monotonic()
        return self._reader.tick(now) if event is None else self._reader.feed(event, now)

    def rest(self) -> list[Read]:
        """Returns what is held back at the end."""
        return self._reader.close(time.monotonic())
