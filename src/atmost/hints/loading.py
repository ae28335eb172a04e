"""Loads what is missing once at a time: one caller loads, the others wait for it (single flight).

Nobody is given what was loaded before a change that was known when they asked: a load that something has concerned since it
began is not joined any more, and the next caller begins another. The lock is the cache's; no load runs under it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from atmost.hints.fills import Fill
from atmost.hints.shelf import Entry
from atmost.hints.suspicion import Doubt, Reason

if TYPE_CHECKING:
    from atmost.hints.cache import HintedCache

Tags = Iterable[str] | Callable[[Any], Iterable[str]]
_LOST: Final = {Reason.GAP, Reason.NEW_SESSION, Reason.ENDED}


class Flight:
    """A load that goes on."""

    __slots__ = ("done", "error", "fill", "loaded", "owner", "value")

    def __init__(self, owner: object, done: Any) -> None:
        """Args: owner: the thread or task that loads. done: what the others wait for."""
        self.owner = owner
        self.done = done
        self.fill: Fill | None = None
        """Its token; None before the load itself has begun."""
        self.loaded = False
        self.value: Any = None
        self.error: Exception | None = None
        """What the load raised; where it was only interrupted there is neither value nor error, and the others try."""

    def result(self) -> Any:
        """The value, for whoever waited."""
        if self.error is not None:
            raise self.error
        return self.value


def load_once(cache: HintedCache, key: str, load: Callable[[], Any], ttl: float | None, tags: Tags) -> tuple[Any, bool]:
    """The value of a key, and whether it was cached; see `HintedCache.get_or_load`."""
    entry = cache.fresh(key)
    if entry is not None:
        return entry.value, True
    entry, doubt = cache.look(key)
    if entry is not None and not _refresh(cache, key, doubt):
        return entry.value, True
    owner = threading.get_ident()
    while True:
        flight, leads = _board(cache, key, owner, threading.Event)
        if not leads and entry is not None:
            return entry.value, True
        if not leads and flight.owner == owner:  # the load asks for what it is to bring
            return load(), False
        if not leads:
            flight.done.wait()
            if flight.loaded or flight.error is not None:
                return flight.result(), False
            continue
        try:
            landed = cache.landed(key)
            if landed is not None:
                flight.value, flight.loaded = landed.value, True
                return landed.value, True
            time.sleep(_delay(cache, entry, doubt))
            with cache.filling(key) as fill:
                flight.fill = fill
                flight.value = load()
                fill.set(flight.value, ttl=ttl, tags=_tags(tags, flight.value))
                flight.loaded = True
            return flight.value, False
        except Exception as error:
            flight.error = error
            raise
        finally:
            _land(cache, key, flight)
            flight.done.set()


async def load_once_async(
    cache: HintedCache, key: str, load: Callable[[], Awaitable[Any]], ttl: float | None, tags: Tags
) -> tuple[Any, bool]:
    """The same in an event loop: its tasks wait for each other, and for no other loop's or thread's loads."""
    import asyncio

    entry = cache.fresh(key)
    if entry is not None:
        return entry.value, True
    entry, doubt = cache.look(key)
    if entry is not None and not _refresh(cache, key, doubt):
        return entry.value, True
    place, owner = (key, asyncio.get_running_loop()), asyncio.current_task()
    while True:
        flight, leads = _board(cache, place, owner, asyncio.Event)
        if not leads and entry is not None:
            return entry.value, True
        if not leads and flight.owner is owner:
            return await load(), False
        if not leads:
            await flight.done.wait()
            if flight.loaded or flight.error is not None:
                return flight.result(), False
            continue
        try:
            landed = cache.landed(key)
            if landed is not None:
                flight.value, flight.loaded = landed.value, True
                return landed.value, True
            await asyncio.sleep(_delay(cache, entry, doubt))
            with cache.filling(key) as fill:
                flight.fill = fill
                flight.value = await load()
                fill.set(flight.value, ttl=ttl, tags=_tags(tags, flight.value))
                flight.loaded = True
            return flight.value, False
        except Exception as error:
            flight.error = error
            raise
        finally:
            _land(cache, place, flight)
            flight.done.set()


def _board(cache: HintedCache, place: object, owner: object, done: Callable[[], Any]) -> tuple[Flight, bool]:
    """The flight to wait for, or a new one to lead."""
    with cache.lock:
        flight = cache.flights.get(place)
        if flight is not None and cache.may_join(flight):
            return flight, False
        flight = cache.flights[place] = Flight(owner, done())
        return flight, True


def _land(cache: HintedCache, place: object, flight: Flight) -> None:
    with cache.lock:
        if cache.flights.get(place) is flight:
            del cache.flights[place]


def _refresh(cache: HintedCache, key: str, doubt: Doubt | None) -> bool:
    """Whether it is time to load anew what is only served softly: for each key at another moment, in each process another."""
    if doubt is None:
        return False
    return cache.now() >= doubt.since + cache.options.jitter * (hash(key) & 0xFFFF) / 0x10000


def _delay(cache: HintedCache, entry: Entry | None, doubt: Doubt | None) -> float:
    """Seconds to wait before a load that a lost hint caused, so that not all readers ask at once."""
    if entry is not None or doubt is None or doubt.reason not in _LOST:
        return 0.0
    return random.random() * cache.options.jitter  # noqa: S311  no secret


def _tags(tags: Tags, value: Any) -> Iterable[str]:
    return tags(value) if callable(tags) else tags
