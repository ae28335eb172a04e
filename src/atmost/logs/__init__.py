"""Logs: a lost record is a counted hole, by level and in its place (docs/logs.md)."""

from atmost.logs.display import lines
from atmost.logs.handler import LogHandler
from atmost.logs.options import LogOptions
from atmost.logs.reader import LogReader
from atmost.logs.reasons import DropPolicy, GapReason
from atmost.logs.records import LogGap, LogRecord, LogSource
from atmost.logs.writer import LogWriter

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
