"""Reads a datagram line by line: one bad line costs itself, and never its neighbours.

The plain lines that make up most of the traffic are read by one regular expression; everything else by `metric` and `event`,
which read those lines to the same values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from atmost.ingest.pickled import is_pickle
from atmost.ingest.rejected import rejected
from atmost.ingest.statsd.event import read_check, read_event
from atmost.ingest.statsd.fields import read_tags
from atmost.ingest.statsd.metric import KINDS, NAME, read_metric
from atmost.ingest.statsd.values import (
    MAX_LINE,
    MAX_LINES,
    MAX_NAME,
    MAX_VALUES,
    TELEMETRY,
    StatsdDatagram,
    StatsdGauges,
    StatsdMetric,
    StatsdReason,
    StatsdRefusal,
)

_PLAIN: Final = re.compile(
    rf"({NAME}{{1,{MAX_NAME}}}):(-?[0-9]{{1,15}}(?:\.[0-9]{{1,15}})?)\|(c|g|ms|h|d)"
    r"(?:\|@(0\.[0-9]{1,6}))?(?:\|#([^|\x00]+))?"
)
"""A name, a number, a type, and possibly a rate and tags: nothing in it can be out of range."""
_MARK: Final = "\ufeff"
"""UTF-8's byte order mark, which some clients write before a text; and C's clients write a NUL behind it."""
_TELEMETRY: Final = TELEMETRY.encode()


def parse(datagram: bytes, *, gauges: StatsdGauges = StatsdGauges.STATSD) -> StatsdDatagram:
    """Reads everything that a datagram holds; never raises, whatever the bytes.

    Args:
        datagram: lines between LF or CRLF, the last one with or without; empty lines are skipped.
        gauges: what a gauge with a sign means. The two protocols write the same line and mean different things by it, so
            the caller says which of them its clients use.
    """
    into = StatsdDatagram()
    if datagram[:1] == b"\0" and is_pickle(datagram):
        into.rejected.append(rejected(StatsdReason.PICKLE_REFUSED, datagram))
        return into
    plain, metrics, kinds = _PLAIN.fullmatch, into.metrics, KINDS
    for line in _lines(datagram, into):
        found = plain(line)
        if found is None:
            if line:
                _read(line, into, gauges)
            continue
        name, value, kind, rate, tags = found.groups()
        if rate is None and tags is None and (kind != "g" or value[0] != "-"):
            metrics.append(StatsdMetric(name, kinds[kind], (float(value),)))
        elif kind == "g" and (rate is not None or value[0] == "-"):
            _read(line, into, gauges)
        else:
            try:
                read = read_tags(tags, ":", into) if tags else ()
            except StatsdRefusal as refusal:
                into.rejected.append(rejected(refusal.reason, line))
                continue
            share = 1.0 if rate is None else float(rate) or 1.0
            metrics.append(StatsdMetric(name, kinds[kind], (float(value),), share, False, read))
    if _TELEMETRY in datagram:
        into.metrics = [metric for metric in metrics if not metric.name.startswith(TELEMETRY)]
        into.telemetry = [metric for metric in metrics if metric.name.startswith(TELEMETRY)]
    return into


def _lines(datagram: bytes, into: StatsdDatagram) -> Iterator[str] | list[str]:
    """The lines as text; those that cannot be are refused."""
    if len(datagram) <= MAX_LINE:
        try:
            return datagram.decode().split("\n")
        except UnicodeDecodeError:
            pass
    return _one_by_one(datagram, into)


def _one_by_one(datagram: bytes, into: StatsdDatagram) -> Iterator[str]:
    lines = datagram.split(b"\n", MAX_LINES)
    if len(lines) > MAX_LINES:
        rest = lines.pop()
        if rest:
            count = rest.count(b"\n") + (rest[-1:] != b"\n")
            into.rejected.append(rejected(StatsdReason.TOO_MANY_LINES, rest, count))
    values = counted = 0
    refused_before = len(into.rejected)
    for number, line in enumerate(lines):
        # One datagram may not hold up all others: its lines are packed at a byte or two a value, and one refused costs as much.
        values += sum(len(metric.values) for metric in into.metrics[counted:])
        values += sum(each.count for each in into.rejected[refused_before:])
        counted, refused_before = len(into.metrics), len(into.rejected)
        if values >= MAX_VALUES:
            if refused := sum(1 for rest in lines[number:] if rest):
                into.rejected.append(rejected(StatsdReason.TOO_MANY_VALUES, line, refused))
            return
        if len(line) > MAX_LINE:
            into.rejected.append(rejected(StatsdReason.LINE_TOO_LONG, line))
            continue
        try:
            yield line.decode()
        except UnicodeDecodeError:
            into.rejected.append(rejected(StatsdReason.INVALID_UTF8, line))


def _read(line: str, into: StatsdDatagram, gauges: StatsdGauges) -> None:
    """Reads a line that is not plain."""
    line = line.removesuffix("\r")
    if not line:
        return
    line = line.removeprefix(_MARK).rstrip("\0") or line
    notes = dict(into.notes)
    try:
        if line.startswith("_e{"):
            read_event(line, into)
        elif line.startswith("_sc|"):
            read_check(line, into)
        else:
            read_metric(line, into, gauges)
    except StatsdRefusal as refusal:
        into.notes = notes  # nothing was left out of a line that is refused
        into.rejected.append(rejected(refusal.reason, line))
