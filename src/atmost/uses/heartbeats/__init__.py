"""Heartbeats: lost is not dead, and what comes back explains itself (docs/heartbeats.md)."""

from atmost.uses.heartbeats.beat import Beat, Ending, read_beat
from atmost.uses.heartbeats.heartbeat import Heartbeat
from atmost.uses.heartbeats.loss import LossMeter
from atmost.uses.heartbeats.monitor import HeartbeatMonitor
from atmost.uses.heartbeats.patience import Patience, misses_needed, patience
from atmost.uses.heartbeats.verdicts import Change, HeartbeatState, HeartbeatStatus, Verdict, VerdictKind
from atmost.uses.heartbeats.watch import watch, watch_async

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
