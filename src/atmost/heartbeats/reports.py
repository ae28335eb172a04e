"""What is told of a heartbeat: a change, and its status.

Pure functions, safe from the monitor's thread.
"""

from __future__ import annotations

from atmost.heartbeats.verdicts import Change, HeartbeatState, HeartbeatStatus
from atmost.heartbeats.watched import Watched


def change_of(watched: Watched, before: HeartbeatState, now: float) -> Change:
    """The change that was just made."""
    session = watched.session
    return Change(
        name=watched.name,
        before=before,
        state=watched.state,
        verdict=watched.verdict,
        at=now,
        sender=session.name if session else "",
        key_id=watched.key_id,
    )


def status_of(watched: Watched, now: float) -> HeartbeatStatus:
    """All that is known."""
    session, beat = watched.session, watched.beat
    return HeartbeatStatus(
        name=watched.name,
        key_id=watched.key_id,
        sender=session.name if session else "",
        host=session.host if session else "",
        pid=session.pid if session else 0,
        state=watched.state,
        verdict=watched.verdict,
        interval=beat.interval,
        silent=max(0.0, now - watched.sign),
        beat_silent=max(0.0, now - watched.beat_at),
        uptime=beat.uptime,
        beats=watched.beats,
        lost=watched.lost,
        restarts=watched.restarts,
        conflicts=watched.conflicts,
        loss=watched.meter.share(),
        burst=watched.meter.burst,
        misses=watched.patience.misses,
        down_after=watched.patience.down,
        offered=beat.offered,
        dropped=beat.dropped,
        refused=beat.refused,
        errors=beat.errors,
    )
