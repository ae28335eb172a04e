"""Decides which characters of a text may be sent or reach a terminal, and what stands there instead of the others.

Pure functions, safe from any thread.
"""

from __future__ import annotations

import re
from typing import Final

HARMFUL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, line separators and overrides of the writing direction."""


def legible(text: str) -> str:
    """`text` with a question mark for each byte that is none: the names of programs, hosts and files may hold such bytes."""
    return text.encode(errors="replace").decode()


def harmless(text: str) -> str:
    """`text` with control characters and direction overrides shown as escapes."""
    return HARMFUL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
