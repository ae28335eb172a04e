"""Where a sender's name comes from: an argument, `ATMOST_NAME`, or the program."""

from __future__ import annotations

import os

from atmost.core.escapes import legible
from atmost.errors import OptionError
from atmost.transport.holder import this_program


def find_name(name: str | None) -> str:
    """What receivers show, with a question mark for each byte that is no text: a beacon carries only text.

    Args:
        name: takes precedence, even when it is empty.

    Raises:
        OptionError: it is something else than text.
    """
    if not isinstance(name, str | None):
        raise OptionError("name", name, "text")
    return legible(name if name is not None else os.environ.get("ATMOST_NAME") or this_program())
