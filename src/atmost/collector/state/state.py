"""`CollectorState`: everything the collector knows, and how events, lines and records change it.

Pure: no socket, clock or thread; every call is given the time. `now` is seconds since 1970 that never step back; `mono` is
the monotonic clock, for silences. Hold `lock` to read or write, but only briefly: rendering happens without it.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from atmost.collector.options import COARSE_SLOT, COARSE_SLOTS, FINE_SLOTS, CollectorOptions
from atmost.collector.state.flow import SenderFlow
from atmost.collector.state.foreign import ForeignLogs
from atmost.collector.state.heartbeats import HeartbeatBoard
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.logtail import LogTail
from atmost.collector.state.ourlogs import OurLogs
from atmost.collector.state.refused import MAX_ROWS, RefusedSenders, describe
from atmost.collector.state.rejected import RejectedSamples, Sample
from atmost.collector.state.sender_totals import SenderTotals
from atmost.collector.state.senders import SenderTable
from atmost.collector.state.statsd import StatsdState
from atmost.collector.state.statsd_lines import StatsdLines
from atmost.collector.state.subjects import MAX_SUBJECTS, SubjectTable
from atmost.core.accounts import Ledger, merge_ledgers
from atmost.core.events import Arrival, ClockAlarm, Event, Message
from atmost.core.names import harmless
from atmost.ingest.pickled import ADVICE
from atmost.ingest.rejected import Rejected, escaped
from atmost.ingest.statsd import StatsdDatagram, StatsdMapping, StatsdMetric, StatsdNote
from atmost.metrics.reader import MetricsReader
from atmost.metrics.state import LARGEST

_LOSS_BY_RECEIVER: Final = "reading"
"""The kind of series whose completeness comes from the receiver's events, because its readings carry no numbers."""
_METRICS: Final = "metrics."
_LOGS: Final = "logs."
_OF_METRICS: Final = "metrics"
_MALFORMED: Final = "malformed"
_SHOWN_FIELDS: Final = 12
_SHOWN_TEXT: Final = 32
"""Fields, and characters of a text, in the sample of a malformed message."""
_OF_USES: Final = (_METRICS, _LOGS, "heartbeats.")
_APART: Final = 32
"""Log records, heartbeats and other facts that are taken under one hold of the lock."""
_RECORDS: Final = 1 << 19
"""Weight of log records of the usual kind that are taken under one hold of the lock (bytes)."""
_PICKLES: Final = "pickle_refused"
_MAX_CLIENTS: Final = 256
OTHER_CLIENTS: Final = "other"
"""All clients beyond that number."""
_MAX_DROP_NAMES: Final = 64
_MOST_NEWS: Final = 100
"""Log lines that may wait; each kind of refusal makes one."""
_MAX_NEWS: Final = 200
"""Characters of a sample in such a line."""
_MOST_DROPS: Final = float(1 << 53)
"""The most drops one datagram may report, because a stranger's number may be infinite, and a counter never falls."""


_AMBIGUOUS: Final = (
    "a gauge with a sign and DogStatsD's tags was taken for a change, as StatsD has it; DogStatsD means a value: where the "
    "clients are DogStatsD's, set statsd_gauges = 'dogstatsd', or '?gauges=dogstatsd' behind this listener's address"
)


_Groups = dict[str, list[Message]]
"""Messages of one session by subject."""


class LimitUse(msgspec.Struct):
    """A limit, how much of it is in use, and how often it was hit."""

    name: str
    used: int
    max: int
    hit: int


class CollectorState:
    """Metrics, logs, heartbeats, senders, and rejected input."""

    def __init__(self, options: CollectorOptions, now: float, mono: float) -> None:
        """Starts empty.

        Args:
            options: the limits.
            now: seconds since 1970.
            mono: monotonic, seconds.
        """
        self.lock = threading.Lock()
        self.options = options
        self.started = now
        self.metrics = MetricsReader(
            slots=FINE_SLOTS,
            coarse_slot=COARSE_SLOT,
            coarse_slots=COARSE_SLOTS,
            grace=max(2.0, 2 * options.grace),
            max_lives=options.max_senders,
            max_series=options.max_series,
            max_series_of_life=min(options.max_series_per_sender, options.max_series),
            max_histograms=options.max_histograms,
            now=now,
        )
        self.statsd = StatsdState(
            max_series=options.max_statsd_series,
            max_histograms=options.max_histograms,
            max_members=options.max_set_values,
            seconds=options.statsd_timer_unit == "seconds",
            fine=(1.0, FINE_SLOTS),
            coarse=(COARSE_SLOT, COARSE_SLOTS),
        )
        self.statsd_lines = StatsdLines(self.statsd)
        self.logs = LogTail(
            max_records=options.max_log_records,
            max_bytes=options.max_log_bytes,
            max_records_per_sender=options.max_log_records_per_sender,
            now=now,
        )
        self.our_logs = OurLogs(
            self.logs, grace=options.grace, max_senders=options.max_senders, max_record=options.max_record, now=now
        )
        self.foreign = self.new_foreign_logs()
        """Shared by all StatsD listeners, whose records reveal no gaps."""
        self.heartbeats = HeartbeatBoard(options.max_heartbeats)
        self.senders = SenderTable(mono)
        self.totals = SenderTotals()
        self.subjects = SubjectTable()
        self.closing = False
        """Set when the collector stops: open streams and taps end."""
        self.flow = SenderFlow()
        self.rejected = RejectedSamples(options.max_rejected)
        self.refused = RefusedSenders()
        self.keyed = False
        """Whether the receivers have keys."""
        self.listeners: list[ListenerStats] = []
        self.client_drops: Counter[tuple[str, str]] = Counter()
        """Drops that StatsD's clients report about themselves, by the client's address and its own name for them."""
        self.mapping: StatsdMapping | None = None
        """The present rules for StatsD's names, applied when a datagram is read."""
        self.events_missing = False
        """Whether loss events are missing: with several workers they stay in the workers."""
        self._groups: deque[list[Message]] = deque()
        """Messages in the hand of `feed_all`; a fault of ours may leave some for the next call."""
        self._news: deque[str] = deque(maxlen=_MOST_NEWS)
        self._told: set[tuple[str, str]] = set()
        """Uses and reasons of refusals that the log has told."""
        self.warnings: dict[str, str] = {}
        """Warnings for the operator, by subject."""

    def new_foreign_logs(self) -> ForeignLogs:
        """Makes the record reader of one more listener; each tracks its own gaps."""
        return ForeignLogs(self.logs, max_record=self.options.max_record)

    def warn_once(self, about: str, text: str) -> None:
        """Adds a warning the first time its subject is seen; the daemon logs each warning once."""
        self.warnings.setdefault(about, text)

    @property
    def series_kept(self) -> int:
        """Series in memory, of senders and of StatsD."""
        return self.metrics.series_kept + len(self.statsd)

    def reload(self, options: CollectorOptions) -> None:
        """Applies the options that can change at run time."""
        if options.statsd_gauges != self.options.statsd_gauges:
            for about in [each for each in self.warnings if each.startswith(StatsdNote.AMBIGUOUS_GAUGE)]:
                del self.warnings[about]
        self.options = options
        self.logs.limit(options.max_log_records, options.max_log_bytes, options.max_log_records_per_sender)

    def feed(self, event: Event, now: float, mono: float, listener: str = "") -> None:
        """Takes one event of the receiver that listens at `listener`."""
        self.metrics.feed(event, now)
        if isinstance(event, Message):
            subject = event.subject
            self.subjects.feed(event, now)
            if subject.startswith("heartbeats."):
                known = self.heartbeats.monitor.malformed
                self.heartbeats.feed(event, now, mono)
                if self.heartbeats.monitor.malformed > known:
                    self._malformed("heartbeats", event, now)
            elif subject.startswith(_LOGS):
                known = self.our_logs.reader.malformed
                self.our_logs.feed(event, now)
                if self.our_logs.reader.malformed > known:
                    self._malformed("logs", event, now)
            return
        self.heartbeats.feed(event, now, mono)
        self.our_logs.feed(event, now)
        if isinstance(event, ClockAlarm):
            self.senders.alarm(event)
            self.refused.alarm(event, listener, now)

    def feed_all(self, events: Iterator[Event], now: float, mono: float, listener: str = "") -> None:
        """Takes some of the events that came together from one receiver: the same as `feed` with each, in this order.

        Plain readings, and messages of no use of ours, are grouped by session and subject, and each group is taken at once.
        A log record of the usual kind is taken at once, because records keep their order; for all else it is in a group like them.
        Any other event is taken after the groups before it. After a part of a snapshot, which may take milliseconds, and after some
        others it returns and leaves the rest to the next call, so that the lock is free in between.
        """
        left, room = _APART, _RECORDS
        take_next = self.our_logs.take_next
        groups = self._groups
        self._feed_groups(now)
        of_sessions: dict[bytes, tuple[_Groups, _Groups, _Groups]] = {}
        plain: _Groups = {}
        records: _Groups = {}
        readings: _Groups = {}
        arrival: Arrival | None = None
        key = b""
        for event in events:
            if event.__class__ is Message:
                if event.arrival is not arrival:
                    arrival = event.arrival
                    key = arrival.session.key
                    found = of_sessions.get(key)
                    if found is None:
                        found = of_sessions[key] = ({}, {}, {})
                    plain, readings, records = found
                subject = event.subject
                group = plain.get(subject)
                if group is not None:
                    group.append(event)
                    continue
                payload = event.payload
                kind = payload.__class__
                if (kind is float or kind is int) and -LARGEST < payload < LARGEST:
                    group = readings.get(subject)
                    if group is not None:
                        group.append(event)
                        continue
                    if subject.startswith(_METRICS) and self.metrics.repeats(key, subject):
                        readings[subject] = group = [event]
                        groups.append(group)
                        continue
                elif subject.startswith(_LOGS) and (weight := take_next(event, now)):
                    group = records.get(subject)
                    if group is not None:
                        group.append(event)
                    else:
                        records[subject] = group = [event]
                        groups.append(group)
                    room -= weight
                    if room > 0:
                        continue
                    self._feed_groups(now)
                    return
                if not subject.startswith(_OF_USES):
                    plain[subject] = group = [event]
                    groups.append(group)
                    continue
            self._feed_groups(now)
            self.feed(event, now, mono, listener)
            left -= 1
            if not left or (event.__class__ is Message and event.subject.startswith(_METRICS)):
                return
            of_sessions, arrival = {}, None
        self._feed_groups(now)

    def _feed_groups(self, now: float) -> None:
        groups = self._groups
        while groups:
            group = groups.popleft()
            self.metrics.feed_together(group, now)
            self.subjects.feed_together(group, now)

    def feed_statsd(self, datagram: StatsdDatagram, stats: ListenerStats, host: str, peer: str, now: float) -> None:
        """Takes a parsed StatsD datagram; `host` is the peer's address, `peer` has its port too."""
        feed = self.statsd.feed
        refused_of_all = 0
        for metric in datagram.metrics:
            if (limit := feed(metric, now)) is not None:
                refused_of_all += 1
                self.reject(Rejected(limit, _written(metric)), stats, peer, now)
        stats.accepted += len(datagram.metrics) - refused_of_all + len(datagram.events) + len(datagram.checks)
        for event in datagram.events:
            self.foreign.event(event, host, now)
        for check in datagram.checks:
            self.foreign.check(check, host, now)
        if datagram.telemetry:
            stats.accepted += len(datagram.telemetry)
            for name, count in datagram.dropped_by_client.items():
                key = (host, name)
                if key not in self.client_drops and len(self.client_drops) >= _MAX_CLIENTS:
                    key = (OTHER_CLIENTS, name)
                if key in self.client_drops or len(self.client_drops) < _MAX_CLIENTS + _MAX_DROP_NAMES:
                    self.client_drops[key] += round(max(0.0, min(count, _MOST_DROPS)))
        for what, count in datagram.notes.items():
            stats.notes[what] += count
            if what is StatsdNote.AMBIGUOUS_GAUGE:
                self.warn_once(f"{what} {stats.address}", f"{stats.address}: {_AMBIGUOUS}")
        for refused in datagram.rejected:
            self.reject(refused, stats, peer, now)

    def reject(self, refused: Rejected, stats: ListenerStats, peer: str, now: float) -> None:
        """Counts a refusal at a foreign listener, and keeps a sample of it."""
        if not stats.rejected[refused.reason]:
            reason, sample = refused.reason.replace("_", " "), refused.sample[:_MAX_NEWS]
            self._news.append(
                f"first input refused by {stats.kind} at {stats.address}: {reason}, from {peer}: {sample}"
            )
        stats.rejected[refused.reason] += refused.count
        if refused.reason == _PICKLES:
            self.warn_once(f"{_PICKLES} {stats.address}", f"{stats.address}: {ADVICE}")
        self.rejected.append(
            Sample(
                t=now,
                listener=stats.kind,
                address=stats.address,
                peer=peer,
                reason=str(refused.reason),
                sample=refused.sample,
            )
        )

    def _malformed(self, use: str, message: Message, now: float) -> None:
        """Keeps a sample of a message that is not what its use sends; the use's reader counts it."""
        session = message.session
        peer, sample = escaped(session.name or session.id), f"{message.subject}: {_shown(message.payload)}"
        self.rejected.append(
            Sample(t=now, listener="atmost", address=use, peer=peer, reason=_MALFORMED, sample=escaped(sample))
        )
        if (use, _MALFORMED) not in self._told:
            self._told.add((use, _MALFORMED))
            self._news.append(f"first message of {use} refused: malformed, from {peer}: {escaped(sample)}")

    def news(self) -> list[str]:
        """Log lines since the last call: the first refusal of each kind at each address, and of each use."""
        for each in self.metrics.stats().samples:
            kind = (_OF_METRICS, str(each.reason))
            if kind not in self._told:
                self._told.add(kind)
                text = harmless(each.text)
                self._news.append(f"first of senders' metrics: {each.reason}, from {harmless(each.sender)}: {text}")
        news = [*self._news, *(f"first sender refused: {describe(row)}" for row in self.refused.news())]
        self._news.clear()
        return news

    def observe(self, ledgers: dict[str, Ledger], now: float, mono: float) -> None:
        """Takes the ledgers of all receivers, about once a second.

        Args:
            ledgers: by address.
            now: seconds since 1970.
            mono: monotonic, seconds.
        """
        self.senders.observe(ledgers, mono)
        self.totals.observe(ledgers.values(), self.senders.rows(), self.options.max_exported_senders)
        self.flow.observe(self.totals, now)
        self.subjects.update_rates(now)
        if ledgers:
            parts = list(ledgers.values())
            self.heartbeats.observe(parts[0] if len(parts) == 1 else merge_ledgers(parts), now, mono)

    def tick(self, now: float, mono: float) -> None:
        """Does what is due by time alone."""
        self.heartbeats.tick(now, mono)
        self.metrics.tick(now)
        self.statsd.tick(now)
        self.our_logs.tick(now)

    def next_deadline(self) -> float | None:
        """When the next heartbeat deadline falls (monotonic, seconds)."""
        return self.heartbeats.next_deadline()

    def knows_loss(self, kind: str) -> bool:
        """Whether the loss of series of this kind is known."""
        return not (self.events_missing and kind == _LOSS_BY_RECEIVER)

    def limits(self) -> list[LimitUse]:
        """Every limit on memory."""
        metrics, statsd, options, logs = self.metrics.stats(), self.statsd.counts, self.options, self.logs
        ledgers = self.senders.ledgers.values()
        return [
            LimitUse("series", metrics.series, options.max_series, metrics.refused.get("series_limit", 0)),
            LimitUse(
                "series_per_sender",
                metrics.largest,
                options.max_series_per_sender,
                metrics.refused.get("series_of_life_limit", 0),
            ),
            LimitUse(
                "histograms", metrics.histograms, options.max_histograms, metrics.refused.get("histogram_limit", 0)
            ),
            LimitUse("statsd_series", len(self.statsd), options.max_statsd_series, statsd["series_limit"]),
            LimitUse("statsd_histograms", self.statsd.histograms, options.max_histograms, statsd["histogram_limit"]),
            LimitUse("set_values", self.statsd.largest_set, options.max_set_values, statsd["set_limit"]),
            LimitUse("log_records", len(logs), options.max_log_records, logs.counts["log_records"]),
            LimitUse("log_bytes", logs.bytes, options.max_log_bytes, logs.counts["log_bytes"]),
            LimitUse(
                "log_records_per_sender",
                logs.most_of_sender,
                options.max_log_records_per_sender,
                logs.counts["log_records_per_sender"],
            ),
            LimitUse(
                "log_bytes_per_sender",
                logs.most_bytes_of_sender,
                logs.max_bytes_per_sender,
                logs.counts["log_bytes_per_sender"],
            ),
            LimitUse("log_record", logs.longest, options.max_record, logs.counts["log_record"]),
            LimitUse(
                "senders",
                sum(len(ledger.sessions) for ledger in ledgers),
                options.max_senders * options.receivers(len(ledgers)),
                sum(ledger.evicted for ledger in ledgers),
            ),
            LimitUse("subjects", len(self.subjects), MAX_SUBJECTS, self.subjects.forgotten),
            LimitUse("refused_senders", len(self.refused), MAX_ROWS, self.refused.left_out),
            LimitUse("heartbeats", len(self.heartbeats), options.max_heartbeats, self.heartbeats.refused),
        ]


def _written(metric: StatsdMetric) -> str:
    """The beginning of a measurement about as its client wrote it, for a sample."""
    tags = ",".join(f"{name}:{value}" if value else name for name, value in metric.tags)
    return escaped(f"{metric.name}:{metric.values[0]}|{metric.kind}" + (f"|#{tags}" if tags else ""))


def _shown(payload: Any) -> str:
    """A payload in a few words, whatever its size."""
    if not isinstance(payload, dict):
        return _shown_scalar(payload)
    fields = [
        f"{_shown_scalar(name)}: {_shown_scalar(value)}" for name, value in islice(payload.items(), _SHOWN_FIELDS)
    ]
    return "{" + ", ".join(fields) + (", …}" if len(payload) > _SHOWN_FIELDS else "}")


def _shown_scalar(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[:_SHOWN_TEXT]) + ("…" if len(value) > _SHOWN_TEXT else "")
    return repr(value) if value is None or isinstance(value, bool | int | float) else f"<{type(value).__name__}>"
