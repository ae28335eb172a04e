"""Decides whether the compiled hot path is used: `native` is its module, or None.

It is used where it was built (docs/compiled.md), unless the environment says `ATMOST_PURE=1`. It relies on the interpreter's lock, and on
noticing a fork by a page of memory; where either is missing, as in free-threaded builds and outside Linux, the readable Python does everything.
"""

from __future__ import annotations

import mmap
import os
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from atmost.atomic import LOCK_FREE
from atmost.lifecycle import HERE

_INTERFACE: Final = 3
"""Raised, here and in native/hot.c, with every change of the names and arguments between the two."""


def _load() -> ModuleType | None:
    if os.environ.get("ATMOST_PURE", "0") not in {"", "0"} or not LOCK_FREE or not isinstance(HERE, mmap.mmap):
        return None
    try:
        found = import_module("atmost._native")
    except ImportError:  # not built, or built for another interpreter
        return None
    return (
        found if getattr(found, "INTERFACE", None) == _INTERFACE else None
    )  # one that an older checkout has left behind


native: Any = _load()


def is_compiled() -> bool:
    """Whether the hot path is compiled code in this process; messages and accounts are the same with it, at less cost."""
    return native is not None
