"""The options of a receiver as a type, for what makes receivers and hands their options on."""

from __future__ import annotations

import os
from typing import TypedDict

from atmost.endpoint.keys import KeyText


class ReceiverArguments(TypedDict, total=False):
    """What `Receiver` takes besides its URL; it documents them."""

    audience: str
    grace: float
    window: int
    max_sessions: int
    future_bound: float | None
    clock_guard: float | None
    max_age: float | None
    max_queue: int
    key: KeyText | None
    key_file: str | os.PathLike[str] | None
    shards: str | None
