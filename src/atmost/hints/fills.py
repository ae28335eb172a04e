"""`Fill`: loads a value so that what changed meanwhile is not cached.

The race it closes: a reader loads a value, the value changes and the hint arrives, and only then the reader caches what it
has loaded. The token notes when the load began; whatever has concerned the key since then refuses the fill.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self, TypeVar

from atmost.errors import HintError
from atmost.hints.changes import Tagged
from atmost.hints.suspicion import Reason

T = TypeVar("T")


class _Cache(Protocol):
    def begin_fill(self, fill: Fill) -> None: ...
    def keep(self, fill: Fill, value: object, ttl: float | None, tags: Iterable[str], digest: int | None) -> None: ...
    def end_fill(self, fill: Fill) -> None: ...


class Fill:
    """One load of one key; made by `HintedCache.filling`, entered before the load begins."""

    __slots__ = ("_cache", "born", "key", "only", "refused", "shard", "started", "tags", "version")

    def __init__(self, cache: _Cache, key: str, shard: int) -> None:
        """Args: cache: where to. key: plain text. shard: of the key."""
        self._cache = cache
        self.key = key
        self.shard = shard
        self.born = 0
        """The epoch in which the load began; 0 before it has."""
        self.version = 0
        self.started = 0.0
        """When it began, seconds on the cache's clock."""
        self.tags: Tagged = ()
        self.only: int | None = None
        """The digest of the only value that may be cached: a hint has told of it since the load began."""
        self.refused: Reason | None = None
        """Why the value was not cached, or will not be; None otherwise."""

    def set(self, value: T, *, ttl: float | None = None, tags: Iterable[str] = (), digest: int | None = None) -> T:
        """Caches a value that was loaded since the token was entered, unless something has concerned its key since then.

        Args:
            value: what was loaded.
            ttl: seconds it may be served, from the beginning of the load; None, and more than that, is the cache's `max_ttl`.
            tags: that invalidate it too.
            digest: of the value, as `Invalidator.invalidate` may tell it.

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
        self._cache.keep(self, value, ttl, tags if isinstance(tags, str) else tuple(tags), digest)  # not under its lock
        return value

    def __enter__(self) -> Self:
        """Begins: load from here on."""
        self._cache.begin_fill(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends, also without a value."""
        self._cache.end_fill(self)
