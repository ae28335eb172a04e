"""The collector's own log on stderr, a line an event: key=value for people and grep, or JSON.

What strangers wrote is escaped in both, so that no line breaks out of its own.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final

from atmost.ingest.rejected import escaped

_LOGGERS: Final = ("atmost", "uvicorn", "asyncio")
_LEVELS: Final = {"atmost.collector": logging.INFO, "uvicorn": logging.ERROR}
"""What strangers send uvicorn is counted, and is no line each."""
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class OwnFormatter(logging.Formatter):
    """Formats one event."""

    def __init__(self, form: str) -> None:
        """Args: form: keyvalue or json."""
        super().__init__()
        self._json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        facts = {
            "time": moment,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        facts |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            facts["exception"] = self.formatException(record.exc_info)
        if self._json:
            return json.dumps(facts, default=str)
        return " ".join(f"{name}={_quoted(str(value))}" for name, value in facts.items())


def set_up_logging(form: str) -> logging.Handler:
    """Sends what this process says of itself to stderr; returns the handler, for `take_down_logging`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OwnFormatter(form))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
    return handler


def take_down_logging(handler: logging.Handler) -> None:
    """Undoes `set_up_logging`."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.removeHandler(handler)
        logger.propagate = True
    for name in _LEVELS:
        logging.getLogger(name).setLevel(logging.NOTSET)


def _quoted(text: str) -> str:
    plain = text and not any(one in text for one in ' "=\\') and text.isprintable()
    return text if plain else json.dumps(text if text.isprintable() else _lines(text), ensure_ascii=False)


def _lines(text: str) -> str:
    """Text of several lines with its breaks kept as characters that `json.dumps` escapes, the rest made harmless."""
    return "\n".join(line if line.isprintable() else escaped(line) for line in text.splitlines())
