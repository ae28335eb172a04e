"""Reads a line that is a measurement, in either packing and with tags in any of the five places.

The packings collide. `a:1|c|#k:v` is one value with a tag, `a:1|c:2|ms` are two samples. A tag section, or several values
before the first `|`, means DogStatsD's packing: the type and the fields hold for all values. Without them a `:` in the type,
or in a sample rate right behind it, begins another sample.

Sets are the exception: DogStatsD packs every type but sets, because a member may look like anything. All up to the `|` is one
member, colons included: addresses, URLs and times are members as they are.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Final

from atmost.ingest.rejected import rejected
from atmost.ingest.statsd.fields import Origin, note, number, read_tags, unix_time
from atmost.ingest.statsd.values import (
    MAX_MEMBER,
    MAX_NAME,
    MAX_VALUES,
    StatsdDatagram,
    StatsdGauges,
    StatsdKind,
    StatsdMetric,
    StatsdNote,
    StatsdReason,
    StatsdRefusal,
    Tags,
)

KINDS: Final = {str(kind): kind for kind in StatsdKind}
NAME: Final = r"[^:|,;#\[\]\x00-\x1f\x7f-\x9f\ufeff]"
"""A character of a name; UTF-8's mark is none."""
_NAME: Final = re.compile(NAME + "*")
_SECOND_STYLE: Final = re.compile(r"[#;][^,=#;]+=")
"""Tags of another style among those between commas."""
_BETWEEN: Final = {",": ",", "#": ",", "[": ",", ";": ";"}
"""What stands between two tags, by the mark that begins them."""


def read_metric(line: str, into: StatsdDatagram, gauges: StatsdGauges) -> None:
    """Adds what the line says; of several samples those that can be read.

    Args:
        line: not empty, without its ending.
        into: what is added to.
        gauges: what a signed gauge means.

    Raises:
        StatsdRefusal: nothing of it can be read.
    """
    name, tags, rest = _split_name(line, into)
    head, bar, tail = rest.partition("|")
    if not bar:
        raise StatsdRefusal(StatsdReason.MALFORMED_LINE)
    fields = tail.split("|")
    packed = ":" in head and not _is_set(tail)
    if packed or not _has_samples(fields):
        into.metrics.append(_metric(name, tags, head, fields, into, gauges))
        return
    if rest.count(":") >= MAX_VALUES:
        raise StatsdRefusal(StatsdReason.TOO_MANY_VALUES)
    refused: Counter[StatsdReason] = Counter()
    for sample in _split_samples(rest):
        try:
            into.metrics.append(_sample(name, tags, sample, into, gauges))
        except StatsdRefusal as refusal:
            refused[refusal.reason] += 1
    into.rejected += [rejected(reason, line, count) for reason, count in refused.items()]


def _split_samples(text: str) -> list[str]:
    """Each of several samples: from behind a colon to the first one behind its type, for a set's member may hold colons."""
    samples = []
    at = 0
    while at >= 0:
        end = text.find(":", max(at, text.find("|", at)))
        samples.append(text[at:] if end < 0 else text[at:end])
        at = end + 1 if end >= 0 else -1
    return samples


def _sample(name: str, tags: Tags, sample: str, into: StatsdDatagram, gauges: StatsdGauges) -> StatsdMetric:
    """One of several samples: a value, a type, and at most a rate."""
    head, bar, tail = sample.partition("|")
    fields = tail.split("|")
    if not bar or len(fields) > 2 or (len(fields) == 2 and fields[1][:1] != "@"):
        raise StatsdRefusal(StatsdReason.MALFORMED_COMPONENT)
    if ":" in head and not _is_set(tail):
        raise StatsdRefusal(StatsdReason.INVALID_PACKING)
    return _metric(name, tags, head, fields, into, gauges)


def _is_set(tail: str) -> bool:
    """Whether the type that a text begins with is that of a set."""
    return tail[:1] == "s" and tail[1:2] in ("", "|", ":")


def _has_samples(fields: list[str]) -> bool:
    """Whether several samples are packed behind the name, each with a type."""
    if any(field[:1] == "#" for field in fields):
        return False
    return ":" in fields[0] or (len(fields) > 1 and fields[1][:1] == "@" and ":" in fields[1])


def _split_name(line: str, into: StatsdDatagram) -> tuple[str, Tags, str]:
    """The name, the tags beside it, and what follows the `:` behind both."""
    found = _NAME.match(line)
    assert found is not None  # the pattern matches the empty text
    end = found.end()
    name, mark = line[:end], line[end : end + 1]
    if mark not in (":", ",", "#", "[", ";") or not (name or mark == "["):
        raise StatsdRefusal(StatsdReason.MALFORMED_LINE)
    if len(name) > MAX_NAME:
        raise StatsdRefusal(StatsdReason.NAME_TOO_LONG)
    if mark == ":":
        return name, (), line[end + 1 :]
    bar = line.find("|", end)
    if bar < 0:
        raise StatsdRefusal(StatsdReason.MALFORMED_LINE)
    if mark == "[":
        return _split_bracket(line, end, bar, into)
    # A tag's value may hold a colon, for clients of these styles pack no values, and hosts have ports: the last one before
    # the type ends the tags. A member of a set may hold colons as well, and is the likelier place: there it is the first.
    stop = line.find(":", end, bar) if _is_set(line[bar + 1 : bar + 3]) else line.rfind(":", end, bar)
    if stop < 0:
        raise StatsdRefusal(StatsdReason.MALFORMED_LINE)
    inner, rest = line[end + 1 : stop], line[stop + 1 :]
    if "]" in inner and "[" not in inner:  # brackets belong to tags, and these were never opened
        raise StatsdRefusal(StatsdReason.MALFORMED_LINE)
    if (
        "|#" in rest
        or (mark != ";" and _SECOND_STYLE.search(inner))
        or (inner[-1:] == "]" and "=" in inner[inner.rfind("[") :])
    ):
        raise StatsdRefusal(StatsdReason.MIXED_TAGGING_STYLES)
    return name, read_tags(inner, "=", into, between=_BETWEEN[mark]), rest


def _split_bracket(line: str, start: int, bar: int, into: StatsdDatagram) -> tuple[str, Tags, str]:
    """The same, where tags stand in brackets: before the name, in it or behind it."""
    stop = line.find("]", start, bar)
    behind = None if stop < 0 else _NAME.match(line, stop + 1, bar)
    if behind is None:
        raise StatsdRefusal(StatsdReason.MALFORMED_LINE)
    name, mark = line[:start] + behind[0], line[behind.end() : behind.end() + 1]
    if mark in (",", "#", ";") or "|#" in line[bar:]:
        raise StatsdRefusal(StatsdReason.MIXED_TAGGING_STYLES)
    if mark != ":" or not name:
        raise StatsdRefusal(StatsdReason.MALFORMED_LINE)
    if len(name) > MAX_NAME:
        raise StatsdRefusal(StatsdReason.NAME_TOO_LONG)
    return name, read_tags(line[start + 1 : stop], "=", into), line[behind.end() + 1 :]


def _metric(
    name: str, tags: Tags, head: str, fields: list[str], into: StatsdDatagram, gauges: StatsdGauges
) -> StatsdMetric:
    """The measurement of one value or a pack of them."""
    kind = KINDS.get(fields[0]) or KINDS.get(fields[0].strip(" \t"))  # StatsD trims it too
    if kind is None:
        packed_twice = ":" in fields[0]
        raise StatsdRefusal(StatsdReason.INVALID_PACKING if packed_twice else StatsdReason.MALFORMED_COMPONENT)
    rate, timestamp, section, origin = None, None, None, Origin()
    for field in fields[1:]:
        mark = field[:1]
        if mark == "@" and rate is None:
            rate = _rate(field[1:])
        elif mark == "#" and section is None:
            section = read_tags(field[1:], ":", into)
        elif mark == "T" and timestamp is None:
            timestamp = unix_time(field[1:])
            if timestamp is None:
                raise StatsdRefusal(StatsdReason.MALFORMED_COMPONENT)
        elif mark in ("", "@", "#", "T"):
            raise StatsdRefusal(StatsdReason.MALFORMED_COMPONENT)
        elif not origin.accept(field):
            note(into, StatsdNote.UNKNOWN_FIELD)
    values = _values(head, kind, into)
    relative = kind is StatsdKind.GAUGE and gauges is StatsdGauges.STATSD and _is_signed(head)
    if relative and (section is not None or timestamp is not None or origin or ":" in head):
        note(into, StatsdNote.AMBIGUOUS_GAUGE)
    if rate is None:
        rate = 1.0
    elif kind is StatsdKind.GAUGE or kind is StatsdKind.SET:
        note(into, StatsdNote.SAMPLE_RATE)
        rate = 1.0
    metric = StatsdMetric(name, kind, values, rate, relative, tags or section or (), timestamp, origin.value())
    if kind is StatsdKind.COUNTER and not math.isfinite(metric.total):
        raise StatsdRefusal(StatsdReason.MALFORMED_VALUE)
    return metric


def _values(head: str, kind: StatsdKind, into: StatsdDatagram) -> tuple[float | str, ...]:
    if kind is StatsdKind.SET:
        if not head:
            raise StatsdRefusal(StatsdReason.MALFORMED_VALUE)
        if len(head) > MAX_MEMBER // 4 and len(head.encode()) > MAX_MEMBER:
            raise StatsdRefusal(StatsdReason.MEMBER_TOO_LONG)
        return (head,)
    pieces = head.split(":", MAX_VALUES + 1)
    if len(pieces) > MAX_VALUES:
        raise StatsdRefusal(StatsdReason.TOO_MANY_VALUES)
    values = [number(piece) for piece in pieces if piece]
    known = tuple(value for value in values if value is not None)
    if not known or len(known) < len(values):
        raise StatsdRefusal(StatsdReason.MALFORMED_VALUE)
    if len(values) < len(pieces):
        note(into, StatsdNote.EMPTY_VALUE, len(pieces) - len(values))
    return known


def _is_signed(head: str) -> bool:
    """Whether the values of a gauge have signs: all of them or none."""
    found = {piece[0] in "+-" for piece in head.split(":") if piece}
    if len(found) > 1:
        raise StatsdRefusal(StatsdReason.INVALID_PACKING)
    return found.pop()


def _rate(text: str) -> float:
    """The share that was sent; 0 stands for all, as in StatsD."""
    rate = number(text)
    if rate is None or text[0] == "-" or rate > 1 or (rate and math.isinf(1 / rate)):
        raise StatsdRefusal(StatsdReason.INVALID_PACKING if ":" in text else StatsdReason.INVALID_SAMPLE_RATE)
    return rate or 1.0
