"""`Watched`: one heartbeat as the monitor sees it. Signs of life and `now` in, states and verdicts out.

Pure; not thread-safe.

Theory of operation
-------------------

A heartbeat is in one of seven states, and exactly one deadline (`due`) is set for it, or none (infinite).

    UNKNOWN ──beat──► UP ──1½ intervals──► LATE ──3 intervals──► SUSPECT ──patience──► DOWN
       ▲               ▲                     │                      │                   │
       │               └────────── a sign of life or a beat ────────┴───────────────────┘
       └── a doubt in the observer, or loss that hides deaths, instead of SUSPECT and DOWN
    any ──goodbye──► STOPPED or FAILED ──a beat of another life──► UP

* Three clocks count, all on the monitor's `now`. `sign` is the last sign of life: any datagram of the session, or a
  beacon. `beat_at` is the last beat. `_stall_from` is since when signs of life came without a beat. Silence is measured
  from `sign`; "its session lives, but what beats does not" from `_stall_from`; a pause is explained by `beat_at`.
* A sign of life can only move a heartbeat towards UP. A beat explains besides: a jump of the number is loss, contiguous
  numbers after a silence are a pause, another life is a restart. Numbers and lives are the sender's own, so the explanation
  needs no clock of this side, except across sessions.
* Only `judge_silence` moves it towards DOWN, and only at its deadline. A deadline noticed late says something of the
  observer, not of the heartbeat. Noticed up to an interval late, it is judged again a quarter of an interval later, so that
  what waits in the socket can be read first. Noticed later than that, the time in which the observer did not look is no
  silence: all three clocks move ahead by it. Both can happen only a bounded number of times in one silence, so an observer
  that is always late comes to a verdict too.
* Before a grave verdict (SUSPECT, DOWN) the monitor is asked for a reason to doubt itself. Each reason can hold a verdict
  once in a silence.
* An ended heartbeat (STOPPED, FAILED) has no deadline. Only a beat of another life, or of the same life in another session,
  makes it UP again.
* A name belongs to one life at a time, the latest that began. Another life that beats meanwhile is not a sign of life. It is
  a conflict once it beats twice, with rising numbers, half an interval apart: a restart leaves late beats of the old life
  behind, but these come at once. When the present life falls silent or ends, the other one takes the name over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from atmost.core.events import Session
from atmost.heartbeats.beat import Beat, HeartbeatEnding
from atmost.heartbeats.patience import SLACK, HeartbeatPatience, LossMeter, patience
from atmost.heartbeats.verdicts import HeartbeatState, HeartbeatStatus, HeartbeatVerdict, HeartbeatVerdictKind

_GLANCE: Final = 0.25
"""Intervals by which a deadline may be noticed late; beyond, what waits in the socket is given as long to be read."""
_MAX_HOLDS: Final = 3
"""Times in one silence that the observer may blame its own lateness: one that is always late must come to a verdict too."""
_CONFLICT_LASTS: Final = 3.0
"""Intervals of the other one without a beat after which the conflict is over."""

Found = tuple[HeartbeatState, HeartbeatVerdict]
"""The state from now on, and why."""
Doubt = Callable[["Watched"], HeartbeatVerdict | None]
"""Asked before a grave verdict: whether the observer has a reason to hold it for one interval."""

_ENDINGS: Final = {
    HeartbeatEnding.STOPPED: (HeartbeatState.STOPPED, HeartbeatVerdictKind.STOPPED),
    HeartbeatEnding.FAILED: (HeartbeatState.FAILED, HeartbeatVerdictKind.FAILED),
}
_ENDED: Final = {HeartbeatState.STOPPED, HeartbeatState.FAILED}
_LIVES: Final = {HeartbeatState.UP, HeartbeatState.LATE}
_HEARD: Final = HeartbeatVerdict(HeartbeatVerdictKind.HEARD)


class Rival:
    """Another life that beats under the same name."""

    __slots__ = ("at", "first_at", "interval", "life", "number", "proven", "session")

    def __init__(self, beat: Beat, session: Session, now: float) -> None:
        self.life = _life_of(beat, session)
        self.session = session
        self.number = beat.number
        self.interval = beat.interval
        self.first_at = self.at = now
        self.proven = False

    def heard(self, beat: Beat, now: float) -> None:
        """Takes a further beat of it."""
        if beat.number > self.number:
            self.number, self.interval, self.at = beat.number, beat.interval, now
            self.proven = self.proven or now - self.first_at >= beat.interval / 2

    def is_present(self, now: float) -> bool:
        """Whether it still beats."""
        return now - self.at <= _CONFLICT_LASTS * self.interval

    def __str__(self) -> str:
        """Who it is, as far as its session says."""
        who = self.session.name or self.session.id
        return f"{who} (process {self.session.pid} on {self.session.host})" if self.session.pid else who


class Watched:
    """One heartbeat. See the theory of operation above."""

    __slots__ = (
        "_explain",
        "_glanced",
        "_hold_until",
        "_holds",
        "_longest",
        "_missed_now",
        "_past_life",
        "_stall_from",
        "_target",
        "any_key",
        "beat",
        "beat_at",
        "beats",
        "cap",
        "conflicts",
        "doubted",
        "due",
        "expected",
        "flaps",
        "key_id",
        "lost",
        "meter",
        "missed",
        "name",
        "patience",
        "queued",
        "restarts",
        "rival",
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
            timeout: seconds that mean `down`; None follows the loss, unless the heartbeat says so itself.
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
        self.beats = self.lost = self.missed = self.flaps = self.restarts = self.conflicts = 0
        self.sent_us = 0
        self.expected = False
        self.any_key = False
        """Expected whatever the key of its sender: the first beat under its name settles it."""
        self.state = HeartbeatState.UNKNOWN
        self.verdict = HeartbeatVerdict(HeartbeatVerdictKind.EXPECTED)
        # No loss is known of what never was heard: the most patience there is.
        self.patience: HeartbeatPatience = patience(interval, 0.0, cap - 1, timeout=timeout)
        self.sign = self.beat_at = self._stall_from = now
        self.doubted: set[HeartbeatVerdictKind] = set()
        self.rival: Rival | None = None
        self._past_life: tuple[bytes, str] | None = None
        self._explain = False
        self._holds = 0
        self._glanced: HeartbeatState | None = None
        self._hold_until = 0.0
        self._longest = 0.0
        self._missed_now = 0
        self.queued = math.inf
        self.due = math.inf
        self._plan(now)

    @property
    def ended(self) -> bool:
        """Whether it said goodbye."""
        return self.state in _ENDED

    def remember(self, state: HeartbeatState, reason: str, life: str) -> None:
        """Takes over what an observer before this one believed; to be called before anything was heard.

        Args:
            state: the state then.
            reason: what ended it, where it had failed.
            life: its life then: the same one goes on, and another one is a restart.
        """
        self.beat = Beat(-1, self.beat.interval, life=life)
        if state is HeartbeatState.FAILED:
            self.state, self.verdict = state, HeartbeatVerdict(HeartbeatVerdictKind.FAILED, reason=reason)
        elif state is HeartbeatState.STOPPED:
            self.state, self.verdict = state, HeartbeatVerdict(HeartbeatVerdictKind.STOPPED)
        else:
            down = state is HeartbeatState.DOWN
            self.state = HeartbeatState.DOWN if down else HeartbeatState.UNKNOWN
            self.verdict = HeartbeatVerdict(HeartbeatVerdictKind.REMEMBERED, reason=str(state))
            if not down:
                return
        self.due = math.inf  # nothing more can change by silence

    def heard_sign(self, at: float, now: float) -> Found | None:
        """Takes a sign of life other than a beat, which came at `at`."""
        if self.state in _ENDED or at < self.sign:
            return None
        self._hear(at)
        found = None
        stalled = self.verdict.kind is HeartbeatVerdictKind.STALLED
        if self.state is not HeartbeatState.UP and not stalled and now < at + self.patience.late:
            if self.state is not HeartbeatState.LATE:
                self._stall_from = now
            self._explain = True
            found = (HeartbeatState.UP, _HEARD)
        self._plan(now, heard=True)
        return found

    def heard_beat(self, beat: Beat, session: Session, sent_us: int, now: float, *, newest: bool) -> Found | None:
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
        # Another life: a new one takes the name over, and one that should be over contests it.
        if known is None or not (beat.life == self.beat.life if beat.life else same_session):
            if known is not None and self._is_contested_by(beat, session, known):
                return self._contest(beat, session, now, newest=newest or not same_session)
            return self._begin(beat, session, sent_us, now) if newest or not same_session else None
        jump = beat.number - self.beat.number - 1
        if jump < 0:  # late, or a repeated goodbye
            if self.lost and jump < -1 and beat.ending is None:
                self.lost -= 1
                self.meter.found_one()
            return None
        if beat.alone:  # its numbers say nothing of loss or pauses, only that it is there again
            explain = self.state is not HeartbeatState.UP
            self._note(beat, session, sent_us, now)
            if beat.ending is not None:
                return self._goodbye(beat, beat.ending)
            return (HeartbeatState.UP, _HEARD) if explain else self._agreed(now)
        # Between two hand-overs of one session the sender's own clock shows the pause, without the network's delay.
        gap = (sent_us - self.sent_us) / 1e6 if same_session else now - self.beat_at
        own = gap - jump * self.beat.interval
        paused = own >= (1 + SLACK) * self.beat.interval
        self.lost += jump
        outage = jump > 2 * self.cap  # no threshold could have ridden it out, so it is not a burst
        self.meter.record(1, 0 if outage else jump, 0 if outage else jump)
        explain = self._explain or self.state is not HeartbeatState.UP
        self._note(beat, session, sent_us, now)
        if beat.ending is not None:
            return self._goodbye(beat, beat.ending)
        if not explain:
            return self._agreed(now)
        if paused:
            return HeartbeatState.UP, HeartbeatVerdict(HeartbeatVerdictKind.PAUSED, count=jump, seconds=own)
        if jump:
            lost = HeartbeatVerdict(HeartbeatVerdictKind.LOST, count=jump, seconds=gap, loss=self.meter.share())
            return HeartbeatState.UP, lost
        return None if self.state is HeartbeatState.UP else (HeartbeatState.UP, _HEARD)

    def session_closed(self) -> Found | None:
        """Its session said goodbye."""
        if self.state in _ENDED or self.beat.alone:
            return None
        self.due = math.inf
        return HeartbeatState.STOPPED, HeartbeatVerdict(HeartbeatVerdictKind.STOPPED)

    def judge_silence(self, now: float, doubt: Doubt) -> Found | None:
        """Judges the silence at this moment; the next deadline is `due`."""
        lag, interval = now - self.due, self.beat.interval
        # The observer is late: it looks again soon, or takes the time in which it did not look off the silence.
        if _GLANCE * interval < lag <= interval and self._glanced is not self.state:
            self._glanced = self.state
            return self._hold(now, _GLANCE * interval, None)
        if lag > interval and self._holds < _MAX_HOLDS:
            self._holds += 1
            self.sign += lag
            self.beat_at += lag
            self._stall_from += lag
            return self._hold(now, interval, HeartbeatVerdict(HeartbeatVerdictKind.OBSERVER_LATE, seconds=lag))
        self.count_missed(now)
        state, verdict = self._judge(now)
        # A grave verdict is held while the observer has a reason to doubt itself.
        grave = state in (HeartbeatState.SUSPECT, HeartbeatState.DOWN)
        if grave and state is not self.state and verdict.kind is HeartbeatVerdictKind.SILENT:
            reason = doubt(self)
            if reason is not None:
                self.doubted.add(reason.kind)
                return self._hold(now, interval, reason)
        self._plan(now)
        if state is self.state and verdict.kind is self.verdict.kind:
            return None
        return None if state is HeartbeatState.UP else (state, verdict)

    def excuse_observer(self, now: float) -> None:
        """A message comes while a deadline is long past: the observer did not look, so that silence does not count."""
        if now - self.due > _GLANCE * self.beat.interval:
            self.beat_at += now - self.due

    def count_missed(self, now: float) -> None:
        """Counts the beats that are due by now and did not come; each once, so that the total never falls."""
        if self.session is None or self.state in _ENDED:
            return
        missed = int((now - self.beat_at) / self.beat.interval - SLACK + 1e-9)
        if missed > self._missed_now:
            self.missed += missed - self._missed_now
            self._missed_now = missed

    def status(self, now: float) -> HeartbeatStatus:
        """All that is known."""
        self.count_missed(now)
        session, beat, rival = self.session, self.beat, self.rival
        silent = max(0.0, now - self.sign)
        return HeartbeatStatus(
            name=self.name,
            key_id=self.key_id,
            sender=session.name if session else "",
            host=session.host if session else "",
            pid=session.pid if session else 0,
            state=self.state,
            verdict=self.verdict,
            expected=self.expected,
            conflict=str(rival) if rival is not None and rival.proven and rival.is_present(now) else "",
            interval=beat.interval,
            silent=silent,
            beat_silent=max(0.0, now - self.beat_at),
            longest_silence=self._longest if self.ended or session is None else max(self._longest, silent),
            uptime=beat.uptime,
            beats=self.beats,
            lost=self.lost,
            missed=self.missed,
            flaps=self.flaps,
            restarts=self.restarts,
            conflicts=self.conflicts,
            loss=self.meter.share(),
            burst=self.meter.burst,
            misses=self.patience.misses,
            down_after=self.patience.down,
            offered=beat.offered,
            dropped=beat.dropped,
            refused=beat.refused,
            errors=beat.errors,
        )

    def _judge(self, now: float) -> Found:
        bounds, silence = self.patience, now - self.sign
        missed = max(0, int(silence / self.beat.interval - SLACK + 1e-9))
        silent = HeartbeatVerdict(HeartbeatVerdictKind.SILENT, count=missed, seconds=silence, loss=self.meter.share())
        if now >= self.sign + bounds.down:
            return HeartbeatState.DOWN, silent
        if now >= self.sign + bounds.lossy:
            lossy = HeartbeatVerdict(HeartbeatVerdictKind.LOSSY, count=missed, seconds=silence, loss=self.meter.share())
            return HeartbeatState.UNKNOWN, lossy
        if now >= self.sign + bounds.suspect:
            return HeartbeatState.SUSPECT, silent
        if now >= self._stall_from + bounds.down:
            stalled = HeartbeatVerdict(HeartbeatVerdictKind.STALLED, seconds=now - self.beat_at)
            return HeartbeatState.SUSPECT, stalled
        if now >= self.sign + bounds.late:
            return HeartbeatState.LATE, silent
        return HeartbeatState.UP, _HEARD

    def _hold(self, now: float, seconds: float, reason: HeartbeatVerdict | None) -> Found | None:
        self._hold_until = self.due = now + seconds
        return None if reason is None else (HeartbeatState.UNKNOWN, reason)

    def _hear(self, at: float) -> None:
        if self.session is not None and self.state not in _ENDED:
            self._longest = max(self._longest, at - self.sign)
        self.sign = at
        self._holds = 0
        self._glanced = None
        self._hold_until = 0.0
        if self.doubted:
            self.doubted.clear()

    def _is_contested_by(self, beat: Beat, session: Session, known: Session) -> bool:
        """Whether a beat of another life comes from one that is older than the present one, while that is alive."""
        if self.state not in _LIVES:
            return False
        if known.key != session.key and session.start_us < known.start_us:
            return True
        life = _life_of(beat, session)
        return life == self._past_life or (self.rival is not None and life == self.rival.life)

    def _contest(self, beat: Beat, session: Session, now: float, *, newest: bool) -> Found | None:
        """Takes the beat of an older life while the present one beats."""
        rival = self.rival
        mine = rival is not None and rival.life == _life_of(beat, session)
        if beat.ending is not None:  # it ends, or its end is heard late: no conflict any more
            if mine:
                self.rival = None
            return None
        self.conflicts += 1
        if not newest:
            return None
        if rival is None or not (mine or rival.is_present(now)):
            self.rival = Rival(beat, session, now)
            return None
        if not mine:  # a third one; one is enough to name
            return None
        known_before = rival.proven
        rival.heard(beat, now)
        if not rival.proven or known_before:
            return None
        return self.state, HeartbeatVerdict(HeartbeatVerdictKind.CONFLICT, reason=str(rival))

    def _agreed(self, now: float) -> Found | None:
        """The end of a conflict: it beats on, and the other one does not."""
        if self.verdict.kind is not HeartbeatVerdictKind.CONFLICT:
            return None
        if self.rival is not None and self.rival.is_present(now):
            return None
        self.rival = None
        return HeartbeatState.UP, _HEARD

    def _begin(self, beat: Beat, session: Session, sent_us: int, now: float) -> Found:
        """A life begins, or is heard for the first time."""
        kind, away = HeartbeatVerdictKind.FIRST, 0.0
        if self.session is not None:
            kind, away = HeartbeatVerdictKind.RESTARTED, max(0.0, now - self.beat_at)
            self.restarts += 1
            self.lost += 0 if beat.alone else beat.number
            self._past_life = _life_of(self.beat, self.session)
        elif self.beat.life:  # an observer before this one knew it
            same = beat.life == self.beat.life
            kind = HeartbeatVerdictKind.HEARD if same else HeartbeatVerdictKind.RESTARTED
            away = max(0.0, now - self.beat_at)
            self.restarts += not same
        if self.rival is not None and self.rival.life == _life_of(beat, session):
            self.rival = None  # it has the name now
        self.meter.record(1, 0, 0)
        self._note(beat, session, sent_us, now)
        if beat.ending is not None:
            return self._goodbye(beat, beat.ending)
        return HeartbeatState.UP, HeartbeatVerdict(kind, seconds=away)

    def _goodbye(self, beat: Beat, ending: HeartbeatEnding) -> Found:
        self.due = math.inf
        state, kind = _ENDINGS[ending]
        return state, HeartbeatVerdict(kind, reason=beat.reason)

    def _note(self, beat: Beat, session: Session, sent_us: int, now: float) -> None:
        self.count_missed(now)
        self._missed_now = 0
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


def _life_of(beat: Beat, session: Session) -> tuple[bytes, str]:
    return (b"", beat.life) if beat.life else (session.key, "")
