"""Heartbeats: lost is not dead, and what comes back explains itself (docs/heartbeats.md)."""

from atmost.heartbeats.beat import Beat, Ending, read_beat
from atmost.heartbeats.heartbeat import Heartbeat
from atmost.heartbeats.monitor import HeartbeatMonitor, watch, watch_async
from atmost.heartbeats.patience import LossMeter, Patience, misses_needed, patience
from atmost.heartbeats.verdicts import Change, HeartbeatState, HeartbeatStatus, Verdict, VerdictKind

__all__ = [
    "Beat",
    "Change",
    "Ending",
    "Heartbeat",
    "HeartbeatMonitor",
    "HeartbeatState",
    "HeartbeatStatus",
    "LossMeter",
    "Patience",
    "Verdict",
    "VerdictKind",
    "misses_needed",
    "patience",
    "read_beat",
    "watch",
    "watch_async",
]
