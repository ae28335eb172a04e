"""`AtmostProcessor`: structlog's event dictionaries over a sender, numbered and counted like `LogHandler`'s records.

It stands at the end of the chain, or passes the event on to further processors. It never raises because of an event
and never waits. Exceptions become tracebacks, and all other bound values become fields.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from structlog import DropEvent

from atmost.endpoint.opening import GivenSender
from atmost.logs.text import describe_error, said
from atmost.logs.writer import LogOptions, LogWriter

_RANKS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_SAME: Final = {"warn": "warning", "exception": "error", "fatal": "critical", "msg": "info", "log": "info"}
_OWN: Final = {"event", "level", "logger", "logger_name", "exc_info", "exception", "stack", "stack_info"}


class AtmostProcessor:
    """Sends every event that reaches it.

    Example:
        >>> structlog.configure(processors=[structlog.contextvars.merge_contextvars, AtmostProcessor("udp://127.0.0.1:7140")])
    """

    def __init__(self, sender: GivenSender = None, *, passing: bool = False, **options: Any) -> None:
        """Prepares to send.

        Args:
            sender: as `LogHandler` has it.
            passing: whether the event goes on to the processors that follow; otherwise it ends here.
            options: those of `LogOptions`, by name.

        Raises:
            OptionError: an option is outside its range.
        """
        self.writer = LogWriter(sender, LogOptions(**options))
        self._passing = passing

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Sends the event; unless it is to be passed on, it ends here."""
        try:
            self._write(logger, method, event)
        except Exception as error:  # noqa: BLE001  logging never harms what it reports on: values may refuse any question
            self.writer.write(
                "ERROR",
                logging.ERROR,
                "structlog",
                said(event.get("event", "")),
                at=time.time(),
                error=describe_error(error),
            )
        if self._passing:
            return event
        raise DropEvent

    def _write(self, logger: Any, method: str, event: Mapping[str, Any]) -> None:
        level = said(event.get("level") or method).lower()
        level = _SAME.get(level, level)
        name = event.get("logger") or event.get("logger_name") or getattr(logger, "name", None) or "structlog"
        self.writer.write(
            level.upper(),
            _RANKS.get(level, logging.INFO),
            said(name),
            said(event.get("event", "")),
            at=time.time(),
            thread=threading.current_thread().name,
            exception=_exception_of(event),
            fields={key: value for key, value in event.items() if key not in _OWN} or None,
        )

    def close(self) -> None:
        """Sends the number of records, and closes a sender that was made here; a later event opens it again."""
        self.writer.close()


def _exception_of(event: Mapping[str, Any]) -> str:
    """Returns the traceback as an earlier processor made it, or else that of `exc_info`, and the stack where one was asked for."""
    texts = [said(text) for key in ("exception", "stack") if (text := event.get(key))]
    info = event.get("exc_info")
    if info and not event.get("exception"):
        error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else sys.exc_info()[1]
        if isinstance(error, BaseException):
            texts.insert(0, "".join(traceback.format_exception(error)).rstrip("\n"))
    return "\n".join(texts)
