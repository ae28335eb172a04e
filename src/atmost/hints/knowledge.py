"""What a reader knows about changes it may have missed: the heart of the hints (docs/hints.md, "What a gap means").

Theory of operation
-------------------
An invalidator's *life* numbers its hints in `2 × shards + 1` sequences: keys by shard, tags by shard, and all prefixes.
Once an interval a *mark* repeats the highest number of each sequence.
The reader must never serve a value longer than the bound after its hint was given, whether or not the hint arrived.

Time here is counted twice:

* *Epochs* order what concerns entries. Everything that may make entries stale gets a new epoch, and an entry is born in the
  epoch in which its load began. A change or a doubt concerns exactly the entries that were born before it, so judging an
  entry needs no list of entries, and a doubt costs O(1) whatever the cache holds.
* *Seconds* on the reader's clock say when silence becomes a doubt. Nothing here reads a clock.

The states of a life (`InvalidatorLife`), and what ends each:

    unknown ──first mark──▶ known ──deadline passed──▶ silent ──forget_after──▶ forgotten
                              ▲                          │ │
                              └────────── a mark ────────┘ └─ its session ended, or a successor began ─▶ ended
    known or silent ──its own goodbye──▶ closed

* *unknown → known*: its numbers are a baseline. Nobody can say how long the first mark was under way, so every entry born
  before it is suspect (`NEW_SESSION`). Where the mark comes from the same boot of the same host, both read one clock, its
  age is exact, and only the shards are suspect in which this life has given hints.
* *known*: every number up to the highest is taken, missing, or given up. A missing one is a `HintGap` with a due time: at
  most a grace after it was noticed, and never later than the deadline of the last mark before it. When it is due, all that
  the lost hint can have been about is suspect (`GAP`). A hint that comes before that closes the gap and is applied; one that
  comes later, or twice, needs nothing done.
* *silent*: `MISSES` marks may be lost and the next may be late by a grace; after that the reader is blind (`BLIND`), until
  a mark comes. Blindness is no epoch: it ends without a trace when no number is missing.
* *ended, forgotten*: what it said last may be lost, so every entry born before is suspect, once.
* *closed*: its numbers are final. Gaps still run out; silence means nothing any more.

Why this is enough: a change whose hint was lost is younger than the last mark that did not count it. That mark is dated by
`as_of`, never later than when it was sent plus the grace. The life's deadline is `as_of + (MISSES + 1) × interval + grace`,
and by then the gap was given up or the reader is blind. This is `2 × grace + (MISSES + 1) × interval` after the change: the
bound. An entry younger than the bound cannot be staler than it, so it is served whatever is in doubt (`trusted_age`).

Memory is bounded by `MAX_LIVES`, `MAX_GAPS`, `MAX_TAGS` and `MAX_PREFIXES`; beyond each the reader assumes the worst.
Everything here is pure, with time as an argument, and not safe from threads: `HintedCache` calls it under its lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from math import inf
from typing import Final, NamedTuple

from atmost.hints.wire import Hint, HintKind, HintMark, affected, shard_of

MISSES: Final = 2
"""Marks in a row that may be lost; a third makes the reader blind."""
MAX_LIVES: Final = 1024
MAX_GAPS: Final = 1024
"""Gaps of one life that wait for their grace; beyond it the next one is given up at once."""
MAX_TAGS: Final = 8192
MAX_PREFIXES: Final = 256
_MAX_DOUBTS: Final = 8
"""Doubts of one shard that are remembered apart; beyond it the two oldest become one."""
_DRIFT: Final = 0.0005
"""How far two clocks may drift apart, in seconds per second: what the kernel slews at most (adjtimex(2))."""

Tagged = tuple[tuple[str, int], ...]
"""The tags of an entry, each with its shard."""


class MissReason(StrEnum):
    """Why an entry is not served, or a loaded value not kept."""

    ABSENT = "absent"
    """Never cached, evicted, or removed by a hint for its key."""
    EXPIRED = "expired"
    """Older than its time to live."""
    HINT = "hint"
    """There was a hint for the key, for a prefix of it, or for one of its tags."""
    GAP = "gap"
    """A hint of its shard was lost."""
    NEW_SESSION = "new_session"
    """An invalidator was heard for the first time."""
    ENDED = "ended"
    """An invalidator ended without a goodbye: what it said last may be lost."""
    BLIND = "blind"
    """A known invalidator is silent."""
    FILL_LIMIT = "fill_limit"
    """Too many loads at once."""


class Doubt(NamedTuple):
    """Why an entry may be stale, and since when."""

    reason: MissReason
    since: float
    """Seconds; -inf when the entry must not be served at all."""


class ShardSuspicion:
    """Since which epoch the entries of one shard are suspect, although no hint named them."""

    __slots__ = ("_recent", "epoch", "reason")

    def __init__(self) -> None:
        """Nothing is suspect."""
        self.epoch = 0
        """Entries born before it are not served, whatever the policy."""
        self.reason = MissReason.GAP
        self._recent: list[tuple[int, MissReason, float]] = []

    def suspect(self, epoch: int, reason: MissReason, since: float, soft: float) -> None:
        """Makes the entries that were born before an epoch suspect.

        Args:
            epoch: the epoch.
            reason: why.
            since: since when they may be stale, in seconds; in the past when it is found out late.
            soft: for how many seconds they may be served nevertheless.
        """
        if soft <= 0:
            self._make_hard(epoch, reason)
            return
        self._recent.append((epoch, reason, since))
        if len(self._recent) > _MAX_DOUBTS:  # on the safe side: all that either was about, since the earlier of both
            first, second = self._recent[:2]
            self._recent[:2] = [(max(first[0], second[0]), second[1], min(first[2], second[2]))]

    def judge(self, born: int, now: float, soft: float) -> Doubt | None:
        """Returns the doubt about an entry that was born in this epoch, or None."""
        if self._recent:
            self._harden(now, soft)
        if self.epoch > born:
            return Doubt(self.reason, -inf)
        about = [(since, reason) for epoch, reason, since in self._recent if epoch > born]
        if not about:
            return None
        since, reason = min(about)
        return Doubt(reason, since)

    def _harden(self, now: float, soft: float) -> None:
        over = [one for one in self._recent if one[2] + soft <= now]
        if over:
            self._recent = [one for one in self._recent if one[2] + soft > now]
            for epoch, reason, _ in over:
                self._make_hard(epoch, reason)

    def _make_hard(self, epoch: int, reason: MissReason) -> None:
        if epoch > self.epoch:
            self.epoch, self.reason = epoch, reason


class Changes:
    """Everything that makes entries stale without naming their keys: suspicions by shard, prefixes and tags."""

    def __init__(self, shards: int, max_ttl: float, soft: float) -> None:
        """Nothing has changed.

        Args:
            shards: number of shards of keys, and of tags.
            max_ttl: seconds after which no entry is left.
            soft: for how many seconds a suspect entry may be served.
        """
        self.epoch = 1
        """The current epoch; see the theory of operation."""
        self.version = 0
        """Changes whenever entries must be judged again."""
        self.counts: Counter[str] = Counter()
        self._shards, self._max_ttl, self._soft = shards, max_ttl, soft
        self._keys = [ShardSuspicion() for _ in range(shards)]
        self._tag_shards = [ShardSuspicion() for _ in range(shards)]
        self._all = ShardSuspicion()
        self._tag_floors = [0] * shards
        self._floor = 0
        """Entries born before it may have a prefix that is no longer remembered: they count as stale."""
        self._tags: dict[str, tuple[int, float]] = {}
        self._prefixes: dict[str, tuple[int, float]] = {}
        self._lengths: tuple[int, ...] = ()

    def next_epoch(self) -> int:
        """Begins an epoch: what is loaded from now on is newer than all that is known by now."""
        self.epoch += 1
        return self.epoch

    def suspect_keys(self, shards: Sequence[int], epoch: int, reason: MissReason, since: float) -> None:
        """Makes the entries of these shards suspect that were born before `epoch`."""
        self._suspect([self._keys[shard] for shard in shards], epoch, reason, since)

    def suspect_tags(self, shards: Sequence[int], epoch: int, reason: MissReason, since: float) -> None:
        """Makes the entries with a tag in these shards suspect that were born before `epoch`."""
        self._suspect([self._tag_shards[shard] for shard in shards], epoch, reason, since)

    def suspect_all(self, epoch: int, reason: MissReason, since: float) -> None:
        """Makes every entry suspect that was born before `epoch`."""
        self._suspect([self._all], epoch, reason, since)

    def invalidate_tag(self, tag: str, now: float) -> None:
        """Makes the entries with this tag stale."""
        self._tags.pop(tag, None)  # the order of the dictionary is the order of the epochs
        self._tags[tag] = (self.next_epoch(), now)
        self.version += 1
        while len(self._tags) > MAX_TAGS:
            oldest = next(iter(self._tags))
            epoch, at = self._tags.pop(oldest)
            if at + self._max_ttl > now:
                self.counts["tag_limit"] += 1
                self._tag_floors[shard_of(oldest, self._shards)] = epoch

    def invalidate_prefix(self, prefix: str, now: float) -> None:
        """Makes the entries stale whose keys begin with this."""
        self._prefixes.pop(prefix, None)
        self._prefixes[prefix] = (self.next_epoch(), now)
        self.version += 1
        while self._prefixes:
            oldest = next(iter(self._prefixes))
            epoch, at = self._prefixes[oldest]
            if at + self._max_ttl > now:
                if len(self._prefixes) <= MAX_PREFIXES:
                    break
                self.counts["prefix_limit"] += 1
                self._floor = epoch
            del self._prefixes[oldest]
        self._lengths = tuple({len(each) for each in self._prefixes})

    def judge(self, key: str, shard: int, tags: Tagged, born: int, now: float) -> Doubt | None:
        """Returns the gravest doubt about an entry, or None when it is as good as new.

        Args:
            key: its key.
            shard: the shard of the key.
            tags: its tags.
            born: the epoch in which its load began.
            now: seconds.
        """
        if self._hinted(key, tags, born):
            return Doubt(MissReason.HINT, -inf)
        about = [self._all, self._keys[shard], *[self._tag_shards[tag_shard] for _, tag_shard in tags]]
        doubts = [doubt for one in about if (doubt := one.judge(born, now, self._soft)) is not None]
        return min(doubts, key=_since, default=None)

    def _hinted(self, key: str, tags: Tagged, born: int) -> bool:
        if self._floor > born:
            return True
        never = (0, 0.0)
        if any(self._prefixes.get(key[:length], never)[0] > born for length in self._lengths):
            return True
        return any(self._tags.get(tag, never)[0] > born or self._tag_floors[shard] > born for tag, shard in tags)

    def _suspect(self, those: Sequence[ShardSuspicion], epoch: int, reason: MissReason, since: float) -> None:
        for suspicion in those:
            suspicion.suspect(epoch, reason, since, self._soft)
        self.version += 1


class HintGap:
    """Numbers of one sequence that are missing."""

    __slots__ = ("due", "epoch", "first", "last", "sequence")

    def __init__(self, sequence: int, first: int, last: int, due: float, epoch: int) -> None:
        """Args: sequence: its index. first, last: numbers. due: when it is given up, in seconds. epoch: when it was noticed."""
        self.sequence = sequence
        self.first = first
        self.last = last
        self.due = due
        self.epoch = epoch


class InvalidatorLife:
    """One life of one invalidator, known since its first mark."""

    __slots__ = (
        "as_of",
        "began",
        "closed",
        "gaps",
        "heard_at",
        "interval",
        "left",
        "numbers",
        "offset",
        "origin",
        "session",
        "shards",
    )  # fmt: skip

    def __init__(self, mark: HintMark, session: bytes, now: float, transit: float) -> None:
        """Takes the first mark as the baseline: what it shows is no gap.

        Args:
            mark: the first one.
            session: the key of the session that carried it.
            now: seconds.
            transit: for how many seconds the mark was under way, as far as is known.
        """
        self.shards = len(mark.keys)
        self.interval = mark.interval
        self.origin = (mark.name, mark.host, session[:2])
        self.session = session
        self.numbers = [*mark.keys, *mark.tags, mark.prefixes]
        self.gaps: list[HintGap] = []
        self.offset = now - transit - mark.uptime
        """This reader's clock when the life began, by the quickest mark of late, in seconds."""
        self.heard_at = now
        self.began = self.offset
        """When it began, in seconds."""
        self.as_of = now - transit
        """When the latest mark was sent, or a little later: every hint given before is taken, missing or given up."""
        self.left = False
        """Its session said goodbye: its silence is no blindness, but what it said last may be lost."""
        self.closed = mark.closed
        """It said goodbye itself: its numbers are final."""

    def sequence(self, kind: HintKind, shard: int) -> int | None:
        """Returns the index of a hint's sequence, or None when the life has no such shard."""
        if kind is HintKind.PREFIX:
            return 2 * self.shards
        if shard >= self.shards:
            return None
        return shard if kind is HintKind.KEY else self.shards + shard

    def deadline(self, grace: float) -> float:
        """Returns when its silence becomes blindness, in seconds."""
        return self.as_of + (MISSES + 1) * self.interval + grace

    def take_number(self, sequence: int, number: int) -> bool:
        """Takes the number of a hint that arrived; returns whether the hint is news."""
        highest = self.numbers[sequence]
        if number == highest + 1:
            self.numbers[sequence] = number
            return True
        if number > highest:
            raise AssertionError("reach the number before it is taken")
        for place, gap in enumerate(self.gaps):
            if gap.sequence == sequence and gap.first <= number <= gap.last:
                parts = (
                    HintGap(sequence, gap.first, number - 1, gap.due, gap.epoch),
                    HintGap(sequence, number + 1, gap.last, gap.due, gap.epoch),
                )
                self.gaps[place : place + 1] = [part for part in parts if part.first <= part.last]
                return True
        return False

    def reach(self, sequence: int, number: int, now: float, grace: float, epoch: int) -> HintGap | None:
        """Learns that numbers up to `number` were given; returns the gap that this leaves.

        A gap waits for a grace, because reordering is no loss.
        It does not wait beyond the deadline of the life's silence, because its hints may be as old as the mark before them.

        Args:
            sequence: index of the sequence.
            number: the highest number given.
            now: seconds.
            grace: seconds.
            epoch: a new one, because what is loaded from now on has seen what the missing hints are about.
        """
        highest = self.numbers[sequence]
        if number <= highest:
            return None
        self.numbers[sequence] = number
        due = min(now + grace, self.deadline(grace)) if len(self.gaps) < MAX_GAPS else now
        gap = HintGap(sequence, highest + 1, number, due, epoch)
        self.gaps.append(gap)
        return gap

    def heard(self, mark: HintMark, session: bytes, now: float) -> None:
        """Dates a mark whose numbers were reached.

        When it was sent is known by its uptime and the quickest mark of late.
        So a mark that waited, on the way or for the reader itself, does not pass for news.
        """
        sample = now - mark.uptime
        self.offset = min(sample, self.offset + _DRIFT * max(0.0, now - self.heard_at))
        self.heard_at = now
        self.as_of = max(self.as_of, mark.uptime + self.offset)
        if session != self.session:  # the sender has begun another session, as with a new key
            self.session = session
            self.left = False
        self.closed = self.closed or mark.closed

    def give_up(self, now: float) -> list[HintGap]:
        """Removes and returns the gaps that are due."""
        due = [gap for gap in self.gaps if gap.due <= now]
        if due:
            self.gaps = [gap for gap in self.gaps if gap.due > now]
        return due


class InvalidatorLives:
    """The invalidators that are known: turns their hints and marks into `Changes`."""

    def __init__(self, changes: Changes, shards: int, grace: float, forget_after: float) -> None:
        """Nobody is known.

        Args:
            changes: where to put what is found out.
            shards: number of shards of the cache.
            grace: seconds that a missing hint may come late.
            forget_after: seconds of blindness after which a silent life is forgotten.
        """
        self.counts: Counter[str] = Counter()
        self.deadline = inf
        """When `tick` must be called again at the latest, in seconds."""
        self.trusted_age = inf
        """An entry no older than this many seconds is served whatever is in doubt: no change can show later than that anyway."""
        self.blind_since: float | None = None
        self.blind_seconds = 0.0
        self._changes = changes
        self._shards, self._grace, self._forget_after = shards, grace, forget_after
        self._lives: dict[bytes, InvalidatorLife] = {}

    @property
    def known(self) -> list[bytes]:
        """The lives that are known and have not said goodbye."""
        return [key for key, life in self._lives.items() if not life.closed]

    def bound(self) -> float | None:
        """Returns the seconds after which a change shows here at the latest; None while no invalidator is known."""
        intervals = [life.interval for life in self._lives.values() if not life.closed]
        if not intervals or self.counts["invalidator_limit"]:
            return None
        return self._bound(max(intervals))

    def hint(self, kind: HintKind, hint: Hint, now: float) -> bool:
        """Books a hint; returns whether it must be applied."""
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

    def mark(self, mark: HintMark, session: bytes, now: float, transit: float | None) -> None:
        """Books a mark.

        Args:
            mark: what arrived.
            session: the key of its session.
            now: seconds.
            transit: for how many seconds it was under way; None when nobody can say.
        """
        life = self._lives.get(mark.life)
        if life is None:
            self._meet(mark, session, now, transit)
            return
        if len(mark.keys) != life.shards:
            self.counts["malformed"] += 1
            return
        # The prefixes it repeats fill gaps before its numbers can show them.
        for number, prefix in mark.recent:
            if self._take(life, 2 * life.shards, number, now):
                self.counts["prefixes_recovered"] += 1
                self._changes.invalidate_prefix(prefix, now)
        for sequence, number in enumerate((*mark.keys, *mark.tags, mark.prefixes)):
            if number > life.numbers[sequence]:
                self._reach(life, sequence, number, now)
        silent = now >= life.deadline(self._grace)
        life.heard(mark, session, now)
        if silent:  # otherwise it cannot end a blindness
            self.tick(now)

    def session_closed(self, session: bytes) -> None:
        """Notes that a session said goodbye: the silence of its lives is no blindness from now on."""
        for life in self._lives.values():
            if life.session == session:
                life.left = True

    def tick(self, now: float) -> None:
        """Gives up the gaps that are due, and finds out who has been silent for too long."""
        due, blind = inf, inf
        newest: dict[object, list[InvalidatorLife]] = {}
        for key, life in list(self._lives.items()):
            if life.gaps:
                self._give_up(life, now)
                due = min(due, min((gap.due for gap in life.gaps), default=inf))
            deadline = life.deadline(self._grace)
            forget = deadline + self._forget_after
            if now < deadline:
                due = min(due, deadline)
            elif life.closed:  # kept for a while, so that its late marks are known for what they are
                if now < forget:
                    due = min(due, forget)
                else:
                    del self._lives[key]
            elif life.left or _superseded(life, newest := newest or self._newest()):
                self._end(key, MissReason.ENDED, deadline)
            elif now >= forget:
                self.counts["forgotten"] += 1
                self._end(key, MissReason.BLIND, deadline)
            else:
                due, blind = min(due, forget), min(blind, deadline)
        self.deadline = due
        self._book_blindness(blind, now)

    def _bound(self, interval: float) -> float:
        return 2 * self._grace + (MISSES + 1) * interval

    def _book_blindness(self, blind: float, now: float) -> None:
        if blind < inf:
            if self.blind_since is None:
                self.counts["blind"] += 1
                self.blind_since = blind
        elif self.blind_since is not None:
            self.blind_seconds += now - self.blind_since
            self.blind_since = None

    def _meet(self, mark: HintMark, session: bytes, now: float, transit: float | None) -> None:
        """Meets a life: what it changed before this mark was sent is of unknown age."""
        if len(self._lives) >= MAX_LIVES and not self._make_room():
            self.counts["invalidator_limit"] += 1
            return
        self.counts["invalidators"] += 1
        self.trusted_age = min(self.trusted_age, self._bound(mark.interval))
        self._lives[mark.life] = life = InvalidatorLife(mark, session, now, transit or 0.0)
        epoch = self._changes.next_epoch()
        if transit is None:  # it may have given hints since, in any shard
            self._changes.suspect_all(epoch, MissReason.NEW_SESSION, -inf)
        else:
            for sequence, number in enumerate(life.numbers):
                if number:
                    self._suspect(life, sequence, epoch, MissReason.NEW_SESSION, -inf)
        self.tick(now)

    def _make_room(self) -> bool:
        for key, life in self._lives.items():
            if life.closed and not life.gaps:
                del self._lives[key]
                return True
        return False

    def _newest(self) -> dict[object, list[InvalidatorLife]]:
        """Returns by name and host the two lives that began last."""
        newest: dict[object, list[InvalidatorLife]] = {}
        for life in self._lives.values():
            if not life.closed:
                two = newest.setdefault(life.origin, [])
                two.append(life)
                if len(two) > 2:
                    two.remove(min(two, key=_began))
        return newest

    def _end(self, key: bytes, reason: MissReason, since: float) -> None:
        """Forgets a life: what it said last may be lost, in any shard."""
        self._changes.suspect_all(self._changes.next_epoch(), reason, since)
        del self._lives[key]

    def _take(self, life: InvalidatorLife, sequence: int, number: int, now: float) -> bool:
        if number > life.numbers[sequence] + 1:
            self._reach(life, sequence, number - 1, now)
        return life.take_number(sequence, number)

    def _reach(self, life: InvalidatorLife, sequence: int, number: int, now: float) -> None:
        gap = life.reach(sequence, number, now, self._grace, self._changes.next_epoch())
        if gap is not None:
            if gap.due <= now:
                self._give_up(life, now)
            else:
                self.deadline = min(self.deadline, gap.due)

    def _give_up(self, life: InvalidatorLife, now: float) -> None:
        for gap in life.give_up(now):
            self.counts["gaps"] += 1
            self.counts["hints_lost"] += gap.last - gap.first + 1
            self._suspect(life, gap.sequence, gap.epoch, MissReason.GAP, gap.due)

    def _suspect(self, life: InvalidatorLife, sequence: int, epoch: int, reason: MissReason, since: float) -> None:
        shard = sequence % life.shards
        if sequence == 2 * life.shards:
            self._changes.suspect_all(epoch, reason, since)
        elif sequence >= life.shards:
            self._changes.suspect_tags(affected(shard, life.shards, self._shards), epoch, reason, since)
        else:
            self._changes.suspect_keys(affected(shard, life.shards, self._shards), epoch, reason, since)


def _since(doubt: Doubt) -> float:
    return doubt.since


def _began(life: InvalidatorLife) -> float:
    return life.began


def _superseded(life: InvalidatorLife, newest: dict[object, list[InvalidatorLife]]) -> bool:
    """Returns whether a life of the same name on the same host began after its last mark: it was restarted."""
    return any(other is not life and other.began >= life.as_of for other in newest[life.origin])
