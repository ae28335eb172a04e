"""Records of our own senders, and the gaps between them, as entries of the log tail.

Pure; not thread-safe.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from atmost.collector.state.logtail import LogTail
from atmost.collector.state.records import Gap, Record, clean, plain_fields
from atmost.core.events import Event
from atmost.logs.reader import LogReader
from atmost.logs.records import LogGap, LogGapReason, LogRecord

_GAPS_KEPT: Final = 4096
"""Gaps remembered, so that late records can lower them."""
_MAX_NAME: Final = 255


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

    def feed(self, event: Event, now: float) -> None:
        """Takes one event."""
        for found in self.reader.feed(event, now):
            self._put(found, now)

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
        fields, left_out = plain_fields(found.fields)
        for name in ("thread", "process", "error"):
            if value := getattr(found, name):
                fields.setdefault(name, value)
        if found.hole:
            fields["parts_lost"] = len(found.hole)
        cut = max(len(found.message), len(found.exception)) > self._max
        self._tail.counts["log_record"] += cut
        return Record(
            t=found.t,
            sender=clean(found.sender)[:_MAX_NAME],
            host=clean(found.host)[:_MAX_NAME],
            level=None if found.level is None else clean(found.level)[:_MAX_NAME],
            logger=clean(found.logger)[:_MAX_NAME],
            message=clean(found.message[: self._max]),
            exception=clean(found.exception[: self._max]) or None,
            fields=fields,
            late=found.late,
            truncated=found.truncated or left_out or bool(found.hole) or cut,
            source="atmost",
        )

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
            sender=clean(found.sender)[:_MAX_NAME],
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
