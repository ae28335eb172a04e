"""`watch`: the loop around a monitor and a receiver that has nothing else to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from atmost.endpoint.receiver import Receiver
from atmost.uses.heartbeats.monitor import HeartbeatMonitor
from atmost.uses.heartbeats.verdicts import Change

_ACCOUNT_EVERY: Final = 0.25
"""Seconds between two looks at the receiver's account, at least; it is looked at only when a silence is due."""


def watch(receiver: Receiver, monitor: HeartbeatMonitor, seconds: float | None = None) -> Iterator[Change]:
    """Yields what changes, until the receiver is closed.

    Between two changes it waits; while the caller keeps a change for long, the monitor counts the observer as late.

    Args:
        receiver: whose events are all consumed here.
        monitor: fed with `time.monotonic()`, which its `expect` should be called with too.
        seconds: how long to watch; None without end.
    """
    end = None if seconds is None else time.monotonic() + seconds
    looked = time.monotonic()
    monitor.observe(receiver.ledger(), looked)
    while not receiver.closed:
        now = time.monotonic()
        if end is not None and now >= end:
            return
        waits = [wait for wait in (monitor.wait(now), None if end is None else end - now) if wait is not None]
        event = receiver.next_event(min(waits, default=None))
        now = time.monotonic()
        if event is not None:
            yield from monitor.handle(event, now)
        deadline = monitor.next_deadline()
        if deadline is not None and deadline <= now:
            if now - looked >= _ACCOUNT_EVERY:
                looked = now
                yield from monitor.observe(receiver.ledger(), now)
            yield from monitor.tick(now)
