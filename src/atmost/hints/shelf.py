"""Where entries are kept: a bounded dictionary that forgets what was used longest ago, or a mapping of the user's.

`find` and `touch` of the first are single steps of C code on plain text, which threads may take without a lock; the second
does everything under the cache's lock, for reading changes most caches too.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

from atmost.hints.fills import Fill


class Entry:
    """A cached value."""

    __slots__ = ("born", "checked", "digest", "loaded", "shard", "tags", "until", "value")

    def __init__(self, value: Any, fill: Fill, until: float, checked: int, digest: int | None) -> None:
        """Args: value: the value. fill: how it was loaded. until: seconds. checked: the version it was judged by. digest: of it."""
        self.value = value
        self.until = until
        """When it expires, seconds."""
        self.loaded = fill.started
        """When its load began, seconds."""
        self.born = fill.born
        """The epoch in which its load began."""
        self.checked = checked
        """The version by which it was judged last, and found fresh."""
        self.shard = fill.shard
        self.tags = fill.tags
        self.digest = digest


class Shelf(Protocol):
    """Keeps entries by key."""

    find: Callable[[str], Entry | None]
    """The entry, or None."""
    touch: Callable[[str], object] | None
    """Notes that an entry was used; None where `find` does."""
    limit: int | None
    """Entries, at most; None where the mapping counts something else."""

    def put(self, key: str, entry: Entry) -> int | None:
        """Keeps an entry; returns how many it displaced, None when there is no room for it."""
        ...

    def remove(self, key: str) -> bool:
        """Takes an entry away; returns whether it was there."""
        ...

    def clear(self) -> None:
        """Takes all away."""
        ...

    def __len__(self) -> int: ...


class LruShelf:
    """A dictionary of a cache's own."""

    def __init__(self, limit: int) -> None:
        """Args: limit: entries, at most."""
        self.limit: int | None = limit
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self.find: Callable[[str], Entry | None] = self._entries.get
        self.touch: Callable[[str], object] | None = self._entries.move_to_end
        self._limit = limit

    def put(self, key: str, entry: Entry) -> int | None:
        """See `Shelf`."""
        entries = self._entries
        entries[key] = entry
        entries.move_to_end(key)
        if len(entries) <= self._limit:
            return 0
        entries.popitem(last=False)
        return 1

    def remove(self, key: str) -> bool:
        """See `Shelf`."""
        return self._entries.pop(key, None) is not None

    def clear(self) -> None:
        """See `Shelf`."""
        self._entries.clear()

    def __len__(self) -> int:
        """Entries."""
        return len(self._entries)


class StoreShelf:
    """A mapping of the user's; one with a `maxsize`, as cachetools' have, keeps its own bound."""

    def __init__(self, store: MutableMapping[str, Any], limit: int, lock: threading.RLock) -> None:
        """Args: store: the mapping. limit: entries, where it has no bound of its own. lock: of the cache."""
        self._store, self._lock = store, lock
        bound = getattr(store, "maxsize", None)
        self._bounded = bound is not None
        self.limit: int | None = limit if bound is None else int(bound) if bound < 1 << 60 else None
        self._limit = limit
        self.find: Callable[[str], Entry | None] = self._find
        self.touch: Callable[[str], object] | None = None

    def put(self, key: str, entry: Entry) -> int | None:
        """See `Shelf`."""
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
        """See `Shelf`."""
        return self._store.pop(key, None) is not None

    def clear(self) -> None:
        """See `Shelf`."""
        self._store.clear()

    def __len__(self) -> int:
        """Entries."""
        return len(self._store)

    def _find(self, key: str) -> Entry | None:
        with self._lock:
            found = self._store.get(key)
        return found if found.__class__ is Entry else None
