"""Reads the lines of DogStatsD that are not measurements: events and service checks.

An optional field that cannot be read costs that field, and is counted; the event or the check is taken without it.
"""

from __future__ import annotations

import re
from typing import Final

from atmost.ingest.statsd.fields import Origin, note, read_tags, unix_time
from atmost.ingest.statsd.values import (
    MAX_NAME,
    StatsdAlert,
    StatsdCheck,
    StatsdDatagram,
    StatsdEvent,
    StatsdNote,
    StatsdPriority,
    StatsdReason,
    StatsdRefusal,
    StatsdStatus,
    Tags,
)

_HEADER: Final = re.compile(r"_e\{([0-9]{1,5}),([0-9]{1,5})\}:")
_STATUSES: Final = {str(int(status)): status for status in StatsdStatus}
_PRIORITIES: Final = {str(priority): priority for priority in StatsdPriority}
_ALERTS: Final = {str(alert): alert for alert in StatsdAlert}
_OF_EVENTS: Final = ("h", "k", "p", "s", "t")
_OF_CHECKS: Final = ("h", "m")


def read_event(line: str, into: StatsdDatagram) -> None:
    """Adds the event that a line beginning with `_e{` is.

    Title and text are counted in bytes, so that they may hold any character; `\\n` in them is a line break.

    Raises:
        StatsdRefusal: its title and text cannot be told apart.
    """
    found = _HEADER.match(line)
    if found is None:
        raise StatsdRefusal(StatsdReason.MALFORMED_EVENT)
    body = line[found.end() :].encode()
    of_title, of_text = int(found[1]), int(found[2])
    end = of_title + 1 + of_text
    if (
        not of_title
        or len(body) < end
        or body[of_title : of_title + 1] != b"|"
        or body[end : end + 1] not in (b"", b"|")
    ):
        raise StatsdRefusal(StatsdReason.MALFORMED_EVENT)
    # Both end before a `|` or the end of the line, and so between two characters.
    title, text = body[:of_title].decode(), body[of_title + 1 : end].decode()
    said, timestamp, tags, origin = _fields(body[end:].decode(), _OF_EVENTS, into)
    for mark, known in (("p", _PRIORITIES), ("t", _ALERTS)):
        if mark in said and said[mark] not in known:
            note(into, StatsdNote.UNKNOWN_FIELD)
    into.events.append(
        StatsdEvent(
            _unescaped(title),
            _unescaped(text),
            timestamp,
            said.get("h", ""),
            said.get("k", ""),
            _PRIORITIES.get(said.get("p", ""), StatsdPriority.NORMAL),
            _ALERTS.get(said.get("t", ""), StatsdAlert.INFO),
            said.get("s", ""),
            tags,
            origin.value(),
        )
    )


def read_check(line: str, into: StatsdDatagram) -> None:
    """Adds the service check that a line beginning with `_sc|` is.

    Raises:
        StatsdRefusal: it has no name, or no status that there is.
    """
    name, _, rest = line[4:].partition("|")
    status, bar, rest = rest.partition("|")
    found = _STATUSES.get(status)
    if not name or found is None:
        raise StatsdRefusal(StatsdReason.MALFORMED_CHECK)
    if len(name) > MAX_NAME:
        raise StatsdRefusal(StatsdReason.NAME_TOO_LONG)
    said, timestamp, tags, origin = _fields(bar + rest, _OF_CHECKS, into)
    message = _unescaped(said.get("m", "")).replace("m\\:", "m:")
    into.checks.append(StatsdCheck(name, found, timestamp, said.get("h", ""), message, tags, origin.value()))


def _fields(
    text: str, marks: tuple[str, ...], into: StatsdDatagram
) -> tuple[dict[str, str], float | None, Tags, Origin]:
    """The fields in a text that is empty or begins with `|`: those of the marks, the time, the tags and the origin."""
    said: dict[str, str] = {}
    timestamp: float | None = None
    tags: Tags | None = None
    origin = Origin()
    for field in text.split("|")[1:]:
        mark, colon, value = field.partition(":")
        try:
            if field[:1] == "#" and tags is None:
                tags = read_tags(field[1:], ":", into)
            elif mark == "d" and colon and timestamp is None and (seconds := unix_time(value)) is not None:
                timestamp = seconds
            elif mark in marks and colon and mark not in said:
                said[mark] = value
            elif not field or field[0] == "#" or (colon and (mark == "d" or mark in marks)):
                note(into, StatsdNote.MALFORMED_FIELD)
            elif not origin.accept(field):
                note(into, StatsdNote.UNKNOWN_FIELD)
        except StatsdRefusal:
            note(into, StatsdNote.MALFORMED_FIELD)
    return said, timestamp, tags or (), origin


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n")
