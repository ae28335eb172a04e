"""Records of foreign protocols as entries of the log tail, with the gaps that they hint at.

Pure; not thread-safe.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from atmost.collector.state.logtail import LogTail
from atmost.collector.state.records import Gap, Record, clean, plain_fields
from atmost.ingest.gelf import GelfIncomplete, GelfRecord
from atmost.ingest.statsd import StatsdAlert, StatsdCheck, StatsdEvent, StatsdStatus
from atmost.ingest.statsd.values import Tags
from atmost.ingest.syslog import SyslogGap, SyslogGaps, SyslogLate, SyslogRecord, SyslogSeverity
from atmost.ingest.syslog.values import MAX_SEQUENCE

SYSLOG_LEVELS: Final = {
    SyslogSeverity.EMERGENCY: "EMERGENCY",
    SyslogSeverity.ALERT: "ALERT",
    SyslogSeverity.CRITICAL: "CRITICAL",
    SyslogSeverity.ERROR: "ERROR",
    SyslogSeverity.WARNING: "WARNING",
    SyslogSeverity.NOTICE: "NOTICE",
    SyslogSeverity.INFO: "INFO",
    SyslogSeverity.DEBUG: "DEBUG",
}
_ALERTS: Final = {
    StatsdAlert.ERROR: "ERROR",
    StatsdAlert.WARNING: "WARNING",
    StatsdAlert.INFO: "INFO",
    StatsdAlert.SUCCESS: "INFO",
}
_STATUSES: Final = {
    StatsdStatus.OK: "INFO",
    StatsdStatus.WARNING: "WARNING",
    StatsdStatus.CRITICAL: "ERROR",
    StatsdStatus.UNKNOWN: "WARNING",
}
_MAX_NAME: Final = 255
_KEPT: Final = 1024
"""Senders whose last number and gap are remembered."""
_HOLES: Final = 16
"""Holes remembered for each counter. A late record of an older hole is marked late, but its gap is not lowered."""
_GAP_EVERY: Final = 1.0
"""Gaps of one sender closer together than this are joined (seconds)."""


class ForeignLogs:
    """Turns records, events and checks of foreign protocols into log entries."""

    def __init__(self, tail: LogTail, *, max_record: int) -> None:
        """Args: tail: where entries go. max_record: characters of a message; the rest is cut, and the record marked."""
        self._tail = tail
        self._max = max_record
        self.gaps = SyslogGaps()
        self._last: dict[tuple[str, str], float] = {}
        self._gaps: dict[tuple[str, str], Gap] = {}
        self._holes: dict[tuple[str, str], deque[tuple[SyslogGap, Gap]]] = {}
        """The last holes of each counter, each with the gap entry that shows it."""

    def syslog(self, record: SyslogRecord, source: str, now: float) -> None:
        """Takes a syslog record; its sequence number, if it has one, may reveal missing records.

        Args:
            record: as parsed.
            source: the peer with its port, which owns the sequence numbers.
            now: seconds since 1970.
        """
        key = (source, record.host)
        found = self.gaps.feed(record, source)
        sender = record.application or record.host
        if isinstance(found, SyslogGap):
            gap = self._gap(sender, found.lost, "syslog_sequence", self._last.get(key, now), now)
            holes = self._holes.pop(key, None) or deque(maxlen=_HOLES)
            holes.append((found, gap))
            _keep(self._holes, key, holes)
        elif isinstance(found, SyslogLate):
            self._came(key, found.number)
        if record.sequence is not None:
            _keep(self._last, key, now)
        given: dict[str, Any] = {
            "facility": record.facility,
            **{name: getattr(record, name) for name in ("process", "message_id") if getattr(record, name)},
        }
        for element, pairs in record.structured:
            for name, value in pairs:
                _put(given, f"{element}.{name}", value)
        if record.peer != record.host:
            given["peer"] = record.peer
        self._add(
            record.t,
            sender,
            record.host,
            SYSLOG_LEVELS[record.severity],
            record.application or "",
            record.message,
            given,
            "syslog",
            late=isinstance(found, SyslogLate),
        )

    def gelf(self, record: GelfRecord) -> None:
        """Takes a GELF record."""
        given: dict[str, Any] = dict(record.fields)
        sender = next((text for name in ("facility", "application_name", "logger") if (text := given.get(name))), None)
        self._add(
            record.t,
            str(sender or record.host),
            record.host,
            None if record.severity is None else SYSLOG_LEVELS[SyslogSeverity(record.severity)],
            str(given.get("logger") or given.get("logger_name") or given.get("facility") or ""),
            record.message,
            given,
            "gelf",
            exception=record.full_message if record.full_message != record.message else None,
        )

    def gelf_incomplete(self, lost: GelfIncomplete, now: float) -> None:
        """Takes a message with missing chunks: exactly one record is certainly lost."""
        self._gap(lost.peer, 1, f"gelf_chunks_{lost.reason}", lost.first_at, now, verified=True)

    def event(self, event: StatsdEvent, host: str, now: float) -> None:
        """Takes a DogStatsD event; without a host of its own it gets the peer's address."""
        given = _with_tags(
            event.tags,
            title=event.title,
            priority=str(event.priority),
            aggregation_key=event.key or None,
            time=event.timestamp,
            container=event.origin.container or None,
        )
        text = f"{event.title}: {event.text}" if event.text else event.title
        self._add(now, event.source or host, event.host or host, _ALERTS[event.alert], "event", text, given, "statsd")

    def check(self, check: StatsdCheck, host: str, now: float) -> None:
        """Takes a DogStatsD service check; the host as in `event`."""
        given = _with_tags(
            check.tags, status=check.status.name, time=check.timestamp, container=check.origin.container or None
        )
        text = f"{check.name} is {check.status.name.lower()}" + (f": {check.message}" if check.message else "")
        self._add(now, host, check.host or host, _STATUSES[check.status], check.name, text, given, "statsd")

    def _came(self, key: tuple[str, str], number: int) -> None:
        """Lowers the gap of a hole by one, because a record of it came late."""
        for hole, gap in reversed(self._holes.get(key, ())):
            if (number - hole.first) % MAX_SEQUENCE < hole.lost:
                if gap.lost:
                    self._tail.change(gap, gap.lost - 1, None)
                return

    def _gap(self, sender: str, lost: int, reason: str, since: float, now: float, *, verified: bool = False) -> Gap:
        """Adds a gap, or extends the sender's last one if that is under a second old, so that floods of gaps hide no records."""
        name = clean(sender)[:_MAX_NAME]
        last = self._gaps.get((name, reason))
        if last is not None and last.lost and now - last.t < _GAP_EVERY:
            last.to = max(last.to, now)
            self._tail.change(last, last.lost + lost, None)
            _keep(self._gaps, (name, reason), last)
            return last
        gap = Gap(t=now, sender=name, lost=lost, by_level=None, reason=reason, from_=since, to=now, verified=verified)
        self._tail.append(gap)
        _keep(self._gaps, (name, reason), gap)
        return gap

    def _add(
        self,
        t: float,
        sender: str,
        host: str,
        level: str | None,
        logger: str,
        message: str,
        given: dict[str, Any],
        source: str,
        *,
        late: bool = False,
        exception: str | None = None,
    ) -> None:
        fields, left_out = plain_fields(given)
        cut = max(len(message), len(exception or "")) > self._max
        self._tail.counts["log_record"] += cut
        self._tail.append(
            Record(
                t=t,
                sender=clean(sender)[:_MAX_NAME],
                host=clean(host)[:_MAX_NAME],
                level=level,
                logger=clean(logger)[:_MAX_NAME],
                message=clean(message[: self._max]),
                exception=None if exception is None else clean(exception[: self._max]),
                fields=fields,
                late=late,
                truncated=left_out or cut,
                source=source,
            )
        )


def _put(given: dict[str, Any], name: str, value: str) -> None:
    """Adds a parameter; repeated parameters, which RFC 5424 allows, are kept as one list."""
    if name not in given:
        given[name] = value
    elif isinstance(given[name], list):
        given[name].append(value)
    else:
        given[name] = [given[name], value]


def _with_tags(tags: Tags, **own: Any) -> dict[str, Any]:
    """The record's own fields with its tags; a tag that has the name of a field gets the prefix `tag.`."""
    given = {name: value for name, value in own.items() if value is not None}
    return given | {f"tag.{name}" if name in own else name: value for name, value in tags}


def _keep(kept: dict[tuple[str, str], Any], key: tuple[str, str], value: object) -> None:
    """Remembers a value as the newest, and forgets the oldest beyond the bound: entries in use survive a flood of strangers."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > _KEPT:
        del kept[next(iter(kept))]
