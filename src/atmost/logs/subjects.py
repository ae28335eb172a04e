"""Decides on which subject a logger's records are sent: the logger's name, token by token.

Pure; not thread-safe, but nothing worse than doing the same work twice can happen.
"""

from __future__ import annotations

import re
from typing import Final

from atmost.core.names import MAX_SUBJECT

MARK: Final = "mark"
"""The last token of the subject of marks."""
MAX_LOGGER: Final = 255
"""A logger's name on the wire, characters."""
_KEPT: Final = 1024
_NOT_IN_TOKEN: Final = re.compile(r"[\s\x00-\x20\x7f-\x9f\ud800-\udfff*>]")


class Subjects:
    """The subjects of one handler's loggers."""

    __slots__ = ("_known", "_prefix")

    def __init__(self, prefix: str) -> None:
        """Args: prefix: the first tokens."""
        self._prefix = prefix
        self._known: dict[str, tuple[str, str]] = {}

    def of(self, logger: str) -> tuple[str, str]:
        """The subject, and the logger's name where the subject does not tell it, else empty."""
        known = self._known.get(logger)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[logger] = self._make(logger)
        return known

    def _make(self, logger: str) -> tuple[str, str]:
        room = MAX_SUBJECT - len(self._prefix.encode()) - 1
        tokens = [_NOT_IN_TOKEN.sub("_", token) or "_" for token in logger[:MAX_LOGGER].split(".")]
        name = ".".join(tokens).encode()[:room].decode(errors="ignore").rstrip(".") or "_"
        legible = logger[:MAX_LOGGER].encode(errors="replace").decode()
        return f"{self._prefix}.{name}", "" if name == logger else legible
