"""The collector's own metrics and its senders' account at /metrics, with bounded sets of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

import atmost
from atmost.collector.api import shapes
from atmost.collector.api.views import Views
from atmost.collector.prometheus.user_metrics import UserMetrics
from atmost.collector.state.heartbeats import ALIVE
from atmost.collector.state.state import LimitUse
from atmost.core.events import ClockTrouble

_MAX_HEARTBEATS: Final = 500
_EXTRA: Final = {
    "http_requests": "HTTP requests, including refused ones",
    "http_refused": "HTTP requests and connections refused, for any reason",
    "http_slow_requests": "HTTP connections closed because no complete request came in time",
    "http_slow_readers": "HTTP connections closed because the reader did not take the answer in time",
    "http_streams_refused": "Event streams refused because too many were open",
    "http_stream_entries_skipped": "Log entries that readers of the event stream missed because they were too slow",
    "defects": "Internal errors of the collector, after which it went on",
}
"""Help texts of the further counters."""
Own = CounterMetricFamily | GaugeMetricFamily | InfoMetricFamily


class OwnMetrics:
    """Makes the families."""

    def __init__(self, views: Views, extra: Callable[[], dict[str, int]]) -> None:
        """Args: views: of the state. extra: further counters, by name."""
        self._views = views
        self._extra = extra

    def families(self) -> Iterator[Own]:
        """Yields every family once."""
        overview = self._views.overview()
        info = InfoMetricFamily("atmost_collector", "The collector's version")
        info.add_metric((), {"version": atmost.__version__})
        yield info
        yield GaugeMetricFamily(
            "atmost_collector_uptime_seconds", "Seconds since the collector started", overview.now - overview.started
        )
        if overview.memory.bytes is not None:
            yield GaugeMetricFamily(
                "atmost_collector_memory_bytes", "Resident memory of the process", overview.memory.bytes
            )
        yield from self._of_limits(overview.memory.limits)
        yield self._of_metrics()
        yield from self._of_malformed()
        yield from self._of_senders()
        yield from self._of_listeners(overview.listeners)
        yield from self._of_logs()
        yield from self._of_heartbeats(overview.alive)
        for name, count in self._extra().items():
            yield CounterMetricFamily(f"atmost_collector_{name}", _EXTRA[name], count)

    def of_export(self, user: UserMetrics) -> Iterator[Own]:
        """Yields the number of series left out of the last rendering."""
        left_out = GaugeMetricFamily(
            "atmost_export_left_out_series", "Series of this scrape not shown", labels=("reason",)
        )
        left_out.add_metric(("collision",), user.collisions)
        left_out.add_metric(("max_exported",), user.beyond)
        yield left_out

    def _of_limits(self, limits: list[LimitUse]) -> Iterator[Own]:
        used = GaugeMetricFamily("atmost_limit_used", "How much of a bound is in use", labels=("limit",))
        most = GaugeMetricFamily("atmost_limit_max", "The bound", labels=("limit",))
        hits = CounterMetricFamily("atmost_limit_hits", "How often a bound was hit", labels=("limit",))
        for limit in limits:
            used.add_metric((limit.name,), limit.used)
            most.add_metric((limit.name,), limit.max)
            hits.add_metric((limit.name,), limit.hit)
        yield from (used, most, hits)

    def _of_metrics(self) -> Own:
        """Counts refused readings of senders' metrics, by reason; the API has samples."""
        stats = self._views.state.metrics.stats()
        refused = CounterMetricFamily(
            "atmost_metrics_refused", "Readings of senders' metrics that were refused", labels=("reason",)
        )
        counts = {"malformed": stats.malformed, "conflict": stats.conflicts, "retired": stats.retired}
        for reason, count in counts.items():
            refused.add_metric((reason,), count)
        return refused

    def _of_malformed(self) -> Iterator[Own]:
        """Counts messages of logs and heartbeats that were refused, by reason; the API has samples."""
        state = self._views.state
        with state.lock:
            of_logs, of_heartbeats = state.our_logs.reader.stats(), state.heartbeats.monitor.stats()
        logs = {"malformed": of_logs.malformed, "conflict": of_logs.conflict}
        beats = {"malformed": of_heartbeats.malformed, "sender_limit": of_heartbeats.sender_limit}
        yield _counter("atmost_logs_refused", "Messages of senders' logs that were refused", ("reason",), logs)
        yield _counter("atmost_heartbeats_refused", "Messages of heartbeats that were refused", ("reason",), beats)

    def _of_senders(self) -> Iterator[Own]:
        state, totals = self._views.state, self._views.state.totals
        with state.lock:
            ledgers, rows = list(state.senders.ledgers.values()), state.senders.rows()
            delivered, lost, late = totals.delivered, totals.lost, totals.late
            dropped, silent = dict(totals.dropped), totals.silent(rows)
            never_accepted = Counter(row.reason for row in state.refused.rows(self._views.now()))
            pending = dict.fromkeys(delivered, 0)
            for row in rows:
                pending[totals.label(row.account.name)] += row.account.pending
        tails = Counter(row.account.tail.value for row in rows)
        refused, troubles = Counter[str](), Counter(dict.fromkeys(map(str, ClockTrouble), 0))
        for each in ledgers:
            refused.update(each.refused)
            troubles.update(each.clock_troubles)
        yield _counter("atmost_messages_delivered", "Messages that arrived", ("sender",), delivered)
        yield _counter(
            "atmost_messages_lost",
            "Messages that did not arrive within the grace, by place, including those that came late",
            ("sender", "reason"),
            lost,
        )
        yield _counter("atmost_messages_late", "Messages counted as lost that came after all", ("sender",), late)
        yield _gauge("atmost_messages_pending", "Messages missing, but still within the grace", ("sender",), pending)
        yield _counter(
            "atmost_sender_dropped",
            "Messages dropped or refused at the sender, as it reports",
            ("sender", "reason"),
            dropped,
        )
        yield _gauge(
            "atmost_sender_silent",
            "1 while no session of the sender is alive and the last one ended without a goodbye",
            ("sender",),
            silent,
        )
        yield _gauge("atmost_sessions", "Sessions of senders, by what is known of their end", ("tail",), tails)
        yield _counter("atmost_datagrams_refused", "Datagrams refused, by reason", ("reason",), refused)
        yield _gauge(
            "atmost_refused_senders",
            "Hosts whose senders were never accepted, and were refused in the last hour, by reason",
            ("reason",),
            never_accepted,
        )
        yield _counter("atmost_clock_troubles", "Occurrences of trouble with a clock, by kind", ("kind",), troubles)

    def _of_listeners(self, listeners: list[shapes.Listener]) -> Iterator[Own]:
        labels = ("listener", "address")
        received = CounterMetricFamily("atmost_listener_datagrams", "Datagrams received", labels=labels)
        accepted = CounterMetricFamily("atmost_listener_accepted", "Datagrams, lines or records taken", labels=labels)
        rejected = CounterMetricFamily(
            "atmost_listener_rejected", "Datagrams, lines or records rejected, by reason", labels=(*labels, "reason")
        )
        noted = CounterMetricFamily(
            "atmost_listener_noted",
            "Accepted lines with parts left out or doubtful, by kind of note",
            labels=(*labels, "note"),
        )
        kernel = CounterMetricFamily(
            "atmost_listener_kernel_drops", "Datagrams the kernel dropped at the socket", labels=labels
        )
        queue = CounterMetricFamily(
            "atmost_listener_queue_drops",
            "Datagrams or messages received but dropped because the collector was too slow",
            labels=labels,
        )
        for each in listeners:
            at = (each.kind, each.address)
            received.add_metric(at, each.received)
            accepted.add_metric(at, each.accepted)
            queue.add_metric(at, each.queue_drops)
            if each.kernel_drops is not None:
                kernel.add_metric(at, each.kernel_drops)
            for reason, count in each.rejected.items():
                rejected.add_metric((*at, reason), count)
            for note, count in each.notes.items():
                noted.add_metric((*at, note), count)
        yield from (received, accepted, rejected, noted, kernel, queue)

    def _of_logs(self) -> Iterator[Own]:
        state = self._views.state
        with state.lock:
            counts, dropped = Counter(state.logs.counts), dict(state.client_drops)
            lost = dict(state.logs.lost_by_level)
        yield CounterMetricFamily("atmost_log_records", "Records taken into the log tail", counts["records"])
        yield CounterMetricFamily("atmost_log_gaps", "Holes found in logs", counts["gaps"])
        yield _counter(
            "atmost_log_records_lost", "Records found missing, including those that came late", ("level",), lost
        )
        yield CounterMetricFamily("atmost_log_records_late", "Records lost that came after all", counts["late"])
        yield _counter(
            "atmost_statsd_client_dropped",
            "Drops that StatsD's clients report about themselves",
            ("client", "what"),
            dropped,
        )

    def _of_heartbeats(self, alive: dict[str, int]) -> Iterator[Own]:
        yield _gauge("atmost_heartbeats", "Heartbeats by state", ("state",), alive)
        labels = ("heartbeat",)
        missed = CounterMetricFamily(
            "atmost_heartbeat_missed", "Beats that were due but did not arrive, sent or not", labels=labels
        )
        flaps = CounterMetricFamily("atmost_heartbeat_flaps", "How often it went down and came back", labels=labels)
        silence = GaugeMetricFamily(
            "atmost_heartbeat_longest_silence_seconds", "The longest silence between two signs of life", labels=labels
        )
        conflict = GaugeMetricFamily(
            "atmost_heartbeat_conflict", "1 while two senders beat under this name", labels=labels
        )
        up = GaugeMetricFamily(
            "atmost_heartbeat_up",
            "1 while it beats, 0 when it is down or failed; absent when unknown or stopped",
            labels=("heartbeat",),
        )
        shown: set[str] = set()
        for row in self._views.heartbeats().heartbeats[:_MAX_HEARTBEATS]:
            if row.name in shown:
                continue
            shown.add(row.name)
            if row.state in ALIVE:
                up.add_metric((row.name,), float(ALIVE[row.state]))
            missed.add_metric((row.name,), row.missed)
            flaps.add_metric((row.name,), row.flaps)
            silence.add_metric((row.name,), row.longest_silence)
            conflict.add_metric((row.name,), float(bool(row.conflict)))
        yield from (up, missed, flaps, silence, conflict)


def _counter(
    name: str, text: str, labels: tuple[str, ...], counts: Mapping[str, int] | Mapping[tuple[str, str], int]
) -> Own:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, count in counts.items():
        family.add_metric((key,) if isinstance(key, str) else key, count)
    return family


def _gauge(name: str, text: str, labels: tuple[str, ...], counts: Mapping[str, int]) -> Own:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, count in counts.items():
        family.add_metric((key,), count)
    return family
