"""Reads what is not RFC 5424: a timestamp, a host and a tag where they are there beyond doubt, and a text.

RFC 3164 only describes what was seen; programs write the timestamp in several ways or leave it out, and the host too. What
cannot be told from the text stays in the text: nothing is lost, and no host is invented from a word.
"""

from __future__ import annotations

import re
from datetime import tzinfo
from ipaddress import ip_address
from typing import Final, NamedTuple

from atmost.ingest.syslog.times import iso_time, traditional_time
from atmost.ingest.syslog.values import SyslogNote

_TAG: Final = re.compile(r"([^\s:\[\]]{1,64})(?:\[([^\]\s]{1,128})\])?:(?: |\Z)")
"""A tag as it is written behind a host or a timestamp: `name:` or `name[process]:`."""
_TAG_WITH_PROCESS: Final = re.compile(r"([^\s:\[\]]{1,64})\[([^\]\s]{1,128})\]: ")
"""Without a timestamp before it only this is a tag for certain: `error: no such file` may be the text."""
_HOST: Final = re.compile(r"((?:::)?[A-Za-z0-9_][A-Za-z0-9_.:%-]{0,254}) ")
"""A name, or an address: those of IPv6 may begin with two colons."""


class Legacy(NamedTuple):
    """The parts of such a message; None is what it does not say."""

    message: str
    t: float | None = None
    host: str | None = None
    application: str | None = None
    process: str | None = None
    notes: tuple[SyslogNote, ...] = ()


def read_legacy(text: str, now: float, zone: tzinfo) -> Legacy:
    """The parts of a message behind its priority.

    Args:
        text: all of it.
        now: when it arrived, Unix seconds.
        zone: of timestamps that name none.
    """
    notes: tuple[SyslogNote, ...]
    if traditional := traditional_time(text, now, zone):
        t, end, dated = traditional
        notes = (SyslogNote.NO_ZONE,) if dated else (SyslogNote.NO_YEAR, SyslogNote.NO_ZONE)
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
    if _TAG.match(rest):
        return _tagged(rest, _TAG, known)
    host = _HOST.match(rest)
    if host is None or (host[1].startswith("::") and not _is_address(host[1])):
        return known
    behind = rest[host.end() :]
    if _TAG.match(behind):
        return _tagged(behind, _TAG, known._replace(host=host[1]))
    # Without a tag behind it only an address is a host for certain: `config.yaml` may be the first word of the text.
    return known._replace(host=host[1], message=behind) if _is_address(host[1]) else known


def _is_address(text: str) -> bool:
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
