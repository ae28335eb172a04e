"""Syslog in datagrams: RFC 5424, and RFC 3164 as programs really write it, and bare text.

Sources: RFC 5424, RFC 5426 (over UDP), RFC 3164, the datagrams of util-linux' `logger` and of Python's `SysLogHandler`.
docs/ingest.md says how each form is read. A missing host is never invented: the peer's address is used.
"""

from atmost.ingest.syslog.gaps import SyslogGap, SyslogGaps, SyslogGapStats, SyslogLate
from atmost.ingest.syslog.message import parse, parse_all
from atmost.ingest.syslog.values import SyslogForm, SyslogHost, SyslogNote, SyslogReason, SyslogRecord, SyslogSeverity

__all__ = [
    "SyslogForm",
    "SyslogGap",
    "SyslogGapStats",
    "SyslogGaps",
    "SyslogHost",
    "SyslogLate",
    "SyslogNote",
    "SyslogReason",
    "SyslogRecord",
    "SyslogSeverity",
    "parse",
    "parse_all",
]
