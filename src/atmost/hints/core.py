"""`CacheCore`: what a cache keeps and knows, and what it answers; the rules without thread, clock or lock.

Time is an argument, seconds on one clock. Not thread-safe: `HintedCache` calls it under its lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import inf
from typing import Final

from atmost.core.events import Message
from atmost.errors import HintError, OptionError
from atmost.hints.changes import Changes
from atmost.hints.fills import Fill
from atmost.hints.lives import Lives
from atmost.hints.options import CacheOptions
from atmost.hints.shelf import Entry, Shelf
from atmost.hints.suspicion import Doubt, Reason
from atmost.hints.wire import Hint, Kind, check_text, read_hint, read_mark, shard_of

MAX_FILLS: Final = 65_536
"""Loads that may go on at once; the values of more are not cached."""
_ABSENT: Final = Doubt(Reason.ABSENT, -inf)
_EXPIRED: Final = Doubt(Reason.EXPIRED, -inf)


class CacheCore:
    """One cache's state."""

    def __init__(self, options: CacheOptions, shelf: Shelf) -> None:
        """Args: options: of the cache. shelf: where entries are kept; empty."""
        self._options = options
        self._soft = options.soft_seconds
        self.shelf = shelf
        self.changes = Changes(options.shards, options.max_ttl, self._soft)
        self.lives = Lives(self.changes, options.shards, options.grace, options.forget_after)
        self.counts: Counter[str] = Counter()
        self._fills: dict[str, list[Fill]] = {}
        self._open_fills = 0

    @property
    def due(self) -> float:
        """Until when what was judged fresh is so without another look, seconds."""
        return -inf if self.lives.blind_since is not None else self.lives.next_tick

    def tick(self, now: float) -> None:
        """Finds out what silence means, where it is time to."""
        if now >= self.lives.next_tick:
            self.lives.tick(now)

    def message(self, kind: Kind, message: Message, own: bytes | None, now: float) -> None:
        """Takes a hint or a mark.

        Args:
            kind: by its subject.
            message: whatever came.
            own: the life whose hints were done here already.
            now: seconds.
        """
        self.tick(now)  # first what was known before: what it means that this one comes so late
        told = read_mark(message.payload) if kind is Kind.MARK else read_hint(message.payload)
        if told is None:
            self.counts["malformed"] += 1
        elif told.life == own:
            self.counts["own"] += 1
        elif not isinstance(told, Hint):
            self.counts["marks"] += 1
            self.lives.mark(told, message.session.key, now)
        elif self.lives.hint(kind, told, now):
            self.counts[f"hints_{kind}"] += 1
            try:
                self.apply(kind, told.text, told.digest, now)
            except Exception:  # noqa: BLE001  a store of the user's; what it kept counts as stale, and further hints are heard
                self.counts["store_errors"] += 1

    def apply(self, kind: Kind, text: str, digest: int | None, now: float) -> None:
        """Does what a hint says."""
        if kind is Kind.TAG:
            self.changes.invalidate_tag(text, now)
        elif kind is Kind.PREFIX:
            self.changes.invalidate_prefix(text, now)
        else:
            self._drop(text, digest, now)

    def look(self, key: str, now: float) -> tuple[Entry | None, Doubt | None]:
        """Reads with all that is known, and counts it.

        Returns:
            The entry when it is served, and a doubt: why it is not, or only by the policy "soft".

        Raises:
            HintError: the key is not text.
        """
        self.tick(now)
        entry = self.shelf.find(key)
        if entry is None:
            check_text("key", key)
            self.counts["misses_absent"] += 1
            return None, _ABSENT
        doubt = self._judge(key, entry, now)
        if doubt is None:
            self.counts["slow_hits"] += 1
            return entry, None
        if doubt.since + self._soft > now:
            self.counts["soft_hits"] += 1
            return entry, doubt
        if doubt.reason is not Reason.BLIND:
            self.shelf.remove(key)
        self.counts[f"misses_{doubt.reason}"] += 1
        return None, doubt

    def touch(self, key: str, ttl: float | None, now: float) -> bool:
        """Gives an entry that is served another time to live; see `HintedCache.touch`."""
        entry, _ = self.look(check_text("key", key), now)
        if entry is None:
            return False
        most = entry.loaded + self._options.max_ttl
        entry.until = most if ttl is None else min(most, now + _checked(ttl))
        return True

    def begin_fill(self, fill: Fill, now: float) -> None:
        """A load begins; whatever concerns its key from now on refuses it."""
        fill.born, fill.version, fill.started = self.changes.epoch, self.changes.version, now
        fill.refused = fill.only = None
        if self._open_fills >= MAX_FILLS:
            fill.refused = Reason.FILL_LIMIT
            return
        self._open_fills += 1
        self._fills.setdefault(fill.key, []).append(fill)

    def end_fill(self, fill: Fill) -> None:
        """A load has ended."""
        fill.born = 0
        others = self._fills.get(fill.key, [])
        if fill in others:
            others.remove(fill)
            self._open_fills -= 1
            if not others:
                del self._fills[fill.key]

    def keep(
        self, fill: Fill, value: object, ttl: float | None, tags: Iterable[str], digest: int | None, now: float
    ) -> None:
        """Caches what was loaded, unless something has concerned it meanwhile; see `Fill.set`."""
        fill.tags = self._tagged(tags)
        self.tick(now)
        most = self._options.max_ttl
        until = fill.started + (most if ttl is None else min(most, _checked(ttl)))
        if fill.only is not None and fill.only != digest:
            fill.refused = Reason.HINT
        if fill.refused is None:
            doubt = self.changes.judge(fill.key, fill.shard, fill.tags, fill.born, now)
            fill.refused = doubt.reason if doubt is not None else Reason.EXPIRED if now >= until else None
        if fill.refused is not None:
            self.counts[f"refused_{fill.refused}"] += 1
            return
        displaced = self.shelf.put(fill.key, Entry(value, fill, until, self.changes.version, digest))
        if displaced is None:
            self.counts["too_large"] += 1
            return
        self.counts["fills"] += 1
        if displaced:
            self.counts["evicted"] += displaced

    def bound(self) -> float:
        """See `HintedCache.staleness_bound`."""
        bound = self.lives.bound()
        return self._options.max_ttl if bound is None else min(self._options.max_ttl, bound + self._soft)

    def totals(self, fast_hits: int, now: float) -> dict[str, float]:
        """See `HintedCache.counts`; `fast_hits` are those that were counted elsewhere."""
        lives = self.lives
        sums = self.counts + lives.counts + self.changes.counts
        hits = fast_hits + sums.pop("slow_hits", 0) + sums["soft_hits"]
        misses = sum(count for name, count in sums.items() if name.startswith("misses_"))
        blind = lives.blind_seconds + (0.0 if lives.blind_since is None else max(0.0, now - lives.blind_since))
        return {**sums, "hits": hits, "misses": misses, "blind_seconds": blind}

    def is_current(self, fill: Fill, now: float) -> bool:
        """Whether whoever asks now may have what this load brings: nothing has concerned it, as far as is known."""
        fresh = fill.refused is None and fill.only is None and fill.version == self.changes.version
        return fresh and now - fill.started <= self.bound()

    def _tagged(self, tags: Iterable[str]) -> tuple[tuple[str, int], ...]:
        if isinstance(tags, str):
            raise HintError("tag", tags, "tags are several: write (tag,)")
        return tuple((text, shard_of(text, self._options.shards)) for text in (check_text("tag", tag) for tag in tags))

    def _drop(self, key: str, digest: int | None, now: float) -> None:
        """Removes an entry, and refuses what is being loaded of the key, unless it is just the new value."""
        for fill in self._fills.get(key, ()):
            if digest is None:
                fill.refused = Reason.HINT
            fill.only = digest
        try:
            entry = self.shelf.find(key)
            if entry is None:
                return
            if digest is not None and entry.digest == digest:
                self.counts["kept"] += 1
                return
            self.shelf.remove(key)
            self.counts["removed"] += 1
        except Exception:
            self.changes.invalidate_prefix(key, now)  # the store has it still, perhaps
            raise

    def _judge(self, key: str, entry: Entry, now: float) -> Doubt | None:
        if now >= entry.until:
            return _EXPIRED
        doubt = None
        if entry.checked != self.changes.version:
            doubt = self.changes.judge(key, entry.shard, entry.tags, entry.born, now)
            if doubt is None:
                entry.checked = self.changes.version
            elif doubt.reason is Reason.HINT:
                return doubt
        since = self.lives.blind_since
        if since is not None and (doubt is None or since < doubt.since):
            doubt = Doubt(Reason.BLIND, since)
        if doubt is not None and now < entry.loaded + self.lives.trusted:
            return None  # however stale it is, it is so for no longer than it is here
        return doubt


def _checked(ttl: object) -> float:
    if not isinstance(ttl, int | float) or isinstance(ttl, bool) or not ttl > 0:
        raise OptionError("ttl", ttl, "seconds above 0, or None")
    return ttl
