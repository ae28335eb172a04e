"""An event loop for one test."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

from tests.real import BOUND


def go(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine in a loop of its own, within bounds; a warning of the loop's is a failure."""

    async def bounded() -> None:
        await asyncio.wait_for(main(), BOUND)

    asyncio.run(bounded())
    gc.collect()
