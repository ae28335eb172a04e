"""Logs: a lost record is a counted hole, by level and in its place (docs/logs.md)."""

from atmost.uses.logs.display import lines
from atmost.uses.logs.handler import LogHandler
from atmost.uses.logs.options import LogOptions
from atmost.uses.logs.reader import LogReader
from atmost.uses.logs.reasons import DropPolicy, GapReason
from atmost.uses.logs.records import LogGap, LogRecord, LogSource
from atmost.uses.logs.writer import LogWriter

__all__ = [
    "DropPolicy",
    "GapReason",
    "LogGap",
    "LogHandler",
    "LogOptions",
    "LogReader",
    "LogRecord",
    "LogSource",
    "LogWriter",
    "lines",
]
