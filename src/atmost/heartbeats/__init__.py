"""Heartbeats: a lost beat does not mean a death, and every silence that ends is explained (docs/heartbeats.md)."""

from atmost.heartbeats.beat import Beat, HeartbeatEnding, read_beat
from atmost.heartbeats.heartbeat import Heartbeat
from atmost.heartbeats.memory import HeartbeatMemory
from atmost.heartbeats.monitor import HeartbeatMonitor
from atmost.heartbeats.patience import HeartbeatPatience, LossMeter, misses_needed, patience
from atmost.heartbeats.verdicts import (
    HeartbeatChange,
    HeartbeatMonitorStats,
    HeartbeatState,
    HeartbeatStatus,
    HeartbeatVerdict,
    HeartbeatVerdictKind,
    RememberedHeartbeat,
)
from atmost.heartbeats.watching import watch, watch_async

__all__ = [
    "Beat",
    "Heartbeat",
    "HeartbeatChange",
    "HeartbeatEnding",
    "HeartbeatMemory",
    "HeartbeatMonitor",
    "HeartbeatMonitorStats",
    "HeartbeatPatience",
    "HeartbeatState",
    "HeartbeatStatus",
    "HeartbeatVerdict",
    "HeartbeatVerdictKind",
    "LossMeter",
    "RememberedHeartbeat",
    "misses_needed",
    "patience",
    "read_beat",
    "watch",
    "watch_async",
]
