"""Reads what is not RFC 5424: a timestamp, a host and a tag where they are there, and a text.

RFC 3164 only describes what was seen; programs write the timestamp in several ways or leave it out, and the host too. This is
the grammar behind a timestamp (RFC 3164, 4.1.2 and 4.1.3):

    header  = [host SP] [tag] text            host = an address, or a name of letters, digits, `.`, `_` and `-`
    tag     = word "[" process "]" [":"]      always a tag, whatever follows the bracket: a colon, a blank or both
            / word "[]:"                      a process that its program does not know
            / word ":" (SP / end)             the usual form
            / word ":"                        with no blank behind it: only before what cannot be `::`, `://`, a time or a port
    word    = characters that tags have; JSON, key=value and quoted text have others

A tag right behind the timestamp means that no host was written, as the C library writes to /dev/log. A first word that is
neither a tag nor followed by one is ambiguous: `SyslogHost` says how it is read. Nothing is learned from earlier datagrams,
so one datagram always means the same.
"""

from __future__ import annotations

import re
from datetime import tzinfo
from ipaddress import ip_address
from typing import Final, NamedTuple

from atmost.ingest.syslog.times import iso_time, traditional_time
from atmost.ingest.syslog.values import SyslogHost, SyslogNote

_WORD: Final = r"([A-Za-z0-9_%/(.+-][A-Za-z0-9_./%@#+()$~&!*-]{0,127})"
"""A name as tags have it: with the paths, brackets and marks that are found there, and nothing that JSON or key=value has."""
_TAG: Final = re.compile(
    _WORD + r"(?:\[([^\]\s\x00-\x1f\x7f-\x9f]{1,128})\](?:: ?| |\Z)|\[\]: ?|:(?: |\Z|(?=[^\s\d:/\\])))",
)
_TAG_WITH_PROCESS: Final = re.compile(_WORD + r"\[([^\]\s\x00-\x1f\x7f-\x9f]{1,128})\]: ?")
"""Without a timestamp before it only this is a tag for certain: `error: no such file` may be the text."""
_HOST: Final = re.compile(r"([A-Za-z0-9_:][A-Za-z0-9_.:%-]{0,254})(?: |\Z)")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Legacy(NamedTuple):
    """The parts of such a message; None is what it does not say."""

    message: str
    t: float | None = None
    host: str | None = None
    application: str | None = None
    process: str | None = None
    notes: tuple[SyslogNote, ...] = ()


def read_legacy(text: str, now: float, zone: tzinfo, host: SyslogHost) -> Legacy:
    """The parts of a message behind its priority.

    Args:
        text: all of it.
        now: when it arrived, Unix seconds.
        zone: of timestamps that name none.
        host: how an ambiguous word behind the timestamp is read.
    """
    notes: tuple[SyslogNote, ...]
    if text[:1] == " " and traditional_time(text[1:], now, zone):  # some devices write a blank behind the priority
        text = text[1:]
    if traditional := traditional_time(text, now, zone):
        t, end, dated, zoned = traditional
        notes = (() if dated else (SyslogNote.NO_YEAR,)) + (() if zoned else (SyslogNote.NO_ZONE,))
    elif iso := iso_time(text, zone):
        t, end, zoned = iso
        notes = () if zoned else (SyslogNote.NO_ZONE,)
    else:
        return _tagged(text, _TAG_WITH_PROCESS, Legacy(text))
    if text[end : end + 2] == ": ":  # as Cisco's devices end it
        end += 1
    if text[end : end + 1] not in ("", " "):
        return Legacy(text)
    rest = text[end + 1 :]
    known = Legacy(rest, t, notes=notes)
    word = _HOST.match(rest)
    address = word is not None and _is_address(word[1])
    if word is not None and word[1][-1:] == ":" and _is_address(word[1][:-1]):  # an address is never a tag
        return known._replace(host=word[1][:-1], message=rest[word.end() :])
    if not address and _TAG.match(rest):
        return _tagged(rest, _TAG, known)
    if word is None or not (address or _NAME.fullmatch(word[1])):
        return known
    behind = rest[word.end() :]
    if _TAG.match(behind):
        return _tagged(behind, _TAG, known._replace(host=word[1]))
    # Without a tag behind it the word is the host or the first of the text, and only an address is a host for certain.
    is_host = address or (host is SyslogHost.FIELD and rest[word.end() - 1 : word.end()] == " ")
    return known._replace(host=word[1], message=behind) if is_host else known


def _is_address(text: str) -> bool:
    if ":" not in text and not text.replace(".", "").isdigit():
        return False
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _tagged(text: str, tag: re.Pattern[str], known: Legacy) -> Legacy:
    """`known` with the tag that `text` begins with, if it does."""
    found = tag.match(text)
    if found is None:
        return known
    return known._replace(application=found[1], process=found[2], message=text[found.end() :])
