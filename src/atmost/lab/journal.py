"""The log of a link: one line a second with what it did since the line before, and one with the sum at the end.

Lines are those of the standard library's logging, time and level first: INFO, or WARNING when something was dropped.
What the lines tell adds up to the account. Not thread-safe: one thread at a time.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from atmost.lab.faults import LinkFaults
from atmost.lab.forwarding import LinkAccount

_INTERVAL = 1.0
"""Seconds from line to line."""
_SHOWN = (
    "received_datagrams",
    "received_messages",
    "dropped_datagrams",
    "dropped_messages",
    "duplicated_datagrams",
    "reordered_datagrams",
    "corrupted_datagrams",
    "kernel_drops",
)


class LinkJournal:
    """Writes the log of one link to a file, or to nowhere."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the file.

        Args:
            path: The file to append to; None writes nothing.
            clock: Seconds that never step back, for the time between lines.

        Raises:
            OSError: The file cannot be opened.
        """
        self._clock = clock
        self._next = clock() + _INTERVAL
        self._told = dict.fromkeys(_SHOWN, 0)
        self._handler = logging.NullHandler() if path is None else logging.FileHandler(path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._logger = logging.getLogger("atmost.lab.link")
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._logger.addHandler(self._handler)

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self._logger.removeHandler(self._handler)
        self._handler.close()

    def started(self, url: str, target: str, seed: int, faults: LinkFaults) -> None:
        """Write from where to where the link forwards, and with which faults."""
        options = ", ".join(f"{name} {value:g}" for name, value in asdict(faults).items())
        self._logger.info("link from %s to %s with seed %d: %s", url, target, seed, options)

    def tick(self, account: Callable[[], LinkAccount]) -> None:
        """Write the line of the last second, if that second is over.

        Args:
            account: Gives what the link did so far; called only when a line is due.
        """
        now = self._clock()
        if now >= self._next:
            # After a pause one line for all of it, and the rhythm of before.
            self._next += _INTERVAL * (1 + (now - self._next) // _INTERVAL)
            self._write("saw", account())

    def ended(self, account: LinkAccount) -> None:
        """Write what happened since the last line, and then the sum."""
        self._write("saw", account)
        self._told = dict.fromkeys(_SHOWN, 0)
        self._write("ended; in all it saw", account)

    def _write(self, opening: str, account: LinkAccount) -> None:
        """Write what the account has more than was told."""
        totals = {name: getattr(account, name) or 0 for name in _SHOWN}  # None, an unknown count, says nothing.
        new = {name: totals[name] - self._told[name] for name in _SHOWN}
        self._told = totals
        text = (
            "{received_datagrams} datagrams with {received_messages} messages, "
            "dropped {dropped_datagrams} datagrams with {dropped_messages} messages, "
            "duplicated {duplicated_datagrams}, reordered {reordered_datagrams}, corrupted {corrupted_datagrams}"
        ).format_map(new)
        if new["kernel_drops"]:
            text += f"; {new['kernel_drops']} more were dropped by the kernel, for want of receive buffer"
        level = logging.WARNING if new["dropped_datagrams"] or new["kernel_drops"] else logging.INFO
        self._logger.log(level, "%s %s", opening, text)
