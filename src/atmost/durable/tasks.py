"""Ends tasks for certain: what waits with a timeout of its own may swallow one cancellation (Python 3.11's `wait_for` does)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_AGAIN: Final = 0.05
"""Seconds after which a task that goes on is cancelled once more."""


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancels tasks until all have ended; what they raise is nobody's concern any more."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
