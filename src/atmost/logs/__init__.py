"""Logs: a lost record leaves a gap in its place, with the number missing of each level (docs/logs.md)."""

from atmost.logs.handler import LogHandler
from atmost.logs.parts import LogDropPolicy
from atmost.logs.reader import LogReader, LogReaderStats
from atmost.logs.reading import read, read_async
from atmost.logs.records import LogGap, LogGapReason, LogRecord, LogSource, display_lines
from atmost.logs.writer import LogOptions, LogStats, LogWriter, log_fields

__all__ = [
    "LogDropPolicy",
    "LogGap",
    "LogGapReason",
    "LogHandler",
    "LogOptions",
    "LogReader",
    "LogReaderStats",
    "LogRecord",
    "LogSource",
    "LogStats",
    "LogWriter",
    "display_lines",
    "log_fields",
    "read",
    "read_async",
]
