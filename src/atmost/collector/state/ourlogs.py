"""Records of our own senders, and the gaps between them, as entries of the log tail.

Pure; not thread-safe.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from atmost.collector.state.logtail import LogTail
from atmost.collector.state.records import Gap, Record, clean, plain_fields
from atmost.core.events import Event, Message, Session
from atmost.logs.life import named
from atmost.logs.reader import LogReader
from atmost.logs.records import LogGap, LogGapReason, LogRecord
from atmost.logs.wire import STANDARD, Body

_GAPS_KEPT: Final = 4096
"""Gaps remembered, so that late records can lower them."""
_MAX_NAME: Final = 255
_MAX_ORIGINS: Final = 512
_SHOWING: Final = 1 << 14
_LEVELS: Final = {level: level for level in STANDARD}
"""One string for each of the usual levels, however many records have it."""


class _Origin:
    """What all records of one logger and thread of a session have in common, made once."""

    __slots__ = ("fields", "host", "logger", "name", "sender", "size")

    def __init__(self, session: Session, logger: str, body: Body) -> None:
        self.name = session.name
        self.sender, self.host, self.logger = _name(session.name or session.id), _name(session.host), _name(logger)
        self.fields, _ = _fields({}, body.thread, body.process)
        self.size = self.record(body, "").size()

    def record(self, body: Body, message: str) -> Record:
        """Returns a record that has no fields of its own."""
        level = body.level
        return Record(
            t=body.time,
            sender=self.sender,
            host=self.host,
            level=_LEVELS.get(level) or _name(level),
            logger=self.logger,
            message=message,
            fields=self.fields,
            truncated=body.truncated,
            source="atmost",
        )


class OurLogs:
    """Turns a receiver's events into log entries."""

    def __init__(self, tail: LogTail, *, grace: float, max_senders: int, max_record: int, now: float) -> None:
        """Starts empty.

        Args:
            tail: where entries go.
            grace: how long a missing record may still come before it counts as lost (seconds).
            max_senders: how many lives of log handlers are remembered.
            max_record: the most characters of a message; longer ones are cut and marked.
            now: seconds since 1970.
        """
        self._tail = tail
        self._max = max_record
        self.reader = LogReader(grace=grace, max_lives=max_senders, now=now)
        self._gaps: OrderedDict[tuple[str, int], Gap] = OrderedDict()
        self._origins: dict[tuple[Session, str, str, int], _Origin] = {}

    def feed(self, event: Event, now: float) -> None:
        """Takes one event."""
        for found in self.reader.feed(event, now):
            self._put(found, now)

    def take_next(self, message: Message, now: float) -> int:
        """Takes a record that is the next of its handler, while nothing is missing: the usual one, at a fraction of the cost.

        Returns:
            Its weight: the bytes that it takes in memory, about, but at least `_SHOWING` where fields had to be made fit for showing,
            which may take long. 0 for any other message, which is to be given to `feed`: nothing has changed.
        """
        body = self.reader.take_next(message, now)
        if body is None:
            return 0
        text, session = body.message, message.arrival.session
        key = session, message.subject, body.thread, body.process
        origin = self._origins.get(key)
        if origin is None or origin.name != session.name:  # a beacon has brought it meanwhile
            origin = self._origin(key, body)
        record = origin.record(body, text)
        if body.fields or body.exception or body.error or body.logger or len(text) > self._max or not text.isascii():
            self._add_more(record, body)
            self._tail.append(record)
            return max(_SHOWING, len(text))
        size = origin.size + len(text)
        self._tail.append(record, size)
        return size

    def tick(self, now: float) -> None:
        """Reports the gaps that are due."""
        for found in self.reader.tick(now):
            self._put(found, now)

    def _put(self, found: LogRecord | LogGap, now: float) -> None:
        if isinstance(found, LogRecord):
            self._tail.append(self._record(found))
        else:
            self._gap(found, now)

    def _record(self, found: LogRecord) -> Record:
        fields, left_out = _fields(found.fields, found.thread, found.process, found.error)
        if found.hole:
            fields["parts_lost"] = len(found.hole)
        cut = max(len(found.message), len(found.exception)) > self._max
        self._tail.counts["log_record"] += cut
        return Record(
            t=found.t,
            sender=_name(found.sender),
            host=_name(found.host),
            level=None if found.level is None else _name(found.level),
            logger=_name(found.logger),
            message=clean(found.message[: self._max]),
            exception=clean(found.exception[: self._max]) or None,
            fields=fields,
            late=found.late,
            truncated=found.truncated or left_out or bool(found.hole) or cut,
            source="atmost",
        )

    def _origin(self, key: tuple[Session, str, str, int], body: Body) -> _Origin:
        session, subject, _, _ = key
        if len(self._origins) >= _MAX_ORIGINS:
            self._origins.clear()
        origin = self._origins[key] = _Origin(session, self.reader.logger_of(subject), body)
        return origin

    def _add_more(self, record: Record, body: Body) -> None:
        """Adds to a record what few have."""
        if body.fields or body.error:
            record.fields, left_out = _fields(named(body.fields), body.thread, body.process, body.error)
            record.truncated = record.truncated or left_out
        if body.logger:
            record.logger = _name(body.logger)
        if max(len(body.message), len(body.exception)) > self._max:
            self._tail.counts["log_record"] += 1
            record.truncated = True
        record.message = clean(body.message[: self._max])
        record.exception = clean(body.exception[: self._max]) or None

    def _gap(self, found: LogGap, now: float) -> None:
        key = (found.life, found.first)
        by_level = (
            None if found.by_level is None else {level: count for level, count in found.by_level.items() if count}
        )
        known = self._gaps.get(key)
        if known is not None:
            self._tail.change(known, found.lost, by_level)
            if not found.lost:
                del self._gaps[key]
            return
        if not found.lost:
            return
        begin = found.from_t if found.from_t is not None else found.to_t
        end = found.to_t if found.to_t is not None else now
        entry = Gap(
            t=end,
            sender=_name(found.sender),
            lost=found.lost,
            by_level=by_level,
            reason=found.reason.value,
            from_=end if begin is None else begin,
            to=end,
            verified=found.reason not in {LogGapReason.UNATTRIBUTED, LogGapReason.OVERFLOW},
        )
        self._tail.append(entry)
        self._gaps[key] = entry
        if len(self._gaps) > _GAPS_KEPT:
            self._gaps.popitem(last=False)


def _name(text: str) -> str:
    return clean(text)[:_MAX_NAME]


def _fields(given: Mapping[Any, Any], thread: str, process: int, error: str = "") -> tuple[dict[str, Any], bool]:
    """The fields of a record, with what is known besides, and whether anything was left out."""
    fields, left_out = plain_fields(given)
    for name, value in (("thread", thread), ("process", process), ("error", error)):
        if value:
            fields.setdefault(name, value)
    return fields, left_out
