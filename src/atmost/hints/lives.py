"""`Lives`: turns the hints and marks of many invalidators into changes, and says until when that picture is complete.

Pure; time is an argument, seconds on the reader's clock. Not thread-safe. Memory is bounded by `MAX_LIVES`.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Final

from atmost.hints.changes import Changes
from atmost.hints.life import MISSES, Life
from atmost.hints.suspicion import Reason
from atmost.hints.wire import Hint, Kind, Mark, affected

MAX_LIVES: Final = 1024


class Lives:
    """The invalidators that are known."""

    def __init__(self, changes: Changes, shards: int, grace: float, forget_after: float) -> None:
        """Knows nobody.

        Args:
            changes: what is found out goes there.
            shards: of the cache.
            grace: seconds that a missing hint may come late.
            forget_after: seconds of blindness after which a silent life is known no more.
        """
        self.counts: Counter[str] = Counter()
        self.next_tick = inf
        """When `tick` must be called again, or earlier, seconds."""
        self.trusted = inf
        """Seconds: an entry no older than this is served whatever is in doubt, for no change can show later than that anyway."""
        self.blind_since: float | None = None
        self.blind_seconds = 0.0
        self._changes = changes
        self._shards, self._grace, self._forget_after = shards, grace, forget_after
        self._lives: dict[bytes, Life] = {}

    @property
    def known(self) -> int:
        """Lives that are known and have not ended."""
        return sum(not life.closed for life in self._lives.values())

    def bound(self) -> float | None:
        """Seconds after which a change shows here at the latest; None while no invalidator is known."""
        intervals = [life.interval for life in self._lives.values() if not life.closed]
        if not intervals or self.counts["invalidator_limit"]:
            return None
        return self._bound(max(intervals))

    def hint(self, kind: Kind, hint: Hint, now: float) -> bool:
        """Books a hint; returns whether it is to be applied."""
        life = self._lives.get(hint.life)
        if life is None:  # its first mark will be the baseline
            self.counts["unannounced"] += 1
            return True
        sequence = life.sequence(kind, hint.shard)
        if sequence is None:
            self.counts["malformed"] += 1
            return False
        if self._take(life, sequence, hint.number, now):
            return True
        self.counts["repeated"] += 1
        return False

    def mark(self, mark: Mark, session: bytes, now: float) -> None:
        """Books a mark."""
        life = self._lives.get(mark.life)
        if life is None:
            self._meet(mark, session, now)
            return
        if len(mark.keys) != life.shards:
            self.counts["malformed"] += 1
            return
        for number, prefix in mark.recent:
            if self._take(life, 2 * life.shards, number, now):
                self.counts["prefixes_recovered"] += 1
                self._changes.invalidate_prefix(prefix, now)
        for sequence, number in enumerate((*mark.keys, *mark.tags, mark.prefixes)):
            if number > life.numbers[sequence]:
                self._reach(life, sequence, number, now)
        silent = now >= life.deadline(self._grace)
        life.heard(mark, session, now)
        if silent:  # else it makes nobody else's silence less
            self.tick(now)

    def left(self, session: bytes) -> None:
        """A session said goodbye: the silence of the lives that it carried is no blindness."""
        for life in self._lives.values():
            if life.session == session:
                life.left = True

    def tick(self, now: float) -> None:
        """Gives up what is due, and finds out who is silent for too long; `blind_since` is right afterwards."""
        due, blind = inf, inf
        newest: dict[object, list[Life]] = {}
        for key, life in list(self._lives.items()):
            if life.gaps:
                self._give_up(life, now)
                due = min(due, min((gap.due for gap in life.gaps), default=inf))
            deadline = life.deadline(self._grace)
            forget = deadline + self._forget_after
            if now < deadline:
                due = min(due, deadline)
            elif life.closed:  # until it is forgotten, its late marks are known for what they are
                if now < forget:
                    due = min(due, forget)
                else:
                    del self._lives[key]
            elif life.left or _superseded(life, newest := newest or self._newest()):
                self._end(key, Reason.ENDED, deadline)
            elif now >= forget:
                self.counts["forgotten"] += 1
                self._end(key, Reason.BLIND, deadline)
            else:
                due, blind = min(due, forget), min(blind, deadline)
        self.next_tick = due
        self._see(blind, now)

    def _bound(self, interval: float) -> float:
        return 2 * self._grace + (MISSES + 1) * interval

    def _see(self, blind: float, now: float) -> None:
        """Books blindness that begins or ends."""
        if blind < inf:
            if self.blind_since is None:
                self.counts["blind"] += 1
                self.blind_since = blind
        elif self.blind_since is not None:
            self.blind_seconds += now - self.blind_since
            self.blind_since = None

    def _meet(self, mark: Mark, session: bytes, now: float) -> None:
        """A life is heard for the first time: entries of shards it has given hints of are as old as nobody knows."""
        if len(self._lives) >= MAX_LIVES and not self._make_room():
            self.counts["invalidator_limit"] += 1
            return
        self.counts["invalidators"] += 1
        self.trusted = min(self.trusted, self._bound(mark.interval))
        self._lives[mark.life] = life = Life(mark, session, now)
        epoch = self._changes.next_epoch()
        for sequence, number in enumerate(life.numbers):
            if number:
                self._suspect(life, sequence, epoch, Reason.NEW_SESSION, -inf)  # nobody knows since when
        self.tick(now)

    def _make_room(self) -> bool:
        for key, life in self._lives.items():
            if life.closed and not life.gaps:
                del self._lives[key]
                return True
        return False

    def _newest(self) -> dict[object, list[Life]]:
        """By name and host the two lives that began last."""
        newest: dict[object, list[Life]] = {}
        for life in self._lives.values():
            if not life.closed:
                two = newest.setdefault(life.origin, [])
                two.append(life)
                if len(two) > 2:
                    two.remove(min(two, key=_began))
        return newest

    def _end(self, key: bytes, reason: Reason, since: float) -> None:
        """Knows a life no more: what it said last may be lost, in any shard."""
        self._changes.suspect_all(self._changes.next_epoch(), reason, since)
        del self._lives[key]

    def _take(self, life: Life, sequence: int, number: int, now: float) -> bool:
        if number > life.numbers[sequence] + 1:
            self._reach(life, sequence, number - 1, now)
        return life.take(sequence, number)

    def _reach(self, life: Life, sequence: int, number: int, now: float) -> None:
        gap = life.reach(sequence, number, now, self._grace, self._changes.next_epoch())
        if gap is not None:
            if gap.due <= now:
                self._give_up(life, now)
            else:
                self.next_tick = min(self.next_tick, gap.due)

    def _give_up(self, life: Life, now: float) -> None:
        for gap in life.give_up(now):
            self.counts["gaps"] += 1
            self.counts["hints_lost"] += gap.last - gap.first + 1
            self._suspect(life, gap.sequence, gap.epoch, Reason.GAP, gap.due)

    def _suspect(self, life: Life, sequence: int, epoch: int, reason: Reason, since: float) -> None:
        shard = sequence % life.shards
        if sequence == 2 * life.shards:
            self._changes.suspect_all(epoch, reason, since)
        elif sequence >= life.shards:
            self._changes.suspect_tags(affected(shard, life.shards, self._shards), epoch, reason, since)
        else:
            self._changes.suspect_keys(affected(shard, life.shards, self._shards), epoch, reason, since)


def _began(life: Life) -> float:
    return life.began


def _superseded(life: Life, newest: dict[object, list[Life]]) -> bool:
    """Whether somebody of the same name on the same host began after its last sign: then it was restarted."""
    return any(other is not life and other.began >= life.as_of for other in newest[life.origin])
