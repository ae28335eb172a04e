"""Reads a line that is a measurement, in either packing and with tags in any of the four places.

The packings collide. `a:1|c|#k:v` is one value with a tag, `a:1|c:2|ms` are two samples. A tag section, or several values
before the first `|`, means DogStatsD's packing: the type and the fields hold for all values. Without them a `:` in the type,
or in a sample rate right behind it, begins another sample.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Final

from atmost.ingest.rejected import rejected
from atmost.ingest.statsd.fields import Origin, ignore, number, read_tags, unix_time
from atmost.ingest.statsd.values import (
    MAX_NAME,
    MAX_VALUES,
    Refusal,
    StatsdDatagram,
    StatsdIgnored,
    StatsdKind,
    StatsdMetric,
    StatsdReason,
    Tags,
)

KINDS: Final = {str(kind): kind for kind in StatsdKind}
NAME: Final = r"[^:|,#\[\]\x00-\x1f\x7f-\x9f]"
"""A character of a name."""
_NAME: Final = re.compile(NAME + "*")
_SECOND_STYLE: Final = re.compile(r"#[^,=#]+=")
"""Tags behind a `#` among those between commas."""


def read_metric(line: str, into: StatsdDatagram, *, deltas: bool | None) -> None:
    """Adds what the line says; of several samples those that can be read.

    Args:
        line: not empty, without its ending.
        into: what is added to.
        deltas: what a signed gauge is, see `parse`.

    Raises:
        Refusal: nothing of it can be read.
    """
    name, tags, rest = _split_name(line, into)
    head, bar, tail = rest.partition("|")
    if not bar:
        raise Refusal(StatsdReason.MALFORMED_LINE)
    fields = tail.split("|")
    if ":" in head or not _has_samples(fields):
        into.metrics.append(_metric(name, tags, head, fields, into, deltas=deltas))
        return
    samples = rest.split(":", MAX_VALUES + 1)
    if len(samples) > MAX_VALUES:
        raise Refusal(StatsdReason.TOO_MANY_VALUES)
    refused: Counter[StatsdReason] = Counter()
    for sample in samples:
        try:
            into.metrics.append(_sample(name, tags, sample, into, deltas=deltas))
        except Refusal as refusal:
            refused[refusal.reason] += 1
    into.rejected += [rejected(reason, line, count) for reason, count in refused.items()]


def _sample(name: str, tags: Tags, sample: str, into: StatsdDatagram, *, deltas: bool | None) -> StatsdMetric:
    """One of several samples: a value, a type, and at most a rate."""
    head, bar, tail = sample.partition("|")
    fields = tail.split("|")
    if not bar or len(fields) > 2 or (len(fields) == 2 and fields[1][:1] != "@"):
        raise Refusal(StatsdReason.MALFORMED_COMPONENT)
    return _metric(name, tags, head, fields, into, deltas=deltas)


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
    if not name or mark not in (":", ",", "#", "["):
        raise Refusal(StatsdReason.MALFORMED_LINE)
    if len(name) > MAX_NAME:
        raise Refusal(StatsdReason.NAME_TOO_LONG)
    if mark == ":":
        return name, (), line[end + 1 :]
    bar = line.find("|", end)
    # A tag's value may hold a colon: the last one before the type ends the tags, or the one behind the bracket.
    stop = line.find("]", end, bar) if mark == "[" else line.rfind(":", end, bar)
    if bar < 0 or stop < 0:
        raise Refusal(StatsdReason.MALFORMED_LINE)
    inner, rest = line[end + 1 : stop], line[stop + 1 :]
    if mark == "[":
        if rest[:1] != ":":
            mixed = rest[:1] in (",", "#")
            raise Refusal(StatsdReason.MIXED_TAGGING_STYLES if mixed else StatsdReason.MALFORMED_LINE)
        rest = rest[1:]
    elif _SECOND_STYLE.search(inner) or (inner[-1:] == "]" and "=" in inner[inner.rfind("[") :]):
        raise Refusal(StatsdReason.MIXED_TAGGING_STYLES)
    if "|#" in rest:
        raise Refusal(StatsdReason.MIXED_TAGGING_STYLES)
    return name, read_tags(inner, "=", into), rest


def _metric(
    name: str, tags: Tags, head: str, fields: list[str], into: StatsdDatagram, *, deltas: bool | None
) -> StatsdMetric:
    """The measurement of one value or a pack of them."""
    kind = KINDS.get(fields[0])
    if kind is None:
        packed_twice = ":" in fields[0]
        raise Refusal(StatsdReason.INVALID_PACKING if packed_twice else StatsdReason.MALFORMED_COMPONENT)
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
                raise Refusal(StatsdReason.MALFORMED_COMPONENT)
        elif mark in ("", "@", "#", "T"):
            raise Refusal(StatsdReason.MALFORMED_COMPONENT)
        elif not origin.take(field):
            ignore(into, StatsdIgnored.UNKNOWN_FIELD)
    values = _values(head, kind, into)
    relative = False
    if kind is StatsdKind.GAUGE:
        by_client = section is not None or ":" in head or timestamp is not None or bool(origin)
        relative = _relative(head, of_dogstatsd=by_client, deltas=deltas)
    if rate is None:
        rate = 1.0
    elif kind is StatsdKind.GAUGE or kind is StatsdKind.SET:
        ignore(into, StatsdIgnored.SAMPLE_RATE)
        rate = 1.0
    metric = StatsdMetric(name, kind, values, rate, relative, tags or section or (), timestamp, origin.value())
    if kind is StatsdKind.COUNTER and not math.isfinite(metric.total):
        raise Refusal(StatsdReason.MALFORMED_VALUE)
    return metric


def _values(head: str, kind: StatsdKind, into: StatsdDatagram) -> tuple[float | str, ...]:
    if kind is StatsdKind.SET:
        if ":" in head:
            raise Refusal(StatsdReason.INVALID_PACKING)
        if not head:
            raise Refusal(StatsdReason.MALFORMED_VALUE)
        return (head,)
    pieces = head.split(":", MAX_VALUES + 1)
    if len(pieces) > MAX_VALUES:
        raise Refusal(StatsdReason.TOO_MANY_VALUES)
    values = [number(piece) for piece in pieces if piece]
    known = tuple(value for value in values if value is not None)
    if not known or len(known) < len(values):
        raise Refusal(StatsdReason.MALFORMED_VALUE)
    if len(values) < len(pieces):
        ignore(into, StatsdIgnored.EMPTY_VALUE, len(pieces) - len(values))
    return known


def _relative(head: str, *, of_dogstatsd: bool, deltas: bool | None) -> bool:
    """Whether a gauge's values are to be added to it.

    By a sign, in StatsD. DogStatsD has no deltas: its clients write a minus before a negative value, and never a plus.
    """
    signs = "+-" if deltas or (deltas is None and not of_dogstatsd) else "+" if deltas is None else ""
    found = {piece[0] in signs for piece in head.split(":") if piece}
    if len(found) > 1:
        raise Refusal(StatsdReason.INVALID_PACKING)
    return found.pop()


def _rate(text: str) -> float:
    """The share that was sent; 0 stands for all, as in StatsD."""
    rate = number(text)
    if rate is None or text[0] == "-" or rate > 1 or (rate and math.isinf(1 / rate)):
        raise Refusal(StatsdReason.INVALID_PACKING if ":" in text else StatsdReason.INVALID_SAMPLE_RATE)
    return rate or 1.0
