"""`AtmostSink`: loguru's records over a sender, numbered and counted like `LogHandler`'s.

Values bound, contextualized or given as extra become fields, and an exception becomes its traceback. The sink's own format is
not used, because level, time and place travel beside the message. It never raises because of a record and never waits.
"""

from __future__ import annotations

import traceback
from typing import Any

from atmost.endpoint.opening import GivenSender
from atmost.logs.text import said
from atmost.logs.writer import LogOptions, LogWriter


class AtmostSink:
    """Sends every record that loguru gives it.

    Example:
        >>> loguru.logger.add(AtmostSink("udp://127.0.0.1:7140"), level="INFO")
    """

    def __init__(self, sender: GivenSender = None, **options: Any) -> None:
        """Prepares to send.

        Args:
            sender: as `LogHandler` has it.
            options: those of `LogOptions`, by name.

        Raises:
            OptionError: an option is outside its range.
        """
        self.writer = LogWriter(sender, LogOptions(**options))

    def write(self, message: Any) -> None:
        """Sends a record; called by loguru with a string that has the record as an attribute."""
        record = message.record
        level, process = record["level"], record["process"]
        self.writer.write(
            level.name,
            level.no,
            record["name"] or "loguru",
            record["message"],
            at=record["time"].timestamp(),
            thread=record["thread"].name,
            process=process.id,
            exception=_exception_of(record["exception"]),
            fields=record["extra"] or None,
        )

    def stop(self) -> None:
        """Sends the number of records, and closes a sender that was made here; called by loguru's `remove`."""
        self.writer.close()


def _exception_of(exception: Any) -> str:
    """Returns the traceback of the exception loguru caught; after `enqueue` its frames or its value may be missing."""
    if exception is None:
        return ""
    if exception.value is None:
        return said(getattr(exception.type, "__name__", ""))
    lines = traceback.format_exception(exception.type, exception.value, exception.traceback)
    return "".join(lines).rstrip("\n")
