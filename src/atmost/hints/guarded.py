"""`GuardedCore`: a `CacheCore` under a lock, and the fast way around it for what is fresh.

Safe from any thread. `fresh` takes no lock where the interpreter has its own: what makes entries stale without naming them
changes `_version`, by which every entry is judged again, once, when it is next read.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterable, MutableMapping
from functools import wraps
from typing import Any, Final

from atmost.errors import OptionError
from atmost.hints.core import CacheCore
from atmost.hints.fills import Fill
from atmost.hints.loading import Flight
from atmost.hints.options import CacheOptions
from atmost.hints.shelf import Entry, LruShelf, Shelf, StoreShelf
from atmost.hints.suspicion import Doubt
from atmost.hints.wire import check_text

LOCK_FREE: Final = sys.implementation.name == "cpython" and bool(getattr(sys, "_is_gil_enabled", lambda: True)())
"""Whether the interpreter's global lock makes a step without a jump one that other threads see as a whole."""

_STORES: Final = ("get", "pop", "clear", "__setitem__", "__len__")
"""What is called of a store; of one without a bound of its own `__iter__` and `__delitem__` too."""

all_caches: weakref.WeakSet[GuardedCore] = weakref.WeakSet()


class GuardedCore:
    """What a cache, its fills and its loads share."""

    def __init__(
        self, options: CacheOptions, store: MutableMapping[str, Any] | None, clock: Callable[[], float]
    ) -> None:
        """Args: options: of the cache. store: keeps the entries; None for one of its own. clock: seconds."""
        if store is not None and not all(callable(getattr(store, name, None)) for name in _STORES):
            raise OptionError("store", store, "a mapping that can be changed, as a dict or a cache of cachetools")
        if not callable(clock):
            raise OptionError("clock", clock, "a function that returns seconds, as time.monotonic")
        self.options = options
        self._clock = clock
        self._store = store
        self._start()
        all_caches.add(self)

    def fresh(self, key: str) -> Entry | None:
        """The entry of a key, where nothing at all is to be said of it; counted as a hit.

        Raises:
            HintError: the key is nothing that could be one.
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
                    try:  # noqa: SIM105  suppress() would cost as much as all the rest
                        self._touch(key)
                    except KeyError:  # removed meanwhile by another thread
                        pass
                return entry
        return None

    def look(self, key: str) -> tuple[Entry | None, Doubt | None]:
        """What is kept of a key when it is served, and why it is not, or only by the policy "soft"; counted as a read.

        Raises:
            HintError: the key is not text.
        """
        with self._lock:
            found = self._core.look(key, self._clock())
            self._sync()
            return found

    def landed(self, key: str) -> Entry | None:
        """What another load has brought since the caller's own `look`, which has counted the read."""
        with self._lock:
            entry = self._find(key)
            if entry is None or entry.checked != self._version or self._clock() >= min(entry.until, self._due):
                return None
            return entry

    def now(self) -> float:
        """Seconds on the cache's clock."""
        return self._clock()

    def may_join(self, flight: Flight) -> bool:
        """Whether whoever asks now may have what a load that goes on brings."""
        return flight.fill is None or self._core.is_current(flight.fill, self._clock())

    def begin_fill(self, fill: Fill) -> None:
        """A load begins; called by `Fill`."""
        with self._lock:
            self._core.begin_fill(fill, self._clock())

    def end_fill(self, fill: Fill) -> None:
        """A load has ended; called by `Fill`."""
        with self._lock:
            self._core.end_fill(fill)

    def keep(self, fill: Fill, value: object, ttl: float | None, tags: Iterable[str], digest: int | None) -> None:
        """Caches what was loaded; called by `Fill`."""
        with self._lock:
            self._core.keep(fill, value, ttl, tags, digest, self._clock())
            self._sync()

    def renew_after_fork(self) -> None:
        """The child's first step: an empty cache that nobody feeds, and a lock that nobody holds."""
        self._start()

    def _start(self) -> None:
        """Begins, at construction and in a forked child."""
        self.lock = self._lock = threading.RLock()  # a finalizer or signal handler may ask in the middle of an answer
        shelf: Shelf = LruShelf(self.options.max_entries)
        if self._store is not None:
            self._store.clear()
            shelf = StoreShelf(self._store, self.options.max_entries, self._lock)
        self._core = CacheCore(self.options, shelf)
        self._find, self._touch = shelf.find, shelf.touch
        self.flights: dict[object, Flight] = {}
        self._hits = 0
        self._sync()

    def _sync(self) -> None:
        """What `fresh` looks at, after whatever may have changed it."""
        self._version = self._core.changes.version
        self._due = self._core.due


def locked(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same method as one step, for an interpreter without a lock of its own."""

    @wraps(method)
    def step(self: GuardedCore, *arguments: Any) -> Any:
        with self.lock:
            return method(self, *arguments)

    return step
