"""Django's cache over `HintedCache`: every process caches for itself, and sends hints of its changes (docs/hints.md).

    CACHES = {"default": {
        "BACKEND": "atmost.integrations.django.HintedCacheBackend",
        "LOCATION": "udp://127.0.0.1:7150-7157",
    }}

LOCATION lists the members' addresses, as a list or separated by commas; a range of ports stands for one address each, and a directory
for all Unix sockets made there. A process receives on the first address that is free on its host, and sends to all.
Values are kept pickled, so that no two callers share an object. There is one cache for all threads of a process; a forked child makes
its own at its first use. The first use waits until the receiver is ready, 0.5 s on loopback.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache  # type: ignore[import-untyped]  # Django is not typed
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from xxhash import xxh3_64_intdigest

from atmost.errors import AddressInUse, BindError, OptionError
from atmost.hints import Fill, HintedCache, Invalidator, MemberSenders
from atmost.hints.members import addresses_of, first_free
from atmost.lifecycle import HERE, Floor, notice_fork, register

SUBJECT: Final = "hints.django"
_MAX_LEASES: Final = 64
_LEASE: Final = 60.0
"""Seconds after which a miss that no value followed is forgotten."""
_OPTIONS: Final = {
    "MAX_TTL", "MAX_ENTRIES", "CULL_FREQUENCY", "GRACE", "FORGET_AFTER", "INTERVAL", "SUBJECT", "AUDIENCE", "KEY_FILE",
}  # fmt: skip


class Node:
    """The objects that the threads of one process share: a receiver, senders to all members, the cache and its invalidator."""

    def __init__(self, members: tuple[str, ...], options: dict[str, Any]) -> None:
        """Raises: ImproperlyConfigured: no address is free here."""
        keys = {"audience": options.get("AUDIENCE", ""), "key_file": options.get("KEY_FILE")}
        grace = options.get("GRACE", 1.0)
        try:
            self.receiver = first_free(members, grace=grace, **keys)
        except (AddressInUse, BindError) as error:
            raise ImproperlyConfigured(
                f"no address of LOCATION is free on this host, of {len(members)} tried: widen the range ({error})"
            ) from error
        try:
            self._begin(members, options, keys, grace)
        except BaseException:
            self.receiver.close()
            raise

    def _begin(self, members: tuple[str, ...], options: dict[str, Any], keys: dict[str, Any], grace: float) -> None:
        self.senders = MemberSenders(members, name=f"django {self.receiver.url}", **keys)
        subject = options.get("SUBJECT", SUBJECT)
        self.invalidator = Invalidator(self.senders, interval=options.get("INTERVAL", 1.0), subject=subject)
        self.cache = HintedCache(
            max_ttl=options.get("MAX_TTL", 3600),
            max_entries=options["MAX_ENTRIES"],
            receiver=self.receiver,
            subject=subject,
            grace=grace,
            forget_after=options.get("FORGET_AFTER", 30.0),
            own=self.invalidator,
        )

    def close(self) -> None:
        """Says goodbye; for tests, and the end of a process."""
        self.invalidator.close(timeout=0)
        self.cache.close()
        self.receiver.close()
        self.senders.close()


class _Nodes:
    """The process's nodes by their options; a forked child has none of its parent's."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._nodes: dict[object, Node] = {}
        register(self, Floor.USE)

    def find(self, members: tuple[str, ...], options: dict[str, Any]) -> Node:
        """Returns the node, made when it is first asked for."""
        if not HERE[0]:
            notice_fork()
        name = (members, repr(sorted(options.items())))
        node = self._nodes.get(name)
        if node is None:
            with self._making:
                node = self._nodes.get(name)
                if node is None:
                    node = self._nodes[name] = Node(members, options)
        return node

    def close(self) -> None:
        """Closes all; the next use makes new ones."""
        with self._making:
            nodes = list(self._nodes.values())
            self._nodes.clear()
        for node in nodes:
            node.close()

    def renew(self, *, seen: bool) -> None:  # noqa: ARG002
        """In a forked child: forgets the parent's nodes."""
        self._making = threading.Lock()
        self._nodes = {}


_nodes = _Nodes()


def close_all() -> None:
    """Says goodbye to the other processes and releases the addresses; the next use begins anew."""
    _nodes.close()


class HintedCacheBackend(BaseCache):  # type: ignore[misc]  # Django is not typed
    """The backend: one for each thread or task, as Django makes them, all on the process's one cache.

    `get` notes where a miss began, so that a `set` or `add` that follows it in the same request is a fill: it is not kept when
    the key has changed meanwhile.
    """

    def __init__(self, location: str | Iterable[str], params: dict[str, Any]) -> None:
        """Args: location: see the module. params: Django's, with OPTIONS.

        Raises:
            ImproperlyConfigured: an option is unknown, or no address is free.
        """
        super().__init__(params)
        options = dict(params.get("OPTIONS", {}))
        if unknown := sorted(set(options) - _OPTIONS):
            raise ImproperlyConfigured(
                f"OPTIONS of {type(self).__name__}: unknown option {unknown[0]}; known options are {', '.join(sorted(_OPTIONS))}"
            )
        options["MAX_ENTRIES"] = params.get("max_entries", options.get("MAX_ENTRIES", 10_000))
        if not location:
            raise ImproperlyConfigured(
                "LOCATION is missing: give the members' addresses, such as udp://127.0.0.1:7150-7157"
            )
        try:
            self._members = addresses_of(location, "LOCATION")
        except OptionError as error:
            raise ImproperlyConfigured(str(error)) from error
        self._options = options
        self._leases: dict[str, Fill] = {}
        self._known: Node | None = None

    @property
    def hints(self) -> HintedCache:
        """The process's cache behind this backend: `staleness_bound`, `stats()`, `blind`."""
        return self._node.cache

    @property
    def invalidator(self) -> Invalidator:
        """Sends the hints to the others; may also be called for prefixes, and for tags of a `HintedCache` of your own."""
        return self._node.invalidator

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Returns the value kept here until a hint of another process drops it. It is unpickled anew each time."""
        key = self.make_and_validate_key(key, version=version)
        node = self._node
        pickled = node.cache.get(key)
        if pickled is None:
            self._lease(node.cache, key)
            return default
        return pickle.loads(pickled)  # noqa: S301  this process pickled it: data from the network is never unpickled

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Keeps the value here, and makes the others drop theirs unless it is the same."""
        key = self.make_and_validate_key(key, version=version)
        ttl = self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            self._drop(key)
            return
        pickled, digest = _pickled(value)
        self._keep(key, pickled, ttl, digest)
        self._node.invalidator.invalidate(key, digest=digest)

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Keeps the value if there is none here; sends nothing, because nothing has changed. Not a lock between processes."""
        key = self.make_and_validate_key(key, version=version)
        ttl = self._ttl(timeout)
        pickled, digest = _pickled(value)
        with self._node.cache.atomic():
            if self._node.cache.get(key) is not None:
                return False
            if ttl is None or ttl > 0:
                self._keep(key, pickled, ttl, digest)
        return True

    def get_or_set(self, key: str, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> Any:
        """Returns the value kept here, or else the default, which one thread makes for all; sends nothing."""
        full = self.make_and_validate_key(key, version=version)
        ttl = self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            found = self.get(key, self._missing_key, version=version)
            return found if found is not self._missing_key else default() if callable(default) else default
        make: Callable[[], Any] = default if callable(default) else lambda: default
        pickled = self._node.cache.get_or_load(full, lambda: _pickled(make())[0], ttl=ttl)
        return pickle.loads(pickled)  # noqa: S301  as above

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Gives the value kept here another timeout; the others keep theirs."""
        key = self.make_and_validate_key(key, version=version)
        ttl = self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            found = self._node.cache.get(key) is not None
            self._node.cache.discard(key)
            return found
        return self._node.cache.touch(key, ttl)

    def delete(self, key: str, version: int | None = None) -> bool:
        """Drops the value, here and at the others; returns whether there was one here."""
        return self._drop(self.make_and_validate_key(key, version=version))

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> Any:
        """Adds to the value kept here, and makes the others drop theirs; not atomic between processes.

        Raises:
            ValueError: there is no value here.
        """
        full = self.make_and_validate_key(key, version=version)
        cache = self._node.cache
        with cache.atomic():
            kept = cache.get(full)
            left = cache.ttl_left(full)
            if kept is None or left is None:
                raise ValueError(f"Key '{key}' not found")
            value = pickle.loads(kept) + delta  # noqa: S301  as above
            pickled, digest = _pickled(value)
            fill = cache.filling(full).__enter__()  # a fill that begins now, not at an earlier miss
            self._keep(full, pickled, max(1e-9, left), digest, fill)
        self._node.invalidator.invalidate(full, digest=digest)
        return value

    def clear(self) -> None:
        """Drops everything, of every prefix and version, here and at the others."""
        self._node.cache.clear()
        self._node.invalidator.invalidate_prefix("")

    def close(self, **_: Any) -> None:
        """Ends a request: its misses are forgotten. The cache stays."""
        for fill in self._leases.values():
            fill.__exit__(None, None, None)
        self._leases.clear()

    def __del__(self) -> None:
        """Called when its thread or task has ended."""
        if "_leases" in self.__dict__:
            self.close()

    @property
    def _node(self) -> Node:
        node = _nodes.find(self._members, self._options)
        if node is not self._known:  # the first use, or the first in a forked child
            self._known = node
            self._leases.clear()
        return node

    def _ttl(self, timeout: Any) -> float | None:
        ttl = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return None if ttl is None else float(ttl)

    def _lease(self, cache: HintedCache, key: str) -> None:
        """Notes that a load may begin here; of two for one key the earlier counts, which is safe for both."""
        known = self._leases.get(key)
        if known is not None and time.monotonic() - known.started < _LEASE:
            return
        if known is None and len(self._leases) >= _MAX_LEASES:
            known = self._leases.pop(next(iter(self._leases)))
        if known is not None:
            known.__exit__(None, None, None)
        self._leases[key] = cache.filling(key).__enter__()

    def _keep(self, key: str, pickled: bytes, ttl: float | None, digest: int, fill: Fill | None = None) -> None:
        node = self._node
        fill = fill or self._leases.pop(key, None) or node.cache.filling(key).__enter__()
        try:
            with node.cache.atomic():
                node.cache.discard(key, digest=digest)  # values that other threads are loading for it are older
                fill.set(pickled, ttl=ttl, digest=digest)
        finally:
            fill.__exit__(None, None, None)

    def _drop(self, key: str) -> bool:
        node = self._node
        with node.cache.atomic():
            found = node.cache.get(key) is not None
            node.cache.discard(key)
        node.invalidator.invalidate(key)
        return found


def _pickled(value: Any) -> tuple[bytes, int]:
    pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return pickled, xxh3_64_intdigest(pickled)
