"""`HintedCache`: a cache in the reading process that hints invalidate, and that knows what to do about the hints it misses.

Safe from any thread. The lock is the cache's; no load, no tag function and no receiver is waited for under it.
A fresh hit takes no lock where the interpreter has its own: whatever makes entries stale without naming them changes
`_version`, and an entry is served without the lock only when it was judged by that very version.
"""
# ruff: noqa: SLF001  `Fill` is a part of `HintedCache`, and nobody else needs what they share.

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, Literal, NoReturn, Protocol, Self, TypeVar

from atmost.atomic import guarded
from atmost.core.events import Event, Message, SessionClosed
from atmost.endpoint.checking import check_receiver
from atmost.endpoint.receiver import Receiver
from atmost.errors import AtMostError, HintError, OptionError
from atmost.hints.core import CacheCore, CacheEntry, CacheOptions, CacheStats, LruShelf, PendingFill, Shelf, StoreShelf
from atmost.hints.invalidator import Invalidator, boot_clock
from atmost.hints.knowledge import Doubt, MissReason
from atmost.hints.loads import Load
from atmost.hints.members import Feeder, addresses_of, first_free
from atmost.hints.wire import SHARDS, SUBJECT, HintKind, check_text, shard_of, subjects
from atmost.lifecycle import HERE, Floor, may_start_threads, notice_fork, register

T = TypeVar("T")
Tags = Iterable[str] | Callable[[Any], Iterable[str]]
_LOST: Final = {MissReason.GAP, MissReason.NEW_SESSION, MissReason.ENDED}
_NOTHING: Final = object()
_STORES: Final = ("get", "pop", "clear", "__setitem__", "__len__")
"""What is called of a store; of one without a bound of its own `__iter__` and `__delitem__` too."""

_log = logging.getLogger("atmost")


class TakesMetrics(Protocol):
    """What `HintedCache.measure` needs of a `Metrics`."""

    def counter(self, name: str, help: str = ..., *, callback: Any = ...) -> Any: ...  # noqa: A002, D102
    def gauge(self, name: str, help: str = ..., *, mode: str = ..., callback: Any = ...) -> Any: ...  # noqa: A002, D102


class Fill(PendingFill):
    """One load of one key, so that a value read before a change is not cached after the hint of that change has come.

    Made by `HintedCache.filling`, and entered before the load begins: a hint for the key from then on refuses the value.
    """

    __slots__ = ("_cache",)

    def __init__(self, cache: HintedCache, key: str, shard: int) -> None:
        """Args: cache: keeps the value. key: plain text. shard: of the key."""
        super().__init__(key, shard)
        self._cache = cache

    def set(self, value: T, *, ttl: float | None = None, tags: Iterable[str] = (), digest: int | None = None) -> T:
        """Caches a value that was loaded since the fill was entered, unless something has concerned its key since then.

        Args:
            value: what was loaded.
            ttl: seconds it may be served, from the beginning of the load; None, and more than that, is the cache's `max_ttl`.
            tags: tags that invalidate it too.
            digest: of the value, as `Invalidator.invalidate` may send it.

        Returns:
            The value, cached or not; see `refused`.

        Raises:
            HintError: the fill was not entered, or a tag is not text.
            OptionError: `ttl` is not above 0.
        """
        if not self.born:
            raise HintError(
                "key", self.key, "the fill has not begun: with cache.filling(key) as fill: fill.set(load())"
            )
        made = tags if isinstance(tags, str) else tuple(tags)  # not under the lock: it may be a generator that waits
        cache = self._cache
        with cache._lock:
            cache._core.keep(self, value, ttl, made, digest, cache._clock())
            cache._sync()
        return value

    def __enter__(self) -> Self:
        """Begins: load from here on."""
        cache = self._cache
        if not HERE[0]:
            notice_fork()
        cache._join()
        with cache._lock:
            cache._core.begin_fill(self, cache._clock())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends, also without a value."""
        with self._cache._lock:
            self._cache._core.end_fill(self)


class HintedCache:
    """Caches values by key until a hint, a doubt or their age ends this.

    Example:
        >>> cache = HintedCache(max_ttl=300, receiver="udp://127.0.0.1:7150-7157")
        >>> user = cache.get_or_load("user:42", lambda: load_user(42))
    """

    def __init__(
        self,
        max_ttl: float,
        *,
        max_entries: int = 10_000,
        store: MutableMapping[str, Any] | None = None,
        receiver: Receiver | str | Collection[str] | None = None,
        subject: str = SUBJECT,
        shards: int = SHARDS,
        grace: float = 1.0,
        policy: Literal["stale", "soft"] = "stale",
        soft: float = 10.0,
        jitter: float = 0.05,
        forget_after: float = 30.0,
        own: Invalidator | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts empty, and without knowing any invalidator.

        Args:
            max_ttl: seconds that an entry is served at most, from the beginning of its load: the bound if hints give none.
            max_entries: entries at most; beyond it the one that was used longest ago is dropped. Not for a store with a
                bound of its own.
            store: keeps the entries instead of a dictionary of the cache's own: any cachetools cache or other mapping. Its values
                are `CacheEntry` objects, so a `getsizeof` of cachetools is given one. It is used under this cache's lock alone.
            receiver: where hints arrive, read by a thread of the cache. A `Receiver`, of which all events are consumed; or
                an address; or addresses that the processes of a host share, as "udp://127.0.0.1:7150-7157" or
                "unix:///run/shop/" (a directory): this process receives on the first that is free. None: see `feed`.
            subject: as the invalidators have it; messages of other subjects are left alone.
            shards: 1 to 256. More make a lost hint cost fewer refetches.
            grace: seconds that a hint may come late without being lost, and that the quickest marks may take.
            policy: with "stale" an entry that may be stale is a miss; with "soft" it is served while one caller of
                `get_or_load` loads it anew.
            soft: for how many seconds; by policy "soft" it adds to `staleness_bound`.
            jitter: seconds; a load that a lost hint caused waits a random part of it, so that many readers do not load at once.
            forget_after: seconds of blindness after which a silent invalidator is forgotten.
            own: the invalidator of this process: its hints are skipped here, so call `discard` beside its `invalidate`.
            clock: seconds that never step back, the same as in every `feed` and `tick`.

        Raises:
            OptionError: an option is outside its range, or the store, receiver, own or clock is not one.
            SubjectError: the subject cannot be used.
            AddressInUse: no address is free.
            AtMostError: as from `Receiver`, when addresses were given.
        """
        self._options = CacheOptions(
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
        if store is not None and not all(callable(getattr(store, name, None)) for name in _STORES):
            raise OptionError("store", store, "a mutable mapping, such as a dict or a cache of cachetools")
        if not callable(clock):
            raise OptionError("clock", clock, "a function that returns seconds, such as time.monotonic")
        self._own = own
        self._clock = clock
        self._store = store
        self._addresses: tuple[str, ...] = ()
        self._must_join = False
        self._feeder: Feeder | None = None
        self._begin()
        self._waiting: Receiver | None = None
        if isinstance(receiver, Collection):
            self._addresses = addresses_of(receiver, "receiver")
            self._must_join = not may_start_threads()
            if not self._must_join:
                self._feeder = Feeder(self.feed, first_free(self._addresses), owned=True)
        elif receiver is not None:
            self._waiting = check_receiver(receiver)
            if may_start_threads():
                self.resume()
        register(self, Floor.USE)

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
            if now < entry.until and now < self._fresh_until and entry.checked == self._version:
                self._hits += 1  # without a jump, so that no other thread comes between
                if self._touch is not None:
                    try:  # noqa: SIM105  suppress() would cost as much as all the rest
                        self._touch(key)
                    except KeyError:  # removed meanwhile by another thread
                        pass
                return entry.value
        found, _ = self._read(key)
        return default if found is None else found.value

    def get_or_load(
        self,
        key: str,
        load: Callable[[], T],
        *,
        ttl: float | None = None,
        tags: Iterable[str] | Callable[[T], Iterable[str]] = (),
    ) -> T:
        """The value of a key; if it is not fresh, one caller loads it, and the others wait for that load.

        Args:
            key: text.
            load: called without arguments; what it raises is raised here, and to whoever waits for it.
            ttl: see `Fill.set`.
            tags: tags that invalidate the value too, or a function of the value that returns them.

        Raises:
            HintError: the key or a tag is not text.
            HintLoadCycle: waiting would never end, because the load that goes on waits for this one.
            OptionError: `ttl` is not above 0.
        """
        entry = self._fresh(key)
        if entry is not None:
            return entry.value  # type: ignore[no-any-return]
        entry, doubt = self._read(key)
        if entry is not None and not self._is_due(key, doubt):
            return entry.value  # type: ignore[no-any-return]
        while True:
            flight, leads = self._board(key, key, threading.Event, entry)
            if leads:
                with flight.led(self._flights, key, self._lock):
                    if (landed := self._landed(flight, key)) is not _NOTHING:
                        return landed  # type: ignore[no-any-return]
                    time.sleep(self._delay(entry, doubt))
                    with self.filling(key) as fill:
                        flight.fill = fill
                        value = load()
                        fill.set(value, ttl=ttl, tags=tags(value) if callable(tags) else tags)
                    flight.land(value)
                    return value
            if entry is not None:  # by policy "soft"
                return entry.value  # type: ignore[no-any-return]
            if flight.is_own():  # the load asks for what it is about to bring
                return load()
            with flight.awaited():
                flight.done.wait()
            if flight.landed:
                return flight.result()  # type: ignore[no-any-return]

    async def get_or_load_async(
        self,
        key: str,
        load: Callable[[], Awaitable[T]],
        *,
        ttl: float | None = None,
        tags: Iterable[str] | Callable[[T], Iterable[str]] = (),
    ) -> T:
        """As `get_or_load`, in an event loop: its tasks wait for each other, and not for loads of other loops or threads.

        Args:
            key: text.
            load: called without arguments; what it returns is awaited.
            ttl: see `Fill.set`.
            tags: tags that invalidate the value too, or a function of the value that returns them.

        Raises:
            HintError: the key or a tag is not text.
            HintLoadCycle: waiting would never end, because the load that goes on waits for this one.
            OptionError: `ttl` is not above 0.
        """
        entry = self._fresh(key)
        if entry is not None:
            return entry.value  # type: ignore[no-any-return]
        entry, doubt = self._read(key)
        if entry is not None and not self._is_due(key, doubt):
            return entry.value  # type: ignore[no-any-return]
        place = (key, asyncio.get_running_loop())
        while True:
            flight, leads = self._board(place, key, asyncio.Event, entry)
            if leads:
                with flight.led(self._flights, place, self._lock):
                    if (landed := self._landed(flight, key)) is not _NOTHING:
                        return landed  # type: ignore[no-any-return]
                    await asyncio.sleep(self._delay(entry, doubt))
                    with self.filling(key) as fill:
                        flight.fill = fill
                        value = await load()
                        fill.set(value, ttl=ttl, tags=tags(value) if callable(tags) else tags)
                    flight.land(value)
                    return value
            if entry is not None:
                return entry.value  # type: ignore[no-any-return]
            if flight.is_own():
                return await load()
            with flight.awaited():
                await flight.done.wait()
            if flight.landed:
                return flight.result()  # type: ignore[no-any-return]

    def filling(self, key: str) -> Fill:
        """Begins a load by the caller: `with cache.filling(key) as fill: value = fill.set(load())`.

        Raises:
            HintError: the key is not text.
        """
        key = check_text("key", key)
        return Fill(self, key, shard_of(key, self._options.shards))

    def touch(self, key: str, ttl: float | None = None) -> bool:
        """Serves an entry for so many seconds from now, but never beyond `max_ttl` from its load; counts as a read.

        Returns:
            Whether the entry is here and served.

        Raises:
            HintError: the key is not text.
            OptionError: `ttl` is not above 0.
        """
        with self._lock:
            return self._core.touch(key, ttl, self._clock())

    def ttl_left(self, key: str) -> float | None:
        """Returns for how many seconds an entry will be served if nothing concerns it; None when it is not served; no read."""
        with self._lock:
            entry = self._find(check_text("key", key))
            return None if entry is None else max(0.0, entry.until - self._clock())

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
                clock = boot_clock() if kind is HintKind.MARK else None
                with self._lock:
                    self._core.message(kind, event, own, self._clock() if now is None else now, clock)
                    self._sync()
        elif isinstance(event, SessionClosed):
            with self._lock:
                self._core.lives.session_closed(event.session.key)

    def tick(self, now: float | None = None) -> None:
        """Judges silent invalidators; reads do so themselves, so this is for a cache that nobody reads.

        Args:
            now: seconds on the cache's clock; None reads it.
        """
        with self._lock:
            self._core.tick(self._clock() if now is None else now)
            self._sync()

    def next_deadline(self) -> float:
        """Returns when `tick` has something to do, in seconds on the cache's clock; inf when nothing is known."""
        with self._lock:
            return self._core.lives.deadline

    def discard(self, key: str, *, digest: int | None = None) -> None:
        """Does here what a hint for the key does; nothing is sent. Raises as `get` does."""
        self._discard(HintKind.KEY, key, digest)

    def discard_prefix(self, prefix: str) -> None:
        """Does here what a hint for the prefix does; nothing is sent. Raises as `get` does."""
        self._discard(HintKind.PREFIX, prefix)

    def discard_tag(self, tag: str) -> None:
        """Does here what a hint for the tag does; nothing is sent. Raises as `get` does."""
        self._discard(HintKind.TAG, tag)

    def clear(self) -> None:
        """Forgets every entry, and refuses what is being loaded; the counts stay."""
        self.discard_prefix("")
        with self._lock:
            self._core.shelf.clear()

    def atomic(self) -> AbstractContextManager[object]:
        """Makes several calls one step that no other thread's hint, load or `discard` can interrupt: `with cache.atomic(): …`."""
        return self._lock

    @property
    def staleness_bound(self) -> float:
        """Seconds: a value is never served if a known invalidator sent its change longer ago than this.

        2 × grace + mark interval × (marks that may be lost in a row + 1), of the slowest invalidator that is known; with the
        policy "soft" that much more; `max_ttl` where none is known, and never more than that.
        """
        with self._lock:
            return self._core.bound()

    @property
    def blind(self) -> bool:
        """Whether a known invalidator is silent, so that only entries younger than the bound are served."""
        self.tick()
        return self._core.lives.blind_since is not None

    @property
    def invalidators(self) -> int:
        """Lives of invalidators that are known."""
        with self._lock:
            return len(self._core.lives.known)

    @property
    def limit(self) -> int | None:
        """The most entries; None where the store counts something else."""
        return self._core.shelf.limit

    @property
    def url(self) -> str | None:
        """The address where hints arrive; None without a receiver."""
        return None if self._feeder is None else self._feeder.url

    def stats(self) -> CacheStats:
        """Returns what became of reads, loads, hints and losses in this process."""
        with self._lock:
            self.tick()
            return self._core.stats(self._hits, self._joined, self._clock())

    def measure(self, metrics: TakesMetrics, name: str = "cache") -> None:
        """Adds hits, misses, lost hints, blindness, entries and the bound to the metrics of this process.

        Args:
            metrics: a `Metrics`; it keeps the cache alive.
            name: begins the metrics' names: `cache_hits_total`, `cache_misses_total`, `cache_hints_lost_total`,
                `cache_blind_seconds_total`, `cache_entries` and `cache_staleness_bound_seconds`.

        Raises:
            MetricError: a name cannot be used, or is taken.
        """
        count = metrics.counter
        count(f"{name}_hits_total", "Reads that were served.", callback=lambda: self.stats().hits)
        count(f"{name}_misses_total", "Reads that were not served.", callback=lambda: self.stats().misses)
        count(f"{name}_hints_lost_total", "Hints that were lost.", callback=lambda: self.stats().hints_lost)
        count(f"{name}_blind_seconds_total", "Time without marks.", callback=lambda: self.stats().blind_seconds)
        metrics.gauge(f"{name}_entries", "Entries kept.", mode="sum", callback=lambda: len(self))
        metrics.gauge(
            f"{name}_staleness_bound_seconds",
            "No read is staler.",
            mode="max",
            callback=lambda: self.staleness_bound,
        )

    def close(self) -> None:
        """Ends the cache's thread, and closes the receiver that was made from an address."""
        self._must_join, self._waiting = False, None
        feeder, self._feeder = self._feeder, None
        if feeder is not None:
            feeder.stop()

    async def aclose(self) -> None:
        """As `close`, without blocking the event loop."""
        await asyncio.to_thread(self.close)

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
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuses: a copy would hear no hints."""
        raise TypeError("a HintedCache cannot be pickled or copied: construct one in each process")

    def __repr__(self) -> str:
        """Entries and bound."""
        return f"<HintedCache of {len(self)} entries, stale by at most {self.staleness_bound:g} s>"

    def _begin(self) -> None:
        """Begins empty, at construction and in a forked child."""
        self._lock = threading.RLock()  # a finalizer or signal handler may ask in the middle of an answer
        shelf: Shelf = LruShelf(self._options.max_entries)
        if self._store is not None:
            self._store.clear()
            shelf = StoreShelf(self._store, self._options.max_entries, self._lock)
        self._core = CacheCore(self._options, shelf)
        self._find, self._touch = shelf.find, shelf.touch
        self._flights: dict[object, Load] = {}
        self._hits = self._joined = 0
        self._sync()

    def _sync(self) -> None:
        """Copies what the fast path looks at, after whatever may have changed it."""
        self._version = self._core.changes.version
        self._fresh_until = self._core.fresh_until

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002
        """A forked child's first step: an empty cache and a lock that nobody holds; it joins when it first loads."""
        self._feeder = None
        self._waiting = None
        self._must_join = bool(self._addresses)
        self._begin()

    def resume(self) -> None:
        """Reads the receiver that was given while no thread could be started, for `atmost.lifecycle`."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._feeder = Feeder(self.feed, waiting, owned=False)

    def _join(self) -> None:
        """Receives at an address of its own, in a forked child, before its first load."""
        if not self._must_join or not may_start_threads():
            return
        with self._lock:
            if not self._must_join:
                return
            self._must_join = False
            try:
                self._feeder = Feeder(self.feed, first_free(self._addresses), owned=True)
            except (AtMostError, RuntimeError) as error:  # the latter where the system has no thread
                _log.warning(
                    "a HintedCache receives no hints in this forked process, so only max_ttl bounds its staleness: %s",
                    error,
                )

    def _fresh(self, key: str) -> CacheEntry | None:
        """Returns the entry of a key when nothing at all is to be said of it, and counts a hit; see `get`."""
        try:
            entry = self._find(key)
        except TypeError:
            check_text("key", key)
            raise
        if entry is not None:
            now = self._clock()
            if now < entry.until and now < self._fresh_until and entry.checked == self._version:
                self._hits += 1
                if self._touch is not None:
                    try:  # noqa: SIM105  as in `get`
                        self._touch(key)
                    except KeyError:
                        pass
                return entry
        return None

    def _read(self, key: str) -> tuple[CacheEntry | None, Doubt | None]:
        """Reads with all that is known; see `CacheCore.read`.

        A fork in C is noticed here and not on the fast path: nobody feeds the child's cache, so it comes here within the bound.
        """
        if not HERE[0]:
            notice_fork()
        with self._lock:
            found = self._core.read(key, self._clock())
            self._sync()
            return found

    def _discard(self, kind: HintKind, text: str, digest: int | None = None) -> None:
        with self._lock:
            try:
                self._core.apply(kind, check_text(kind, text), digest, self._clock())
            finally:
                self._sync()

    def _board(self, place: object, key: str, done: Callable[[], Any], entry: CacheEntry | None) -> tuple[Load, bool]:
        """Returns the load to wait for, or a new one to lead."""
        with self._lock:
            flight = self._flights.get(place)
            if flight is not None and (
                flight.fill is None or self._core.is_current(flight.fill, self._clock())
            ):  # nobody is given what was loaded before a change that was known when he asked
                self._joined += entry is None and not flight.is_own()
                return flight, False
            flight = self._flights[place] = Load(key, done())
            return flight, True

    def _landed(self, flight: Load, key: str) -> Any:
        """Returns the value that another load has brought since this caller's own read, which has counted the miss."""
        with self._lock:
            entry = self._find(key)
            if entry is None or entry.checked != self._version or self._clock() >= min(entry.until, self._fresh_until):
                return _NOTHING
        flight.land(entry.value)
        return entry.value

    def _is_due(self, key: str, doubt: Doubt | None) -> bool:
        """Whether it is time to load anew what is served softly: for each key and process at another moment."""
        if doubt is None:
            return False
        return self._clock() >= doubt.since + self._options.jitter * (hash(key) & 0xFFFF) / 0x10000

    def _delay(self, entry: CacheEntry | None, doubt: Doubt | None) -> float:
        """Returns the seconds to wait before a load that a lost hint caused, so that not all readers load at once."""
        if entry is not None or doubt is None or doubt.reason not in _LOST:
            return 0.0
        return random.random() * self._options.jitter  # noqa: S311  no secret


HintedCache.get = guarded(HintedCache.get, "_lock")  # type: ignore[method-assign]
HintedCache._fresh = guarded(HintedCache._fresh, "_lock")  # type: ignore[method-assign]
