"""`Watched`: one heartbeat as the monitor sees it. Signs of life and `now` in, states and verdicts out.

A deadline that is noticed late says something of the observer, not of the heartbeat: then it is looked at again a little
later, and after a longer absence the silence of that time does not count.
Pure; not thread-safe.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from atmost.core.events import Session
from atmost.heartbeats.beat import Beat, Ending
from atmost.heartbeats.patience import SLACK, LossMeter, Patience, patience
from atmost.heartbeats.verdicts import HeartbeatState, Verdict, VerdictKind

_GLANCE: Final = 0.25
"""Intervals by which a deadline may be noticed late; beyond, what waits in the socket is given as long to be read."""
_MAX_HOLDS: Final = 3
"""Times in one silence that the observer may blame its own lateness: one that is always late must come to a verdict too."""

Found = tuple[HeartbeatState, Verdict]
"""The state from now on, and why."""
Doubt = Callable[["Watched"], Verdict | None]
"""Asked before a grave verdict: whether the observer has a reason to hold it for one interval."""

_ENDINGS: Final = {
    Ending.STOPPED: (HeartbeatState.STOPPED, VerdictKind.STOPPED),
    Ending.FAILED: (HeartbeatState.FAILED, VerdictKind.FAILED),
}
_ENDED: Final = {HeartbeatState.STOPPED, HeartbeatState.FAILED}
_HEARD: Final = Verdict(VerdictKind.HEARD)


class Watched:
    """One heartbeat."""

    __slots__ = (
        "_explain",
        "_glanced",
        "_hold_until",
        "_holds",
        "_stall_from",
        "_target",
        "beat",
        "beat_at",
        "beats",
        "cap",
        "conflicts",
        "doubted",
        "due",
        "expected",
        "key_id",
        "lost",
        "meter",
        "name",
        "patience",
        "queued",
        "restarts",
        "sent_us",
        "session",
        "sign",
        "state",
        "timeout",
        "verdict",
    )

    def __init__(
        self, name: str, key_id: int, now: float, *, interval: float, timeout: float | None, target: float, cap: int
    ) -> None:
        """Begins to watch; a sign of life is still to come.

        Args:
            name: the heartbeat's.
            key_id: the key of its sender.
            now: seconds.
            interval: seconds between its beats, until it says so itself.
            timeout: seconds that mean `down`; None lets it say so, or follows the loss.
            target: false alarms a sender-day.
            cap: missed beats, at most.
        """
        self.name = name
        self.key_id = key_id
        self._target = target
        self.cap = cap
        self.timeout = timeout
        self.session: Session | None = None
        self.beat = Beat(-1, interval)
        self.meter = LossMeter()
        self.beats = self.lost = self.restarts = self.conflicts = 0
        self.sent_us = 0
        self.expected = False
        self.state = HeartbeatState.UNKNOWN
        self.verdict = Verdict(VerdictKind.EXPECTED)
        # Of what never was heard no loss is known: the most patience there is.
        self.patience: Patience = patience(interval, 0.0, cap - 1, timeout=timeout)
        self.sign = self.beat_at = self._stall_from = now
        self.doubted: set[VerdictKind] = set()
        self._explain = False
        self._holds = 0
        self._glanced: HeartbeatState | None = None
        self._hold_until = 0.0
        self.queued = math.inf
        self.due = math.inf
        self._plan(now)

    @property
    def ended(self) -> bool:
        """Whether it said goodbye."""
        return self.state in _ENDED

    def alive(self, at: float, now: float) -> Found | None:
        """Takes a sign of life other than a beat, which came at `at`."""
        if self.state in _ENDED or at < self.sign:
            return None
        self._hear(at)
        found = None
        stalled = self.verdict.kind is VerdictKind.STALLED
        if self.state is not HeartbeatState.UP and not stalled and now < at + self.patience.late:
            if self.state is not HeartbeatState.LATE:
                self._stall_from = now
            self._explain = True
            found = (HeartbeatState.UP, _HEARD)
        self._plan(now, heard=True)
        return found

    def take(self, beat: Beat, session: Session, sent_us: int, now: float, *, newest: bool) -> Found | None:
        """Takes a beat.

        Args:
            beat: what it says.
            session: that carried it.
            sent_us: when it left, by the sender's clock.
            now: seconds.
            newest: whether it left after all that was heard of its session before.
        """
        known = self.session
        same_session = known is not None and known.key == session.key
        if known is None or not (beat.life == self.beat.life if beat.life else same_session):
            return self._begin(beat, session, sent_us, now) if self._succeeds(session, newest=newest) else None
        jump = beat.number - self.beat.number - 1
        if jump < 0:  # late, or a repeated goodbye
            if self.lost and jump < -1 and beat.ending is None:
                self.lost -= 1
                self.meter.take_back()
            return None
        # Between two hand-overs of one session the sender's own clock tells the pause, without the network's delay.
        gap = (sent_us - self.sent_us) / 1e6 if same_session else now - self.beat_at
        own = gap - jump * self.beat.interval
        paused = own >= (1 + SLACK) * self.beat.interval
        self.lost += jump
        outage = jump > 2 * self.cap  # no threshold could have ridden it out, so it is no burst
        self.meter.add(1, 0 if outage else jump, 0 if outage else jump)
        explain = self._explain or self.state is not HeartbeatState.UP
        self._note(beat, session, sent_us, now)
        if beat.ending is not None:
            return self._goodbye(beat, beat.ending)
        if not explain:
            return None
        if paused:
            return HeartbeatState.UP, Verdict(VerdictKind.PAUSED, count=jump, seconds=own)
        if jump:
            return HeartbeatState.UP, Verdict(VerdictKind.LOST, count=jump, seconds=gap, loss=self.meter.share())
        return None if self.state is HeartbeatState.UP else (HeartbeatState.UP, _HEARD)

    def closed(self) -> Found | None:
        """Its session said goodbye."""
        if self.state in _ENDED:
            return None
        self.due = math.inf
        return HeartbeatState.STOPPED, Verdict(VerdictKind.STOPPED)

    def look(self, now: float, doubt: Doubt) -> Found | None:
        """Judges the silence at this moment; the next deadline is `due`."""
        lag, interval = now - self.due, self.beat.interval
        if _GLANCE * interval < lag <= interval and self._glanced is not self.state:
            self._glanced = self.state
            return self._hold(now, _GLANCE * interval, None)
        if lag > interval and self._holds < _MAX_HOLDS:
            self._holds += 1
            for clock in ("sign", "beat_at", "_stall_from"):
                setattr(self, clock, getattr(self, clock) + lag)
            return self._hold(now, interval, Verdict(VerdictKind.OBSERVER_LATE, seconds=lag))
        state, verdict = self._judge(now)
        grave = state in (HeartbeatState.SUSPECT, HeartbeatState.DOWN)
        if grave and state is not self.state and verdict.kind is VerdictKind.SILENT:
            reason = doubt(self)
            if reason is not None:
                self.doubted.add(reason.kind)
                return self._hold(now, interval, reason)
        self._plan(now)
        if state is self.state and verdict.kind is self.verdict.kind:
            return None
        return None if state is HeartbeatState.UP else (state, verdict)

    def overlooked(self, now: float) -> None:
        """A message comes while a deadline is long past: the observer did not look, so that silence does not count."""
        if now - self.due > _GLANCE * self.beat.interval:
            self.beat_at += now - self.due

    def _judge(self, now: float) -> Found:
        bounds, silence = self.patience, now - self.sign
        missed = max(0, int(silence / self.beat.interval - SLACK + 1e-9))
        silent = Verdict(VerdictKind.SILENT, count=missed, seconds=silence, loss=self.meter.share())
        if now >= self.sign + bounds.down:
            return HeartbeatState.DOWN, silent
        if now >= self.sign + bounds.lossy:
            lossy = Verdict(VerdictKind.LOSSY, count=missed, seconds=silence, loss=self.meter.share())
            return HeartbeatState.UNKNOWN, lossy
        if now >= self.sign + bounds.suspect:
            return HeartbeatState.SUSPECT, silent
        if now >= self._stall_from + bounds.down:
            return HeartbeatState.SUSPECT, Verdict(VerdictKind.STALLED, seconds=now - self.beat_at)
        if now >= self.sign + bounds.late:
            return HeartbeatState.LATE, silent
        return HeartbeatState.UP, _HEARD

    def _hold(self, now: float, seconds: float, reason: Verdict | None) -> Found | None:
        self._hold_until = self.due = now + seconds
        return None if reason is None else (HeartbeatState.UNKNOWN, reason)

    def _hear(self, at: float) -> None:
        self.sign = at
        self._holds = 0
        self._glanced = None
        self._hold_until = 0.0
        if self.doubted:
            self.doubted.clear()

    def _succeeds(self, session: Session, *, newest: bool) -> bool:
        """Whether a beat of another life begins a new one, or is late, or somebody else's of the same name."""
        known = self.session
        if known is None:
            return True
        if known.key == session.key:
            return newest
        if session.start_us < known.start_us and self.state in (HeartbeatState.UP, HeartbeatState.LATE):
            self.conflicts += 1
            return False
        return True

    def _begin(self, beat: Beat, session: Session, sent_us: int, now: float) -> Found:
        kind, away = VerdictKind.FIRST, 0.0
        if self.session is not None:
            kind, away = VerdictKind.RESTARTED, max(0.0, now - self.beat_at)
            self.restarts += 1
            self.lost += beat.number
        self.meter.add(1, 0, 0)
        self._note(beat, session, sent_us, now)
        if beat.ending is not None:
            return self._goodbye(beat, beat.ending)
        return HeartbeatState.UP, Verdict(kind, seconds=away)

    def _goodbye(self, beat: Beat, ending: Ending) -> Found:
        self.due = math.inf
        state, kind = _ENDINGS[ending]
        return state, Verdict(kind, reason=beat.reason)

    def _note(self, beat: Beat, session: Session, sent_us: int, now: float) -> None:
        self._hear(now)
        self._explain = False
        self.beats += 1
        self.beat = beat
        self.session = session
        self.sent_us = sent_us
        self.beat_at = self._stall_from = now
        timeout = self.timeout if self.timeout is not None else beat.timeout
        if timeout is not None and timeout < 2 * beat.interval:  # expected of another interval than it now has
            timeout = None
        self.patience = patience(
            beat.interval,
            self.meter.figure(),
            self.meter.burst,
            continuation=self.meter.continuation(),
            target=self._target,
            cap=self.cap,
            timeout=timeout,
        )
        self._plan(now, heard=True)

    def _plan(self, now: float, *, heard: bool = False) -> None:
        """Sets the next deadline."""
        if self._hold_until > now:
            self.due = self._hold_until
            return
        bounds, sign = self.patience, self.sign
        if heard:
            due = min(sign + bounds.late, self._stall_from + bounds.down)
            # A sign from before `now` may be due already; it does not excuse an observer that is late besides.
            self.due = due if due > now else min(now, max(self.due, due))
            return
        steps = (bounds.late, bounds.suspect, bounds.lossy, bounds.down)
        coming = [sign + step for step in steps if sign + step > now]
        stall = self._stall_from + bounds.down
        if coming and stall > now:
            coming.append(stall)
        self.due = min(coming, default=math.inf)
