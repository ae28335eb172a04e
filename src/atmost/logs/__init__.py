"""Logs: a lost record is a counted hole, by level and in its place (docs/logs.md)."""

from atmost.logs.handler import LogHandler
from atmost.logs.reader import LogReader
from atmost.logs.records import GapReason, LogGap, LogRecord, LogSource, lines
from atmost.logs.writer import DropPolicy, LogOptions, LogWriter

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
