"""`HintedCache`: a cache in the reading process that is invalidated by hints, and knows what to do about those it misses.

Safe from any thread; a fresh hit takes no lock, see `GuardedCore`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, MutableMapping
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from atmost.core.events import Event, Message, SessionClosed
from atmost.endpoint.receiver import Receiver
from atmost.errors import OptionError
from atmost.hints.feeder import feeder_of
from atmost.hints.fills import Fill
from atmost.hints.guarded import LOCK_FREE, GuardedCore, all_caches, locked
from atmost.hints.invalidator import Invalidator
from atmost.hints.loading import load_once
from atmost.hints.options import CacheOptions
from atmost.hints.wire import SHARDS, SUBJECT, Kind, check_text, shard_of, subjects

T = TypeVar("T")


class HintedCache(GuardedCore):
    """Caches values by key until a hint, doubt or their age ends it.

    Example:
        >>> cache = HintedCache(max_ttl=300, receiver=atmost.Receiver("udp://127.0.0.1:7140"))
        >>> user = cache.get_or_load("user:42", lambda: load_user(42))
    """

    def __init__(
        self,
        max_ttl: float,
        *,
        max_entries: int = 10_000,
        store: MutableMapping[str, Any] | None = None,
        receiver: Receiver | str | None = None,
        subject: str = SUBJECT,
        shards: int = SHARDS,
        grace: float = 1.0,
        policy: str = "stale",
        soft: float = 10.0,
        jitter: float = 0.05,
        forget_after: float = 30.0,
        own: Invalidator | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts empty, and without knowing any invalidator.

        Args:
            max_ttl: seconds an entry is served, at most, from the beginning of its load: the bound where hints give none.
            max_entries: entries kept; beyond it what was used longest ago goes. Not for a store with a bound of its own.
            store: keeps the entries instead of a dictionary of its own: any cachetools cache or other mapping; its values are
                `Entry` objects, so a `getsizeof` of cachetools is given one. It is used under this cache's lock alone.
            receiver: whose events are all consumed by a thread of this cache; an address makes one. None: see `feed`.
            subject: as the invalidators have it; messages of other subjects are left alone.
            shards: 1 to 256. More make a lost hint cost fewer refetches.
            grace: seconds that a hint may come late without being lost, and that the quickest marks may take.
            policy: "stale" makes a miss of what may be stale; "soft" serves it while one caller of `get_or_load` loads it anew.
            soft: for how many seconds; by policy "soft" it adds to `staleness_bound`.
            jitter: seconds; a load that a lost hint caused waits a random part of it, so that many readers do not load at once.
            forget_after: seconds of blindness after which a silent invalidator is known no more.
            own: the invalidator of this process: what it hears of that one it skips; call `discard` beside its `invalidate`.
            clock: seconds that never step back, the same as in every `feed` and `tick`.

        Raises:
            OptionError: an option is outside its range, or what was given as store, receiver, own or clock is none.
            SubjectError: the subject cannot be used.
            AtMostError: as from `Receiver`, when it is given as an address.
        """
        options = CacheOptions(
            max_ttl=max_ttl,
            max_entries=max_entries,
            shards=shards,
            grace=grace,
            policy=policy,
            soft=soft,
            jitter=jitter,
            forget_after=forget_after,
        )
        self._subjects = subjects(subject)
        if own is not None and not isinstance(getattr(own, "life", None), bytes):
            raise OptionError("own", own, "the Invalidator of this process, or None")
        self._own = own
        super().__init__(options, store, clock)
        self._feeder = feeder_of(self, receiver)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, where it is fresh.

        Args:
            key: text.
            default: what to return otherwise.

        Raises:
            HintError: the key is not text.
        """
        try:
            entry = self._find(key)
        except TypeError:  # not even hashable
            check_text("key", key)
            raise
        if entry is not None:
            now = self._clock()
            if now < entry.until and now < self._due and entry.checked == self._version:
                self._hits += 1  # without a jump, so that no other thread comes between
                if self._touch is not None:
                    try:  # noqa: SIM105  see `fresh`
                        self._touch(key)
                    except KeyError:  # removed meanwhile by another thread
                        pass
                return entry.value
        found, _ = self.look(key)
        return default if found is None else found.value

    def get_or_load(
        self,
        key: str,
        load: Callable[[], T],
        *,
        ttl: float | None = None,
        tags: Iterable[str] | Callable[[T], Iterable[str]] = (),
    ) -> T:
        """The value of a key; what is not fresh is loaded by one caller, for whom the others wait.

        Args:
            key: text.
            load: called without arguments; what it raises is raised here, and by whoever waits for it.
            ttl: see `Fill.set`.
            tags: that invalidate the value too, or what tells them of a value.

        Raises:
            HintError: the key or a tag is not text.
            OptionError: `ttl` is not above 0.
        """
        value: T = load_once(self, key, load, ttl, tags)[0]
        return value

    def filling(self, key: str) -> Fill:
        """A token for a load of one's own: `with cache.filling(key) as fill: value = fill.set(load())`.

        Raises:
            HintError: the key is not text.
        """
        key = check_text("key", key)
        return Fill(self, key, shard_of(key, self.options.shards))

    def touch(self, key: str, ttl: float | None = None) -> bool:
        """Serves an entry for so many seconds from now, but never beyond `max_ttl` from its load; counts as a read.

        Returns:
            Whether it is here and served.

        Raises:
            HintError: the key is not text.
            OptionError: `ttl` is not above 0.
        """
        with self._lock:
            return self._core.touch(key, ttl, self._clock())

    def feed(self, event: Event, now: float | None = None) -> None:
        """Takes one event of a receiver, of any subject and kind; never raises for what a sender did.

        Args:
            event: a message or another event.
            now: seconds on the cache's clock; None reads it.
        """
        if isinstance(event, Message):
            kind = self._subjects.get(event.subject)
            if kind is not None:
                own = None if self._own is None else self._own.life
                with self._lock:
                    self._core.message(kind, event, own, self._clock() if now is None else now)
                    self._sync()
        elif isinstance(event, SessionClosed):
            with self._lock:
                self._core.lives.left(event.session.key)

    def tick(self, now: float | None = None) -> None:
        """Finds out what silence means; `get` does so itself, so this is for a cache that nobody reads, and for its counts.

        Args:
            now: seconds on the cache's clock; None reads it.
        """
        with self._lock:
            self._core.tick(self._clock() if now is None else now)
            self._sync()

    def discard(self, key: str, *, digest: int | None = None) -> None:
        """Does here what a hint for the key does; nothing is sent. Raises as `get` does."""
        self._discard(Kind.KEY, key, digest)

    def discard_prefix(self, prefix: str) -> None:
        """Does here what a hint for the prefix does; nothing is sent. Raises as `get` does."""
        self._discard(Kind.PREFIX, prefix)

    def discard_tag(self, tag: str) -> None:
        """Does here what a hint for the tag does; nothing is sent. Raises as `get` does."""
        self._discard(Kind.TAG, tag)

    def clear(self) -> None:
        """Forgets every entry, and refuses what is being loaded; the counts stay."""
        self.discard_prefix("")
        with self._lock:
            self._core.shelf.clear()

    @property
    def staleness_bound(self) -> float:
        """Seconds: nothing is served whose change a known invalidator told longer ago.

        2 × grace + mark interval × (marks that may be lost in a row + 1), of the slowest invalidator that is known; with the
        policy "soft" that much more; `max_ttl` where none is known, and never more than that.
        """
        with self._lock:
            return self._core.bound()

    @property
    def blind(self) -> bool:
        """Whether a known invalidator is silent, so that nothing is served (by policy "soft", for longer than that)."""
        self.tick()
        return self._core.lives.blind_since is not None

    @property
    def counts(self) -> dict[str, float]:
        """What became of reads (`hits`, `soft_hits`, `misses` and `misses_REASON`), fills (`fills`, `refused_REASON`, `evicted`,
        `too_large`), hints (`hints_KIND`, `marks`, `removed`, `kept`, `repeated`, `malformed`, `unannounced`, `own`, `store_errors`) and loss
        (`gaps`, `hints_lost`, `prefixes_recovered`, `invalidators`, `forgotten`, `blind`, `blind_seconds`, and the limits).
        """  # noqa: D205
        with self._lock:
            self.tick()
            return self._core.totals(self._hits, self._clock())

    @property
    def invalidators(self) -> int:
        """Lives of invalidators that are known."""
        with self._lock:
            return self._core.lives.known

    @property
    def limit(self) -> int | None:
        """Entries that may be kept; None where the store counts something else."""
        return self._core.shelf.limit

    def close(self) -> None:
        """Ends the thread of its own, and the receiver that was made from an address."""
        if self._feeder is not None:
            self._feeder.stop()
            self._feeder = None

    def __len__(self) -> int:
        """Entries kept, stale ones that nobody has asked for included."""
        with self._lock:
            return len(self._core.shelf)

    def __enter__(self) -> Self:
        """The cache itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def __reduce__(self) -> NoReturn:
        """A copy would hear no hints."""
        raise TypeError("a HintedCache cannot be pickled or copied: construct one in each process")

    def __repr__(self) -> str:
        """Entries and bound."""
        return f"<HintedCache of {len(self)} entries, stale by at most {self.staleness_bound:g} s>"

    def _discard(self, kind: Kind, text: str, digest: int | None = None) -> None:
        with self._lock:
            try:
                self._core.apply(kind, check_text(kind, text), digest, self._clock())
            finally:
                self._sync()

    def renew_after_fork(self) -> None:
        """See `GuardedCore`."""
        self._feeder = None
        super().renew_after_fork()


def _renew_after_fork() -> None:
    for cache in list(all_caches):
        cache.renew_after_fork()


if not LOCK_FREE:
    HintedCache.get = locked(HintedCache.get)  # type: ignore[method-assign]
    GuardedCore.fresh = locked(GuardedCore.fresh)  # type: ignore[method-assign]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
