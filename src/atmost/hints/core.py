"""`CacheCore`: what a cache keeps, what it answers and what it counts; the rules without thread, clock or lock.

Time is an argument, in seconds on one clock. Not safe from threads: `HintedCache` calls it under its lock.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Any, Final, Protocol

from atmost.core.events import Message
from atmost.errors import HintError, OptionError
from atmost.hints.knowledge import Changes, Doubt, InvalidatorLives, MissReason, Tagged
from atmost.hints.wire import Hint, HintKind, check_shards, check_text, read_hint, read_mark, shard_of

MAX_FILLS: Final = 65_536
"""Loads that may go on at once; the values of more are not cached."""
_ABSENT: Final = Doubt(MissReason.ABSENT, -inf)
_EXPIRED: Final = Doubt(MissReason.EXPIRED, -inf)


class StalePolicy(StrEnum):
    """What becomes of entries that may be stale."""

    STALE = "stale"
    """They are misses."""
    SOFT = "soft"
    """They are served for a while, and one caller loads them anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """As `HintedCache` describes them."""

    max_ttl: float
    max_entries: int
    shards: int
    grace: float
    policy: str
    soft: float
    jitter: float
    forget_after: float

    @property
    def soft_seconds(self) -> float:
        """For how many seconds an entry that may be stale is served."""
        return self.soft if self.policy == StalePolicy.SOFT else 0.0

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        if not _is_number(self.max_ttl) or not 0 < self.max_ttl < 1e9:
            raise OptionError("max_ttl", self.max_ttl, "seconds above 0, because it bounds staleness when hints fail")
        for name, most in (("grace", 60.0), ("soft", 1e6), ("jitter", 60.0), ("forget_after", 1e6)):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= most:
                raise OptionError(name, value, f"seconds from 0 to {most:g}")
        if not isinstance(self.max_entries, int) or isinstance(self.max_entries, bool) or self.max_entries < 1:
            raise OptionError("max_entries", self.max_entries, "at least 1 entry")
        if self.policy not in tuple(StalePolicy):
            raise OptionError("policy", self.policy, " or ".join(repr(policy.value) for policy in StalePolicy))
        check_shards(self.shards)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What became of reads, loads, hints and losses, since the cache began in this process."""

    hits: int
    """Reads that were served, the soft ones included."""
    soft_hits: int
    """Reads that were served although they may be stale, by the policy "soft"."""
    misses: int
    """Reads that were not served."""
    misses_by_reason: dict[MissReason, int]
    joined: int
    """Misses that waited for another caller's load."""
    fills: int
    """Loaded values that were cached."""
    refused_by_reason: dict[MissReason, int]
    """Loaded values that were not cached, because something concerned their key meanwhile."""
    evicted: int
    """Entries that made room for others."""
    too_large: int
    """Values the store had no room for."""
    hints_by_kind: dict[HintKind, int]
    """Hints that were applied."""
    marks: int
    """Marks that arrived."""
    removed: int
    """Entries that a hint for their key removed."""
    kept: int
    """Entries that a hint did not remove, because its digest is theirs."""
    repeated: int
    """Hints that arrived twice, or after they were given up: nothing to do."""
    malformed: int
    """Messages on the subjects that are neither hints nor marks."""
    unannounced: int
    """Hints of invalidators of which no mark has arrived."""
    own: int
    """Hints and marks of this process's own invalidator, which are skipped."""
    store_errors: int
    """Hints whose entry the store of the user's failed to remove; it counts as stale."""
    gaps: int
    """Gaps in the numbers that were given up."""
    hints_lost: int
    """Hints in these gaps."""
    prefixes_recovered: int
    """Lost prefix hints that a mark repeated in time."""
    invalidators: int
    """Lives of invalidators that were heard."""
    forgotten: int
    """Lives that were silent for `forget_after`."""
    blind: int
    """How often the cache became blind."""
    blind_seconds: float
    """For how long, in seconds."""
    invalidator_limit: int
    """Lives beyond the limit: the bound is `max_ttl` from then on."""
    tag_limit: int
    """Tags that were forgotten before their time; their shard counts as stale."""
    prefix_limit: int
    """Prefixes that were forgotten before their time; all older entries count as stale."""


class PendingFill:
    """A load that goes on: when it began, and what has concerned its key since."""

    __slots__ = ("_refused", "born", "digest", "key", "shard", "started", "tags", "version")

    def __init__(self, key: str, shard: int) -> None:
        """Args: key: plain text. shard: of the key."""
        self.key = key
        self.shard = shard
        self.born = 0
        """The epoch in which the load began; 0 before it has begun and after its end."""
        self.version = 0
        """The version of the changes when it began."""
        self.started = 0.0
        """When it began, in seconds on the cache's clock."""
        self.tags: Tagged = ()
        self.digest: int | None = None
        """The digest of the only value that may be cached, because a hint has named it since the load began."""
        self._refused: MissReason | None = None

    @property
    def refused(self) -> MissReason | None:
        """Why the value was not cached, or will not be; None otherwise."""
        return self._refused

    def refuse(self, reason: MissReason | None) -> None:
        """Decides whether the value may be cached."""
        self._refused = reason


class CacheEntry:
    """A cached value."""

    __slots__ = ("born", "checked", "digest", "loaded", "shard", "tags", "until", "value")

    def __init__(self, value: Any, fill: PendingFill, until: float, checked: int, digest: int | None) -> None:
        """Keeps a value.

        Args:
            value: the value.
            fill: its load.
            until: when it expires, in seconds.
            checked: the version of the changes by which it was judged.
            digest: of the value.
        """
        self.value = value
        self.until = until
        """When it expires, in seconds."""
        self.loaded = fill.started
        """When its load began, in seconds."""
        self.born = fill.born
        """The epoch in which its load began."""
        self.checked = checked
        """The version by which it was last judged, and found fresh."""
        self.shard = fill.shard
        self.tags = fill.tags
        self.digest = digest


class Shelf(Protocol):
    """Keeps entries by key.

    Of `LruShelf`, `find` and `touch` are single steps of C code on plain text, which threads may take without a lock.
    `StoreShelf` does everything under the cache's lock, because reading changes most caches too.
    """

    find: Callable[[str], CacheEntry | None]
    """Returns the entry, or None."""
    touch: Callable[[str], object] | None
    """Notes that an entry was used; None where `find` does so."""
    limit: int | None
    """The most entries; None where the mapping counts something else."""

    def put(self, key: str, entry: CacheEntry) -> int | None:
        """Keeps an entry; returns how many it displaced, or None when there is no room for it."""
        ...

    def remove(self, key: str) -> bool:
        """Removes an entry; returns whether it was there."""
        ...

    def clear(self) -> None:
        """Removes all entries."""
        ...

    def __len__(self) -> int: ...


class LruShelf:
    """A dictionary of the cache's own, which forgets what was used longest ago."""

    def __init__(self, limit: int) -> None:
        """Args: limit: the most entries."""
        self.limit: int | None = limit
        self._entries: OrderedDict[str, CacheEntry] = OrderedDict()
        self.find: Callable[[str], CacheEntry | None] = self._entries.get
        self.touch: Callable[[str], object] | None = self._entries.move_to_end
        self._limit = limit

    def put(self, key: str, entry: CacheEntry) -> int | None:
        """Keeps an entry as the newest; returns how many others had to go."""
        entries = self._entries
        entries[key] = entry
        entries.move_to_end(key)
        if len(entries) <= self._limit:
            return 0
        entries.popitem(last=False)
        return 1

    def remove(self, key: str) -> bool:
        """Removes an entry; returns whether it was there."""
        return self._entries.pop(key, None) is not None

    def clear(self) -> None:
        """Removes all entries."""
        self._entries.clear()

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._entries)


class StoreShelf:
    """A mapping of the user's; one with a `maxsize`, as those of cachetools, keeps its own bound."""

    def __init__(self, store: MutableMapping[str, Any], limit: int, lock: threading.RLock) -> None:
        """Args: store: the mapping. limit: the most entries, where it has no bound of its own. lock: the cache's."""
        self._store, self._lock = store, lock
        bound = getattr(store, "maxsize", None)
        self._bounded = bound is not None
        self.limit: int | None = limit if bound is None else int(bound) if bound < 1 << 60 else None
        self._limit = limit
        self.find: Callable[[str], CacheEntry | None] = self._find
        self.touch: Callable[[str], object] | None = None

    def put(self, key: str, entry: CacheEntry) -> int | None:
        """Keeps an entry; returns how many others had to go, or None when the store does not take it."""
        store = self._store
        before = len(store) + (key not in store)
        try:
            store[key] = entry
        except ValueError:  # cachetools: larger than the whole cache
            return None
        while not self._bounded and len(store) > self._limit:
            del store[next(iter(store))]
        return max(0, before - len(store))

    def remove(self, key: str) -> bool:
        """Removes an entry; returns whether it was there."""
        return self._store.pop(key, None) is not None

    def clear(self) -> None:
        """Removes all entries."""
        self._store.clear()

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._store)

    def _find(self, key: str) -> CacheEntry | None:
        with self._lock:
            found = self._store.get(key)
        return found if found.__class__ is CacheEntry else None


class CacheCore:
    """One cache's state: entries, loads that go on, and what is known of changes."""

    def __init__(self, options: CacheOptions, shelf: Shelf) -> None:
        """Args: options: of the cache. shelf: keeps the entries; empty."""
        self._options = options
        self._soft = options.soft_seconds
        self.shelf = shelf
        self.changes = Changes(options.shards, options.max_ttl, self._soft)
        self.lives = InvalidatorLives(self.changes, options.shards, options.grace, options.forget_after)
        self._counts: Counter[str] = Counter()
        self._hints: Counter[HintKind] = Counter()
        self._misses: Counter[MissReason] = Counter()
        self._refused: Counter[MissReason] = Counter()
        self._fills: dict[str, list[PendingFill]] = {}
        self._open_fills = 0

    @property
    def fresh_until(self) -> float:
        """Until when an entry that was judged fresh is so without another look, in seconds."""
        return -inf if self.lives.blind_since is not None else self.lives.deadline

    @property
    def open_fills(self) -> int:
        """Loads that go on."""
        return self._open_fills

    def tick(self, now: float) -> None:
        """Finds out what silence means, when it is time to."""
        if now >= self.lives.deadline:
            self.lives.tick(now)

    def message(
        self, kind: HintKind, message: Message, own: bytes | None, now: float, clock: tuple[int, float] | None
    ) -> None:
        """Takes a hint or a mark.

        Args:
            kind: by its subject.
            message: what came.
            own: the life whose hints were already applied here.
            now: seconds.
            clock: this host's boot and what its clock says, in seconds; None when there is none.
        """
        self.tick(now)  # first, because what was known before must not be judged by what comes late
        told = read_mark(message.payload) if kind is HintKind.MARK else read_hint(message.payload)
        if told is None:
            self._counts["malformed"] += 1
        elif told.life == own:
            self._counts["own"] += 1
        elif not isinstance(told, Hint):
            self._counts["marks"] += 1
            transit = None
            if clock is not None and told.boot == clock[0] != 0 and clock[1] >= told.born + told.uptime:
                transit = clock[1] - told.born - told.uptime
            self.lives.mark(told, message.session.key, now, transit)
        elif self.lives.hint(kind, told, now):
            self._hints[kind] += 1
            try:
                self.apply(kind, told.text, told.digest, now)
            except Exception:  # noqa: BLE001  a store of the user's; what it kept counts as stale, and further hints are heard
                self._counts["store_errors"] += 1

    def apply(self, kind: HintKind, text: str, digest: int | None, now: float) -> None:
        """Does what a hint says."""
        if kind is HintKind.TAG:
            self.changes.invalidate_tag(text, now)
        elif kind is HintKind.PREFIX:
            self.changes.invalidate_prefix(text, now)
        else:
            self._remove(text, digest, now)

    def read(self, key: str, now: float) -> tuple[CacheEntry | None, Doubt | None]:
        """Reads with all that is known, and counts the read.

        Returns:
            The entry when it is served, and a doubt: why it is not served, or only by the policy "soft".

        Raises:
            HintError: the key is not text.
        """
        self.tick(now)
        entry = self.shelf.find(key)
        if entry is None:
            check_text("key", key)
            self._misses[MissReason.ABSENT] += 1
            return None, _ABSENT
        doubt = self._judge(key, entry, now)
        if doubt is None:
            self._counts["slow_hits"] += 1
            return entry, None
        if doubt.since + self._soft > now:
            self._counts["soft_hits"] += 1
            return entry, doubt
        if doubt.reason is not MissReason.BLIND:  # blindness may end, and everything is served again
            self.shelf.remove(key)
        self._misses[doubt.reason] += 1
        return None, doubt

    def touch(self, key: str, ttl: float | None, now: float) -> bool:
        """Gives an entry that is served another time to live; see `HintedCache.touch`."""
        entry, _ = self.read(check_text("key", key), now)
        if entry is None:
            return False
        most = entry.loaded + self._options.max_ttl
        entry.until = most if ttl is None else min(most, now + _checked_ttl(ttl))
        return True

    def begin_fill(self, fill: PendingFill, now: float) -> None:
        """Begins a load: whatever concerns its key from now on refuses it."""
        fill.born, fill.version, fill.started = self.changes.epoch, self.changes.version, now
        fill.refuse(None)
        fill.digest = None
        if self._open_fills >= MAX_FILLS:
            fill.refuse(MissReason.FILL_LIMIT)
            return
        self._open_fills += 1
        self._fills.setdefault(fill.key, []).append(fill)

    def end_fill(self, fill: PendingFill) -> None:
        """Ends a load."""
        fill.born = 0
        others = self._fills.get(fill.key, [])
        if fill in others:
            others.remove(fill)
            self._open_fills -= 1
            if not others:
                del self._fills[fill.key]

    def keep(
        self, fill: PendingFill, value: object, ttl: float | None, tags: Iterable[str], digest: int | None, now: float
    ) -> None:
        """Caches what was loaded, unless something has concerned its key meanwhile; see `Fill.set`."""
        fill.tags = self._tagged(tags)
        self.tick(now)
        most = self._options.max_ttl
        until = fill.started + (most if ttl is None else min(most, _checked_ttl(ttl)))
        if fill.digest is not None and fill.digest != digest:
            fill.refuse(MissReason.HINT)
        if fill.refused is None:
            doubt = None
            if fill.version != self.changes.version:
                doubt = self.changes.judge(fill.key, fill.shard, fill.tags, fill.born, now)
            fill.refuse(doubt.reason if doubt is not None else MissReason.EXPIRED if now >= until else None)
        if fill.refused is not None:
            self._refused[fill.refused] += 1
            return
        displaced = self.shelf.put(fill.key, CacheEntry(value, fill, until, self.changes.version, digest))
        if displaced is None:
            self._counts["too_large"] += 1
            return
        self._counts["fills"] += 1
        self._counts["evicted"] += displaced

    def bound(self) -> float:
        """The bound on staleness, in seconds: the shorter of `max_ttl` and what the known invalidators allow."""
        bound = self.lives.bound()
        return self._options.max_ttl if bound is None else min(self._options.max_ttl, bound + self._soft)

    def stats(self, fast_hits: int, joined: int, now: float) -> CacheStats:
        """Returns all counts, with the hits and the joined loads that were counted elsewhere."""
        lives = self.lives
        counts = self._counts + lives.counts + self.changes.counts
        blind = lives.blind_seconds + (0.0 if lives.blind_since is None else max(0.0, now - lives.blind_since))
        return CacheStats(
            hits=fast_hits + counts["slow_hits"] + counts["soft_hits"],
            soft_hits=counts["soft_hits"],
            misses=self._misses.total(),
            misses_by_reason=dict(self._misses),
            joined=joined,
            fills=counts["fills"],
            refused_by_reason=dict(self._refused),
            evicted=counts["evicted"],
            too_large=counts["too_large"],
            hints_by_kind=dict(self._hints),
            marks=counts["marks"],
            removed=counts["removed"],
            kept=counts["kept"],
            repeated=counts["repeated"],
            malformed=counts["malformed"],
            unannounced=counts["unannounced"],
            own=counts["own"],
            store_errors=counts["store_errors"],
            gaps=counts["gaps"],
            hints_lost=counts["hints_lost"],
            prefixes_recovered=counts["prefixes_recovered"],
            invalidators=counts["invalidators"],
            forgotten=counts["forgotten"],
            blind=counts["blind"],
            blind_seconds=blind,
            invalidator_limit=counts["invalidator_limit"],
            tag_limit=counts["tag_limit"],
            prefix_limit=counts["prefix_limit"],
        )

    def is_current(self, fill: PendingFill, now: float) -> bool:
        """Whether a caller who asks now may have what this load brings: as far as is known, nothing has concerned it."""
        fresh = fill.refused is None and fill.digest is None and fill.version == self.changes.version
        return fresh and now - fill.started <= self.bound()

    def _tagged(self, tags: Iterable[str]) -> Tagged:
        if isinstance(tags, str):
            raise HintError("tag", tags, "tags must be several strings: write (tag,) for one")
        return tuple((text, shard_of(text, self._options.shards)) for text in (check_text("tag", tag) for tag in tags))

    def _remove(self, key: str, digest: int | None, now: float) -> None:
        """Removes an entry and refuses the loads of its key, unless they have the very value that the digest names."""
        for fill in self._fills.get(key, ()):
            if digest is None:
                fill.refuse(MissReason.HINT)
            fill.digest = digest
        try:
            entry = self.shelf.find(key)
            if entry is None:
                return
            if digest is not None and entry.digest == digest:
                self._counts["kept"] += 1
                return
            self.shelf.remove(key)
            self._counts["removed"] += 1
        except Exception:
            self.changes.invalidate_prefix(key, now)  # the store may still have it
            raise

    def _judge(self, key: str, entry: CacheEntry, now: float) -> Doubt | None:
        if now >= entry.until:
            return _EXPIRED
        doubt = None
        if entry.checked != self.changes.version:
            doubt = self.changes.judge(key, entry.shard, entry.tags, entry.born, now)
            if doubt is None:
                entry.checked = self.changes.version
            elif doubt.reason is MissReason.HINT:
                return doubt
        since = self.lives.blind_since
        if since is not None and (doubt is None or since < doubt.since):
            doubt = Doubt(MissReason.BLIND, since)
        if doubt is not None and now < entry.loaded + self.lives.trusted_age:
            return None  # it cannot be stale for longer than it has been here
        return doubt


def _checked_ttl(ttl: object) -> float:
    if not isinstance(ttl, int | float) or isinstance(ttl, bool) or not ttl > 0:
        raise OptionError("ttl", ttl, "seconds above 0, or None")
    return ttl


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
