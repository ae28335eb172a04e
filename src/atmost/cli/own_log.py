"""The collector's own log on stderr, one line per event: key=value for people and grep, or JSON.

Text from outside is escaped in both, so that it cannot begin a line of its own.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from typing import Final

from atmost.cli.bounded_output import BoundedOutput
from atmost.ingest.rejected import escaped

_LOGGERS: Final = ("atmost", "uvicorn", "asyncio")
_LEVELS: Final = {"atmost.collector": logging.INFO, "uvicorn": logging.ERROR}
"""Malformed requests to uvicorn are counted, not logged one by one."""
_REPEAT_AFTER: Final = 10.0
"""Seconds until the same line is written again."""
_MAX_KINDS: Final = 1000
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class OwnFormatter(logging.Formatter):
    """Formats one event."""

    def __init__(self, form: str) -> None:
        """Args: form: keyvalue or json."""
        super().__init__()
        self._json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Formats a record as one line, of text or of JSON."""
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


class _Repeats(logging.Filter):
    """Passes one of several equal lines, with their number: at the descriptor limit asyncio logs 1,000 a second."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is the first of its kind in ten seconds."""
        kind = (record.name, str(record.msg)[:200])
        since, count = self._seen.get(kind, (-math.inf, 0))
        if record.created - since < _REPEAT_AFTER:
            self._seen[kind] = (since, count + 1)
            return False
        if len(self._seen) >= _MAX_KINDS:
            self._seen.clear()
        self._seen[kind] = (record.created, 0)
        if count:
            record.repeated = count
        return True


class _OwnHandler(logging.Handler):
    """Writes to stderr without ever waiting for it."""

    def __init__(self, output: BoundedOutput) -> None:
        super().__init__()
        self.output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line."""
        self.output.line(self.format(record))


def set_up_logging(form: str) -> logging.Handler:
    """Sends this process's own log to stderr; returns the handler, for `take_down_logging`."""
    handler = _OwnHandler(BoundedOutput(sys.stderr))
    handler.setFormatter(OwnFormatter(form))
    handler.addFilter(_Repeats())
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
    return handler


def take_down_logging(handler: logging.Handler) -> None:
    """Removes the handler that `set_up_logging` has added, and closes its output."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.removeHandler(handler)
        logger.propagate = True
    if isinstance(handler, _OwnHandler):
        handler.output.close()
    for name in _LEVELS:
        logging.getLogger(name).setLevel(logging.NOTSET)


def _quoted(text: str) -> str:
    plain = text and not any(one in text for one in ' "=\\') and text.isprintable()
    return text if plain else json.dumps(text if text.isprintable() else _lines(text), ensure_ascii=False)


def _lines(text: str) -> str:
    """Text of several lines with its breaks kept as characters that `json.dumps` escapes, the rest made harmless."""
    return "\n".join(line if line.isprintable() else escaped(line) for line in text.splitlines())
