"""From datagrams of foreign protocols to what the state takes; nothing here raises for what arrives.

Decoding happens without the state's lock, in the receiving thread.
"""

from __future__ import annotations

from typing import Any

from atmost.collector.config.options import GAUGE_DELTAS
from atmost.collector.daemon.listening import Apply, peer_text
from atmost.collector.state.listeners import ListenerStats
from atmost.collector.state.state import CollectorState
from atmost.ingest import statsd, syslog
from atmost.ingest.gelf import GelfIncomplete, GelfReader
from atmost.ingest.gelf.reader import Outcome
from atmost.ingest.rejected import Rejected


class StatsdReader:
    """StatsD and DogStatsD."""

    def __init__(self, state: CollectorState) -> None:
        """Args: state: what takes the values."""
        self.state = state

    def decode(self, datagram: bytes, address: Any, stats: ListenerStats, now: float) -> Apply:
        """Reads the lines."""
        found = statsd.parse(datagram, deltas=GAUGE_DELTAS[self.state.options.statsd_gauge_deltas])
        return lambda: self.state.take_statsd(found, stats, *peer_text(address), now)

    def tick(self, _stats: ListenerStats, _now: float) -> Apply | None:
        """Nothing is."""
        return None


class SyslogReader:
    """Syslog of both RFCs."""

    def __init__(self, state: CollectorState) -> None:
        """Args: state: what takes the records."""
        self.state = state

    def decode(self, datagram: bytes, address: Any, stats: ListenerStats, now: float) -> Apply:
        """Reads the record."""
        host, peer = peer_text(address)
        found = syslog.parse(datagram, host, now)

        def apply() -> None:
            if isinstance(found, Rejected):
                self.state.reject(found, stats, peer, now)
            else:
                stats.accepted += 1
                self.state.foreign.syslog(found, peer, now)

        return apply

    def tick(self, _stats: ListenerStats, _now: float) -> Apply | None:
        """Nothing is."""
        return None


class GelfInput:
    """GELF, whole or in chunks."""

    def __init__(self, state: CollectorState) -> None:
        """Args: state: what takes the records."""
        self.state = state
        self._reader = GelfReader()

    def decode(self, datagram: bytes, address: Any, stats: ListenerStats, now: float) -> Apply:
        """Reads the datagram, which completes a record, or several losses, or nothing yet."""
        host, peer = peer_text(address)
        outcomes = self._reader.receive(datagram, host, now)
        return lambda: self._take(outcomes, stats, peer, now)

    def tick(self, stats: ListenerStats, now: float) -> Apply | None:
        """Gives up what is incomplete for too long."""
        deadline = self._reader.next_deadline()
        if deadline is None or deadline > now:
            return None
        outcomes = self._reader.tick(now)
        return lambda: self._take(outcomes, stats, "", now)

    def _take(self, outcomes: list[Outcome], stats: ListenerStats, peer: str, now: float) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Rejected):
                self.state.reject(outcome, stats, peer, now)
            elif isinstance(outcome, GelfIncomplete):
                stats.rejected["incomplete"] += 1
                self.state.foreign.gelf_incomplete(outcome, now)
            else:
                stats.accepted += 1
                self.state.foreign.gelf(outcome)
