"""Reads the datagram of a syslog message, whatever its form; pure, safe from any thread.

A priority, `1` and a timestamp make it RFC 5424, and then it is held to that. Anything else is text with as
much of a header as is there beyond doubt.
"""

from __future__ import annotations

import re
from datetime import UTC, tzinfo
from typing import Final

from atmost.ingest.pickled import is_pickle
from atmost.ingest.rejected import Rejected, rejected
from atmost.ingest.syslog.legacy import read_legacy
from atmost.ingest.syslog.structured import read_structured, sequence_of
from atmost.ingest.syslog.times import strict_time
from atmost.ingest.syslog.values import (
    DEFAULT_PRIORITY,
    MAX_DATAGRAM,
    MAX_MESSAGES,
    SyslogForm,
    SyslogHost,
    SyslogNote,
    SyslogReason,
    SyslogRecord,
    SyslogRefusal,
    SyslogSeverity,
)

_PRIORITY: Final = re.compile(r"<([0-9]{1,3})>")
_COUNTED: Final = re.compile(rb"([1-9][0-9]{0,5}) (?=<)")
"""The octet count of RFC 6587, which belongs to streams; `logger --octet-count` writes it in datagrams too."""
_MODERN: Final = re.compile(r"1 (?=[0-9]{4}-[0-9]{2}-[0-9]{2}T)")
_MODERN_TIMELESS: Final = re.compile(r"1 (?=- (?:[^ ]{1,255} ){4}(?:-(?: |\Z)|\[))")
"""The whole header, for `1 - ` alone may begin any text."""
_HEADER: Final = re.compile(r"([^ ]{1,64}) ([^ ]{1,255}) ([^ ]{1,255}) ([^ ]{1,255}) ([^ ]{1,255}) (?=[-\[])")
_LINES: Final = re.compile(rb"<(?:[0-9]{1,2}|1[0-8][0-9]|19[01])>[^\n]")
"""How each line begins in a datagram of several messages."""
_MARK: Final = "\ufeff"
"""The mark that a message is UTF-8 (RFC 5424, 6.4)."""


def parse_all(
    datagram: bytes, peer: str, now: float, *, zone: tzinfo = UTC, host: SyslogHost = SyslogHost.FIELD
) -> list[SyslogRecord | Rejected]:
    """Every message in a datagram, or why it was refused; never raises, whatever the bytes.

    A datagram is one message (RFC 5426, 3.1), and its text may have several lines. Yet relays and clients that batch are
    found, and two forms leave no doubt: every line begins with a priority of its own, or the counts of RFC 6587 cover the
    datagram to its end. These are read as several messages.

    Args:
        datagram: as received.
        peer, now, zone, host: as for `parse`.
    """
    if not (b"\n" in datagram if datagram[:1] == b"<" else datagram[:1].isdigit()):
        return [parse(datagram, peer, now, zone=zone, host=host)]
    messages = _split(datagram)
    read = [parse(one, peer, now, zone=zone, host=host) for one in messages[:MAX_MESSAGES]]
    if len(messages) > MAX_MESSAGES:
        rest = messages[MAX_MESSAGES:]
        read.append(rejected(SyslogReason.TOO_MANY_MESSAGES, rest[0], len(rest)))
    return read


def _split(datagram: bytes) -> list[bytes]:
    if datagram[:1] == b"<":
        lines = [line for line in datagram.rstrip(b"\0").split(b"\n") if line not in (b"", b"\r")]
        if len(lines) > 1 and all(_LINES.match(line) for line in lines):
            return lines
        return [datagram]
    return _split_counted(datagram) or [datagram]


def _split_counted(datagram: bytes) -> list[bytes]:
    """The frames of RFC 6587, when several of them cover the datagram; else nothing."""
    at = 0
    frames: list[bytes] = []
    end = len(datagram.rstrip(b"\0\r\n"))
    while at < end:
        found = _COUNTED.match(datagram, at)
        if found is None or found.end() + int(found[1]) > len(datagram):
            return []
        at = found.end() + int(found[1])
        frames.append(datagram[found.end() : at])
        while at < end and datagram[at : at + 1] in (b"\n", b"\r", b"\0"):  # ends of lines that were not counted
            at += 1
    return frames if len(frames) > 1 else []


def parse(
    datagram: bytes, peer: str, now: float, *, zone: tzinfo = UTC, host: SyslogHost = SyslogHost.FIELD
) -> SyslogRecord | Rejected:
    """The message in a datagram, or why it was refused; never raises, whatever the bytes.

    Args:
        datagram: one message. NUL bytes at its end (Python's `SysLogHandler` writes one) and one line end are not part of it.
        peer: who sent it, used if the message has no host.
        now: when it arrived, Unix seconds.
        zone: of timestamps that name none, as all of RFC 3164's.
        host: the meaning of a word after an RFC 3164 timestamp that may be the host or the text.
    """
    if datagram[:1] == b"\0" and is_pickle(datagram):
        return rejected(SyslogReason.PICKLE_REFUSED, datagram)
    if len(datagram) > MAX_DATAGRAM:
        return rejected(SyslogReason.TOO_LONG, datagram)
    body = datagram.rstrip(b"\0").removesuffix(b"\n").removesuffix(b"\r")
    counted = _COUNTED.match(body)
    if counted is not None and int(counted[1]) in (len(datagram) - counted.end(), len(body) - counted.end()):
        body = body[counted.end() :]
    if not body:
        return rejected(SyslogReason.EMPTY, datagram)
    try:
        return _read(body, peer, now, zone, host)
    except SyslogRefusal as refusal:
        return rejected(refusal.reason, datagram)


def _read(body: bytes, peer: str, now: float, zone: tzinfo, host: SyslogHost) -> SyslogRecord:
    notes: list[SyslogNote] = []
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = body.decode(errors="backslashreplace")
        notes.append(SyslogNote.NOT_UTF8)
    if text[:1] == _MARK:  # some clients write it before the priority
        text = text[1:]
    found = _PRIORITY.match(text)
    if found is not None and int(found[1]) < 192:
        priority, at = int(found[1]), found.end()
        modern = _MODERN.match(text, at) or _MODERN_TIMELESS.match(text, at)
        if modern is not None:
            return _modern(text, modern.end(), priority, notes, peer, now)
    else:
        priority, at = DEFAULT_PRIORITY, 0
        notes.append(SyslogNote.NO_PRIORITY)
    read = read_legacy(text[at:], now, zone, host)
    if read.t is None:
        notes.append(SyslogNote.NO_TIME)
    notes += read.notes
    if read.host is None:
        notes.append(SyslogNote.NO_HOST)
    return SyslogRecord(
        priority >> 3,
        SyslogSeverity(priority & 7),
        now if read.t is None else read.t,
        now,
        peer,
        peer if read.host is None else read.host,
        read.message,
        SyslogForm.BARE if read.t is None else SyslogForm.RFC3164,
        read.application,
        read.process,
        notes=tuple(notes),
    )


def _modern(text: str, at: int, priority: int, notes: list[SyslogNote], peer: str, now: float) -> SyslogRecord:
    """RFC 5424, from the timestamp on."""
    found = _HEADER.match(text, at)
    if found is None:
        raise SyslogRefusal(SyslogReason.MALFORMED_HEADER)
    timestamp, host, application, process, message_id = found.groups()
    if not found[0].isprintable():
        raise SyslogRefusal(SyslogReason.MALFORMED_HEADER)
    t = now
    if timestamp == "-":
        notes.append(SyslogNote.NO_TIME)
    else:
        known = strict_time(timestamp)
        if known is None:
            raise SyslogRefusal(SyslogReason.MALFORMED_TIMESTAMP)
        t = known
    structured, end, quoted = read_structured(text, found.end())
    if not quoted:
        notes.append(SyslogNote.UNQUOTED_DATA)
    if text[end : end + 1] not in ("", " "):
        raise SyslogRefusal(SyslogReason.MALFORMED_STRUCTURED_DATA)
    if host == "-":
        notes.append(SyslogNote.NO_HOST)
    return SyslogRecord(
        priority >> 3,
        SyslogSeverity(priority & 7),
        t,
        now,
        peer,
        peer if host == "-" else host,
        text[end + 1 :].removeprefix(_MARK),
        SyslogForm.RFC5424,
        None if application == "-" else application,
        None if process == "-" else process,
        None if message_id == "-" else message_id,
        structured,
        sequence_of(structured),
        tuple(notes),
    )
