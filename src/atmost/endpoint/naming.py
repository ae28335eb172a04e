"""Where a sender's name comes from: an argument, `ATMOST_NAME`, or the program."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from atmost.errors import OptionError


def find_name(name: str | None) -> str:
    """What receivers show, with a question mark for each byte that is no text: a beacon carries only text.

    Args:
        name: takes precedence, even when it is empty.

    Raises:
        OptionError: it is something else than text.
    """
    if not isinstance(name, str | None):
        raise OptionError("name", name, "text")
    found = name if name is not None else os.environ.get("ATMOST_NAME") or _program()
    return found.encode(errors="replace").decode()


def _program() -> str:
    """The program's name, for people."""
    return Path(sys.argv[0]).name or "python" if sys.argv else "python"
